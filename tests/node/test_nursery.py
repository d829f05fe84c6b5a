"""Workers are born in the nursery: what they inherit, and what becomes of a node whose nursery is killed or silent."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from node_process import alive, running, wait_until

from mixline.ipc.wire import Status
from mixline.node import highlights
from mixline.node.nursery import rehearse
from mixline.node.orders import BirthOrder, NurseryOrders
from mixline.tools.processes import family, read

MODULE = "import os, sys\n\ndef main():\n    os.write(int(sys.argv[1]), b'%d' % os.getpid())\n    sys.exit(3)\n"


@pytest.fixture
def node(tmp_path):
    with running(tmp_path) as node:
        yield node


def nursery_of(node):
    found = [pid for pid in family([node.process.pid]) if read(f"/proc/{pid}/comm").strip() == "mixline-nursery"]
    return found[0] if found else 0


def parent_of(pid):
    return int(read(f"/proc/{pid}/stat").rpartition(")")[2].split()[1])


def test_workers_are_the_supervisor_s_own_children(node):
    assert {parent_of(pid) for pid in (*node.worker_pids(), nursery_of(node))} == {node.process.pid}
    for number, pid in enumerate(node.worker_pids()):
        held = [str(fd.readlink()) for fd in Path(f"/proc/{pid}/fd").iterdir()]
        assert {each.split()[0] for each in held if "arena" in each} == {f"/memfd:mixline-arena-{number}"}
        assert not any("socket:" in each for each in held)


def test_a_killed_nursery_costs_nothing_and_is_replaced(node):
    first, workers = nursery_of(node), set(node.worker_pids())
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: nursery_of(node) not in (0, first))
    node.wait_settled()
    assert set(node.worker_pids()) == workers and node.ask(b"hi")[0].status is Status.OK
    os.kill(node.worker_pids()[0], signal.SIGKILL)
    wait_until(lambda: len(set(node.worker_pids()) - workers) == 1)
    node.wait_settled()


def test_nursery_and_workers_killed_at_once_come_back(node):
    before = {nursery_of(node), *node.worker_pids()}
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not any(alive(pid) for pid in before) and nursery_of(node) and len(node.worker_pids()) == 3)
    node.wait_settled()
    assert node.ask(b"hi")[0].status is Status.OK


def test_a_reload_has_a_new_nursery(node):
    first = nursery_of(node)
    node.process.send_signal(signal.SIGHUP)
    wait_until(lambda: nursery_of(node) not in (0, first) and not alive(first), 40)


def cmdline(pid):
    return read(f"/proc/{pid}/cmdline")


def reloaded(node, times):
    """The nursery after so many reloads."""
    node.process.send_signal(signal.SIGHUP)
    wait_until(lambda: node.log().count("reload over") == times, 40)
    node.wait_settled()
    node.pids.add(nursery_of(node))
    return nursery_of(node)


def test_a_reload_has_all_modules_at_once_unless_they_changed(tmp_path, film_store):
    changed = Path(highlights.__file__)
    before = changed.stat()
    with running(tmp_path, store=film_store) as node:
        first, line = nursery_of(node), cmdline(nursery_of(node))
        second = reloaded(node, 1)
        assert second != first and cmdline(second) == line  # forked
        try:
            os.utime(changed, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
            third = reloaded(node, 2)
        finally:
            os.utime(changed, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert "mixline.node.nursery" in cmdline(third) and "Python files have changed" in node.log()
        assert "mixline.node.nursery" in cmdline(reloaded(node, 3))  # it was loaded with the other time
        fourth = nursery_of(node)
        assert reloaded(node, 4) != fourth and node.log().count("Python files have changed") == 2
        assert all(parent_of(pid) == node.process.pid for pid in (nursery_of(node), *node.worker_pids()))


def test_a_broker_that_dies_while_a_nursery_is_born_costs_no_reload(tmp_path, film_store):
    with running(tmp_path, store=film_store) as node:
        broker = node.info()["pid"]
        node.process.send_signal(signal.SIGHUP)
        os.kill(broker, signal.SIGKILL)
        wait_until(lambda: "reload over" in node.log(), 40)
        node.wait_settled()
        node.pids.add(nursery_of(node))


def test_a_nursery_that_rehearsed_holds_nothing_of_the_store(tmp_path, film_store):
    with running(tmp_path, store=film_store) as node:
        kept = {pid: read(f"/proc/{pid}/maps") for pid in (nursery_of(node), node.worker_pids()[0])}
        opened = [str(fd.readlink()) for fd in Path(f"/proc/{nursery_of(node)}/fd").iterdir()]
    nursery, worker = (str(film_store) in maps for maps in kept.values())
    assert worker and not nursery and not any(str(film_store) in each for each in opened)


def test_a_store_that_cannot_be_opened_is_for_the_worker_to_refuse(tmp_path, monkeypatch):
    rehearsed = []
    monkeypatch.setattr("mixline.node.engine.Engine.open", lambda *given: rehearsed.append(given) or 1 / 0)
    monkeypatch.setattr("mixline.node.config._kept", {None: "the shipped surfaces"})
    rehearse(str(tmp_path), None)
    rehearse(str(tmp_path), "not kept, for it names the user's own components")
    assert rehearsed == [(str(tmp_path), "the shipped surfaces")]


@pytest.fixture
def nursery(tmp_path):
    (tmp_path / "grown.py").write_text(MODULE)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    orders = NurseryOrders(os.getpid(), theirs.fileno(), "none")
    command = [sys.executable, "-m", "mixline.node.nursery", msgspec.json.encode(orders).decode()]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "OPENBLAS_NUM_THREADS": "1"}
    process = subprocess.Popen(command, pass_fds=[theirs.fileno()], env=environment)
    theirs.close()
    yield ours
    ours.close()
    assert process.wait(20) == 0


def order(nursery, number, told_fd):
    """(write end of the pipe on which the child waits, pid)."""
    wait_fd, go_fd = os.pipe()
    birth = BirthOrder(number, "grown", "700", [700])
    socket.send_fds(nursery, [msgspec.msgpack.encode(birth)], [wait_fd])
    socket.send_fds(nursery, [b"+"], [told_fd])
    os.close(wait_fd)
    answered, pid = msgspec.msgpack.decode(nursery.recv(64))
    assert answered == number and pid > 0
    return go_fd, pid


@pytest.mark.parametrize("may_begin", [True, False])
def test_a_child_begins_when_it_may_and_under_the_descriptors_it_was_told(nursery, may_begin):
    read_fd, write_fd = os.pipe()
    go_fd, pid = order(nursery, 7, write_fd)
    os.close(write_fd)
    if may_begin:
        os.write(go_fd, b"!")
    os.close(go_fd)
    told = os.read(read_fd, 100)
    os.close(read_fd)
    wait_until(lambda: not alive(pid))
    assert told == (b"%d" % pid if may_begin else b"")
