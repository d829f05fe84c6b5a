"""systemd's side: notifications on a real datagram socket, and a unit that systemd-analyze accepts."""

import shutil
import socket
import subprocess
import time

import pytest
from click.testing import CliRunner

from mixline.node.systemd import Notifier
from mixline.tools.systemd import install


@pytest.mark.parametrize("abstract", [False, True])
def test_notifications_arrive(tmp_path, abstract):
    name = f"@mixline-test-{time.monotonic_ns()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as door:
        door.bind("\0" + name[1:] if abstract else name)
        door.settimeout(5)
        notifier = Notifier({"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "30000000"})
        assert notifier.watchdog_s == 15.0
        notifier.ready("serving")
        assert door.recv(999) == b"READY=1\nSTATUS=serving"
        before_us = time.monotonic_ns() // 1000
        notifier.reloading()
        first, second = door.recv(999).split(b"\n")
        assert first == b"RELOADING=1" and int(second.removeprefix(b"MONOTONIC_USEC=")) >= before_us
        notifier.alive()
        assert door.recv(999) == b"WATCHDOG=1"
        notifier.stopping()
        assert door.recv(999).startswith(b"STOPPING=1")


def test_silent_outside_systemd():
    notifier = Notifier({})
    assert notifier.watchdog_s is None and not notifier.ready("serving")
    assert Notifier({"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1"}).watchdog_s is None


def test_unit_is_accepted(tmp_path):
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    result = CliRunner().invoke(install, ["--store", str(tmp_path), "--unit-dir", str(tmp_path)])
    assert result.exit_code == 0, result.output
    unit = tmp_path / "mixline.service"
    checked = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, timeout=60)
    assert checked.returncode == 0 and "mixline.service" not in checked.stderr, checked.stderr
