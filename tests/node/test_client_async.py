"""The asyncio client, and the JavaScript client of the protocol's page, against a real node."""

import asyncio
import json
import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from node_process import running

from mixline.ipc.wire import Kind
from mixline.node.async_client import AsyncClient
from mixline.node.client_calls import Call
from mixline.node.errors import NodeError, RequestTimeout

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "client.mjs"


@pytest.fixture(scope="module")
def node(tmp_path_factory):
    with running(tmp_path_factory.mktemp("node"), bind="tcp") as node:
        yield node


def test_many_tasks_share_a_client(node):
    async def main():
        async with AsyncClient(node.endpoint) as client:
            bodies = [b"%d" % number for number in range(300)]
            assert await asyncio.gather(*(client.echo(body, 10_000) for body in bodies)) == bodies
            assert (await client.info())["supervisor_pid"] == node.process.pid

    asyncio.run(main())


def test_broker_restart_is_survived(node):
    async def main():
        async with AsyncClient(node.endpoint) as client:
            broker = (await client.info())["pid"]
            calls = [Call(Kind.ASK, b"sleep 0.05", "s", 15_000) for _ in range(20)]
            asking = asyncio.gather(*(client._finish(call) for call in calls))
            await asyncio.sleep(0.2)
            os.kill(broker, signal.SIGKILL)
            await asking
            assert not any(isinstance(call.outcome, NodeError) for call in calls)

    asyncio.run(main())


def test_nobody_there_ends_by_the_deadline(tmp_path):
    async def main():
        async with AsyncClient(f"ipc://{tmp_path}/nobody") as client:
            with pytest.raises(RequestTimeout):
                await client.echo(b"", deadline_ms=50)

    asyncio.run(main())


def test_javascript_client(node):
    """Needs node and the zeromq package, in NODE_PATH's folder named by MIXLINE_NPM."""
    modules = os.environ.get("MIXLINE_NPM", "")
    if shutil.which("node") is None or not (Path(modules) / "node_modules" / "zeromq").is_dir():
        pytest.skip("needs node, and MIXLINE_NPM naming a folder where `npm install zeromq` was run")
    program = Path(node.folder) / "client.mjs"
    shutil.copy(EXAMPLE, program)
    (Path(node.folder) / "node_modules").symlink_to(Path(modules) / "node_modules")
    done = subprocess.run(
        ["node", str(program), node.endpoint, "hello"], capture_output=True, text=True, timeout=30, check=True
    )
    assert json.loads(done.stdout) == {"status": 0, "kind": 2, "text": "hello"}
