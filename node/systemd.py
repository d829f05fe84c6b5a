"""What the supervisor tells systemd: a datagram of KEY=VALUE lines, the whole of the sd_notify protocol that we need.

Our own page instead of a binding to libsystemd: the protocol is stable (man sd_notify(3)), and without NOTIFY_SOCKET in
the environment, outside systemd, every call does nothing.
"""

from __future__ import annotations

import os
import socket
import time


class Notifier:
    """Speaks to the socket that systemd names in the environment."""

    def __init__(self, environ: dict[str, str] | os._Environ[str] = os.environ) -> None:
        address = environ.get("NOTIFY_SOCKET", "")
        self.address = "\0" + address[1:] if address.startswith("@") else address
        watchdog_us = int(environ.get("WATCHDOG_USEC", "0") or 0)
        meant_for_us = environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        # Twice per period, as the manual advises; None when no watchdog was asked for.
        self.watchdog_s = watchdog_us / 2_000_000 if watchdog_us and meant_for_us else None

    def send(self, *lines: str) -> bool:
        """Send one notification; False outside systemd."""
        if not self.address:
            return False
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as door:
            door.connect(self.address)
            door.sendall("\n".join(lines).encode())
        return True

    def ready(self, status: str) -> bool:
        """Serving; also ends a reload."""
        return self.send("READY=1", f"STATUS={status}")

    def reloading(self) -> bool:
        """A reload begins. Type=notify-reload needs the moment, to pair it with the READY that follows."""
        return self.send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> bool:
        """Draining."""
        return self.send("STOPPING=1", "STATUS=draining")

    def status(self, text: str) -> bool:
        """A new line for systemctl status."""
        return self.send(f"STATUS={text}")

    def warming(self, status: str, patience_s: float) -> bool:
        """Not ready yet, and not stuck: the time that a start may take is counted anew."""
        return self.send(f"EXTEND_TIMEOUT_USEC={int(patience_s * 1e6)}", f"STATUS={status}")

    def alive(self) -> bool:
        """Keep the watchdog quiet."""
        return self.send("WATCHDOG=1")
