"""The door to libzmq's C interface: open with the wheel that pyzmq ships, closed with a reason where it must be."""

import subprocess
import sys

from mixline.ipc import libzmq


def test_the_wheel_s_library_passes_its_self_test():
    assert libzmq.available() == ""
    libzmq.check_version()
    libzmq.self_test()


def test_the_variable_closes_the_door(monkeypatch):
    monkeypatch.setenv(libzmq.VARIABLE, "off")
    assert libzmq.available() == f"{libzmq.VARIABLE}=off"


def test_another_version_is_refused_with_both_named():
    code = (
        "import zmq; zmq.zmq_version_info = lambda: (4, 3, 99)\n"
        "from mixline.ipc import libzmq; print(libzmq.available())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "was found, but pyzmq runs" in done.stdout
