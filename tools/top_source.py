"""Where ``mixline top`` reads: a node asked once by INFO for its segments, which are mapped read-only from then on."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from mixline.ipc.errors import SegmentError
from mixline.node import Client
from mixline.node.errors import NodeError
from mixline.node.readings import MeterReader, Snapshot

EX_UNAVAILABLE = 69
EX_NOPERM = 77
INFO_MS = 2000


class NotReadable(Exception):
    """The node cannot be read from here; says why and what to do."""

    def __init__(self, text: str, exit_code: int = EX_UNAVAILABLE) -> None:
        super().__init__(text)
        self.exit_code = exit_code


class Source:
    """One life of a node, from its start to its end; its brokers and workers may come and go."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self.info = ask_info(endpoint)
        self.supervisor_pid: int = self.info["supervisor_pid"]
        self.reader = open_reader(self.info)

    def read(self) -> Snapshot:
        """All counts now; asks the node again who it is when its broker is another."""
        now = self.reader.read()
        if now.life != self.info["life"]:
            try:
                self.info = ask_info(self.endpoint)
            except NotReadable:  # the new broker may not be bound yet
                self.info["life"] = now.life
        return now

    @property
    def gone(self) -> bool:
        """The node has ended; what is mapped stays as it was."""
        return not Path(f"/proc/{self.supervisor_pid}").exists()

    def uptime_s(self) -> float:
        """Seconds since the supervisor's start."""
        stat = Path(f"/proc/{self.supervisor_pid}/stat").read_text().rpartition(")")[2].split()
        return time.clock_gettime(time.CLOCK_BOOTTIME) - int(stat[19]) / os.sysconf("SC_CLK_TCK")


def ask_info(endpoint: str) -> dict[str, Any]:
    """The answer to INFO; NotReadable when there is none."""
    try:
        with Client(endpoint) as client:
            return client.info(INFO_MS)
    except NodeError as error:
        raise NotReadable(f"no node answers at {endpoint}: {error}", error.exit_code) from None


def open_reader(info: dict[str, Any]) -> MeterReader:
    """Map what INFO names; NotReadable says why it cannot be."""
    pid = info["supervisor_pid"]
    elsewhere = (
        f"its supervisor, pid {pid}, is not a node here: run mixline top where the node runs, outside containers"
    )
    try:
        return MeterReader.open(info["meters"])
    except PermissionError:
        owner = Path(f"/proc/{pid}").stat().st_uid
        text = f"the node runs as another user (uid {owner}): run mixline top as that user, or as root"
        raise NotReadable(text, EX_NOPERM) from None
    except (FileNotFoundError, ProcessLookupError):
        raise NotReadable(f"the node runs on another machine or in another container: {elsewhere}") from None
    except SegmentError as error:
        raise NotReadable(f"{error}: the node is of another version or elsewhere: {elsewhere}") from None
    except KeyError:
        raise NotReadable("the node is of an older version: it does not say where its meters are") from None
