"""A real node for tests: starts a supervisor with a strange engine and proves at the end that every process is gone."""

import json
import os
import select
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import msgspec
import zmq

from mixline.ipc.wire import Kind, ReplyHeader, RequestHeader
from mixline.node.serve_options import ServeOptions

HERE = Path(__file__).parent


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):  # gone before the open, or before the read
        return False


def wait_until(met, timeout_s=20.0):
    end = time.monotonic() + timeout_s
    while not met():
        assert time.monotonic() < end, "did not happen"
        time.sleep(0.01)


class Node:
    """A node with a strange engine, or with ``store`` the one that ``mixline serve`` starts on it.

    ``options`` are further :class:`ServeOptions`, ``serve`` further arguments of ``mixline serve``."""

    def __init__(
        self,
        folder,
        workers=2,
        bind="ipc",
        engine="strange_engines:StrangeEngine",
        store=None,
        libzmq="",
        serve=(),
        **options,
    ):
        endpoint = f"ipc://{folder}/node.sock" if bind == "ipc" else "tcp://127.0.0.1:0"
        options = ServeOptions(
            str(folder), [endpoint], workers, engine=engine, json=True, parent=os.getpid(), **options
        )
        command = ["-m", "mixline.node.supervisor", msgspec.json.encode(options).decode()]
        if store is not None:
            command = ["-m", "mixline.tools", "serve", "--store", str(store), "--bind", endpoint, "--json"]
            command += ["--workers", str(workers), *map(str, serve)]
        self.folder = Path(folder)
        self.errors = (self.folder / "stderr").open("w+")  # closed by close()
        self.process = subprocess.Popen(
            [sys.executable, *command],
            stdout=subprocess.PIPE,
            stderr=self.errors,
            env={**os.environ, "PYTHONPATH": str(HERE), "MIXLINE_LIBZMQ": libzmq},
        )
        self.pids = {self.process.pid}
        ready = select.poll()  # select() itself takes no descriptor beyond 1,023, and pytest holds many
        ready.register(self.process.stdout, select.POLLIN)
        assert ready.poll(30_000), "not ready"
        line = self.process.stdout.readline()
        assert line, self.log()
        self.told = json.loads(line)
        self.endpoint = self.told["endpoints"][0]
        self.workers = workers
        self.context = zmq.Context()
        self.sockets = []
        self.socket = self.connect()

    def connect(self, kind=zmq.DEALER, rcvhwm=0):
        socket = self.context.socket(kind)
        socket.linger = 0
        socket.rcvhwm = rcvhwm  # 0: a test may send thousands before it reads
        socket.connect(self.endpoint)
        self.sockets.append(socket)
        return socket

    def log(self):
        self.errors.seek(0)
        return self.errors.read()

    def send(self, body=b"", kind=Kind.ASK, budget_ms=5000, request_id=None, **fields):
        request_id = request_id or os.urandom(16)
        self.socket.send_multipart([RequestHeader(kind, request_id, budget_ms * 1000, **fields).pack(), body])
        return request_id

    def receive_frames(self, timeout_ms=20_000):
        assert self.socket.poll(timeout_ms), "no reply"
        return self.socket.recv_multipart()[-2:]  # without the delimiter that an empty first frame asks for

    def receive(self, timeout_ms=20_000):
        head, body = self.receive_frames(timeout_ms)
        return ReplyHeader.unpack(head), body

    def ask(self, body=b"", **fields):
        request_id = self.send(body, **fields)
        reply, body = self.receive()
        assert reply.request_id == request_id
        return reply, body

    def info(self):
        info = msgspec.msgpack.decode(self.ask(kind=Kind.INFO)[1])
        self.pids |= {info["pid"], info["supervisor_pid"], *(each["pid"] for each in info["workers"])} - {0}
        self.pids |= {info["writer"]["pid"]} - {0} if info["writer"] else set()
        return info

    def worker_pids(self):
        return [each["pid"] for each in self.info()["workers"] if each["pid"]]

    def wait_settled(self):
        """All seats, the standby's too, are ready."""

        def settled():
            states = [each["state"] for each in self.info()["workers"]]
            return sorted(states) == ["ready"] * self.workers + ["standby"]

        wait_until(settled)

    def stop(self, timeout_s=20):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout_s)

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        self.errors.close()
        for socket in self.sockets:  # a test that failed may have left some open, and then the context never ends
            socket.close()
        self.context.term()
        wait_until(lambda: not any(alive(pid) for pid in self.pids))


@contextmanager
def running(folder, **options):
    node = Node(folder, **options)
    try:
        node.wait_settled()
        yield node
    finally:
        node.close()
