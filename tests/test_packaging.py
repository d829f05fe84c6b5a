"""What a user installs: an sdist that builds, a wheel that runs outside the checkout, and no system library behind it.

The wheel is compiled without optimisation, and from the C that Cython made of the same sources for the checkout: both
are most of a build's time. That Cython would find the same in the sdist is seen from its files. It is installed into
an environment of its own; its dependencies are lent from this one through a ``.pth`` file, so nothing is downloaded
and the checkout cannot be imported by accident.
"""

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("kernels", "ipc", "storage", "node", "tools")
CYTHON = Path("build", "cython")
COMPILED = {
    "ipc": ("_os", "blocks", "rings", "words"),
    "kernels": ("accumulate", "bitmap", "blend", "checks", "gather", "members", "merge", "scan", "slate", "topk"),
}
WHERE_LOADED = """
import sys
import lmdb, zmq
import mixline.node.broker, mixline.node.engine, mixline.node.supervisor, mixline.storage.store, mixline.tools.serve
environment = zmq.Context()
environment.term()
for name, module in sorted(sys.modules.items()):
    if name.startswith("mixline.") and getattr(module, "__file__", None):
        print("module", module.__file__)
for line in open("/proc/self/maps"):
    fields = line.split(maxsplit=5)
    if len(fields) == 6 and fields[5].startswith("/"):
        print("mapped", fields[5].strip())
"""
ASK = """
import sys
from mixline.node import Node
with Node.open(sys.argv[1]) as node:
    print(node.ask("related", item=1, deadline_ms=5000).ids.tolist())
    print(node.ask("homefeed", user=7, deadline_ms=5000).ids.tolist())
"""
SPEC = """
[items]
path = "items.csv"
id = "item"
columns = { title = "text" }
[events]
path = "events.csv"
user = "user"
item = "item"
time = "time"
"""


def run(*command, cwd=None, **variables):
    environ = {**os.environ, **variables}
    done = subprocess.run([str(part) for part in command], cwd=cwd, env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def sdist(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sdist")
    # The egg-info lies beside the result, so the list of files is made anew and the checkout stays as it was.
    run(sys.executable, "setup.py", "-q", "egg_info", "--egg-base", folder, "sdist", "-d", folder / "dist", cwd=ROOT)
    (archive,) = (folder / "dist").iterdir()
    with tarfile.open(archive) as file:
        file.extractall(folder, filter="data")
    return folder / archive.name.removesuffix(".tar.gz")


@pytest.fixture(scope="module")
def wheel(sdist, tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    if (ROOT / CYTHON).is_dir():  # with its times: what is older than its source is made anew
        shutil.copytree(ROOT / CYTHON, sdist / CYTHON)
    run(
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "-q",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        folder,
        sdist,
        CFLAGS="-O0",
    )
    (path,) = folder.iterdir()
    return path


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """The interpreter of an environment that holds the wheel and nothing else of its own."""
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder, with_pip=False, symlinks=True)
    python = folder / "bin" / "python"
    run(sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-deps", "--no-index", wheel)
    (site,) = folder.glob("lib/python*/site-packages")
    lent = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (site / "lent.pth").write_text("\n".join(sorted(lent)))
    return python


def test_sdist_is_whole(sdist):
    for name in (
        ".ci/run",
        "Makefile",
        "LICENSE",
        "README.md",
        "CHANGELOG.md",
        "docs/protocol.md",
        "tests/test_tidy.py",
    ):
        assert (sdist / name).is_file(), name
    kinds = (".py", ".pyx", ".pxd", ".pxi", ".pyi", ".h", ".toml", ".typed")
    for folder in FOLDERS:
        ours, theirs = (
            {path.relative_to(root): path.read_bytes() for path in (root / folder).rglob("*") if path.suffix in kinds}
            for root in (ROOT, sdist)
        )
        assert ours == theirs, [name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name)]
    assert not [path for ending in ("*.so", "*.pyc") for path in sdist.rglob(ending)]


def test_wheel_holds_what_others_compile_and_type_against(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    for folder, modules in COMPILED.items():
        for module in modules:
            assert f"mixline/{folder}/{module}.pyi" in names
            assert [name for name in names if name.startswith(f"mixline/{folder}/{module}.") and name.endswith(".so")]
    for path in [
        path for folder in ("kernels", "ipc") for ending in ("*.pxd", "*.h") for path in (ROOT / folder).glob(ending)
    ]:
        assert f"mixline/{path.relative_to(ROOT)}" in names
    for folder in FOLDERS:
        assert f"mixline/{folder}/py.typed" in names
    assert {f"mixline/node/surfaces/{name}.toml" for name in ("homefeed", "related")} <= names
    for path in [path for folder in ("storage", "node", "tools") for path in (ROOT / folder).rglob("*.py")]:
        assert f"mixline/{path.relative_to(ROOT)}" in names, "not in the packages of pyproject.toml"
    assert not [name for name in names if name.startswith(("tests/", "mixline/tests"))]


def test_installed_command_answers_outside_the_checkout(installed, tmp_path):
    command = installed.parent / "mixline"
    assert "serve" in run(command, "--help", cwd=tmp_path)
    (tmp_path / "items.csv").write_text("item,title\n1,a\n2,b\n3,c\n")
    (tmp_path / "events.csv").write_text(
        "user,item,time\n7,1,1500000000\n7,2,1500000001\n8,1,1500000002\n8,3,1500000003\n9,2,1500000004\n9,1,1500000005\n"
    )
    (tmp_path / "spec.toml").write_text(SPEC)
    run(command, "build", "spec.toml", "--out", "store", cwd=tmp_path)
    assert run(installed, "-c", ASK, "store", cwd=tmp_path).split("\n")[:2] == ["[2, 3]", "[3]"]


def test_no_system_library_is_loaded(installed, tmp_path):
    lines = [line.split(" ", 1) for line in run(installed, "-c", WHERE_LOADED, cwd=tmp_path).splitlines()]
    home = installed.parent.parent
    modules = [Path(path) for what, path in lines if what == "module"]
    assert len(modules) > 30 and all(path.is_relative_to(home) for path in modules)
    mapped = {path for what, path in lines if what == "mapped"}
    ours = {path for path in mapped if "lmdb" in Path(path).name.lower() or "zmq" in Path(path).name.lower()}
    lent = (sysconfig.get_path("purelib"), sysconfig.get_path("platlib"))
    ours = {path for path in ours if not path.startswith(str(home))}  # our module that opens libzmq is named after it
    assert ours and all(path.startswith(lent) for path in ours), ours
    assert len([path for path in mapped if path.startswith(str(home))]) >= 8  # our own extensions really were loaded
