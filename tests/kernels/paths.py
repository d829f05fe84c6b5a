"""Every instruction path of a kernel that this machine has, one test each; put back afterwards."""

import pytest

from mixline.kernels.isa import in_use, present


def each_path(*modules):
    """A fixture ``simd`` over the code paths of kernel modules, which must take the same one."""

    @pytest.fixture(params=["amx", "vnni", "avx512", "avx2", "neon", "portable"])
    def simd(request):
        if request.param not in present():
            pytest.skip(f"this machine has no {request.param}")
        names = {module.choose_path(request.param) for module in modules}
        assert len(names) == 1
        yield names.pop()
        for module in modules:
            module.choose_path(in_use())

    return simd
