"""A node of one's own for as long as a block runs: demo, benchmarks and batch jobs are its clients."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from mixline.node.client import Client

COMMAND = (sys.executable, "-m", "mixline.tools")
STOP_S = 15


@contextmanager
def serving(
    store: Path, folder: Path, workers: int, config: Path | None = None, bind: str | None = None
) -> Iterator[tuple[str, list[int]]]:
    """``mixline serve`` until the block ends; SIGTERM then, and the exit code is looked at."""
    endpoint = bind or f"ipc://{folder}/node.sock"
    command = [*COMMAND, "serve", "--store", str(store), "--bind", endpoint, "--workers", str(workers), "--json"]
    command += ["--config", str(config)] if config else []
    with open(folder / "node.log", "w") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        assert process.stdout is not None
        line = process.stdout.readline()
        try:
            if not line:
                raise click.ClickException(f"the node did not start:\n{(folder / 'node.log').read_text()}")
            endpoint = json.loads(line)["endpoints"][0]  # as bound: port 0 has become a number
            with Client(endpoint) as client:
                pids = [worker["pid"] for worker in client.info()["workers"]]
            yield endpoint, pids
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                code = process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                code = process.wait()
            process.stdout.close()
    if code != 0:
        raise click.ClickException(f"the node ended with {code}:\n{(folder / 'node.log').read_text()[-2000:]}")
