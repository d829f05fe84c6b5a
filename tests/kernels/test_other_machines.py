"""Instruction paths that this machine cannot run: AMX on tiles of plain C, NEON under an emulator of ARM."""

import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest

HERE = Path(__file__).parent
KERNELS = HERE.parents[1] / "kernels"


def compiled(compiler, source, program, *options):
    command = [
        *compiler,
        "-O2",
        "-Wall",
        "-Wno-unused-function",
        "-I",
        KERNELS,
        *options,
        HERE / "c" / source,
        "-o",
        program,
    ]
    done = subprocess.run([*map(str, command)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return program


def test_tiles_give_what_the_portable_path_gives(tmp_path):
    compiler = (sysconfig.get_config_var("CC") or "cc").split()
    if shutil.which(compiler[0]) is None:
        pytest.skip("no C compiler, as where only a wheel is installed")
    program = compiled(compiler, "tiles.c", tmp_path / "tiles")
    done = subprocess.run([program], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout == f"{70 * 16} alike\n", done.stdout


@pytest.mark.stress
def test_neon_gives_what_the_portable_path_gives(tmp_path):
    compiler, emulator = shutil.which("aarch64-linux-gnu-gcc"), shutil.which("qemu-aarch64")
    if compiler is None or emulator is None:
        pytest.skip("needs aarch64-linux-gnu-gcc and qemu-aarch64: apt-get install -y gcc-aarch64-linux-gnu qemu-user")
    program = compiled([compiler], "neon.c", tmp_path / "neon", "-static")
    done = subprocess.run([emulator, "-cpu", "max", program], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout == "neon neon 1 portable\n", done.stdout + done.stderr
