"""Logging of the node's processes: lines for people, or with ``log = "json"`` one JSON object per line for machines."""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

EX_OSERR = 71

TEXT = "%(name)s[%(process)d] %(levelname)s %(message)s"
STYLES = ("text", "json")


class JsonFormatter(logging.Formatter):
    """One object per record; a record's ``fields`` become keys of it."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S") + f".{int(record.msecs):03d}",
            "level": record.levelname.lower(),
            "process": record.process,
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["traceback"] = "".join(traceback.format_exception(*record.exc_info))
        return msgspec.json.encode(line).decode()


def start_logging(style: str) -> None:
    """Log to stderr, from INFO up."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if style == "json" else logging.Formatter(TEXT))
    logging.basicConfig(level=logging.INFO, handlers=[handler])


@contextmanager
def ending_in_words(log: logging.Logger) -> Iterator[None]:
    """Of a process that does one thing: an error that names its exit code becomes a line of the log, and that code."""
    try:
        yield
    except Exception as error:
        code = getattr(error, "exit_code", EX_OSERR if isinstance(error, OSError) else None)
        if code is None:
            raise
        log.error("%s", error)
        sys.exit(code)
