"""The crash-loop breaker: what opens and closes it, and that one seat is always refilled at once."""

import itertools
import re
import signal
import socket

from hypothesis import given
from hypothesis import strategies as st
from node_process import running

from mixline.ipc.wire import Status
from mixline.node import limits
from mixline.node.supervisor_breaker import CALM_S, WINDOW_S, Breaker
from mixline.node.supervisor_chair import Chair

PAUSES = st.lists(st.floats(0, 2 * WINDOW_S) | st.floats(0, 2), max_size=120)


class Gone:
    """A child as a chair sees it end."""

    def __init__(self, death_signal=0):
        self.death_signal = death_signal


def opened():
    breaker = Breaker()
    assert [breaker.crashed(float(at)) for at in range(limits.crashes_max + 1)] == [*[False] * limits.crashes_max, True]
    return breaker


@given(PAUSES)
def test_it_opens_when_some_window_holds_too_many_crashes(pauses):
    breaker, times = Breaker(), list(itertools.accumulate(pauses))
    for at, now in enumerate(times):
        opens = breaker.crashed(now)
        within = sum(now - time <= WINDOW_S for time in times[: at + 1])
        if opens or not breaker.open:
            assert opens == (within > limits.crashes_max)


@given(PAUSES)
def test_alone_never_waits_and_others_wait_ever_longer(pauses):
    breaker, now, before = Breaker(), 0.0, 0.0
    for pause in pauses:
        now += pause
        if breaker.calmed(now):
            before = 0.0
            assert not breaker.open
        breaker.crashed(now)
        assert breaker.delay_s(alone=True) == 0.0
        delay = breaker.delay_s(alone=False)
        assert before <= delay <= limits.breaker_max_ms / 1000 and bool(delay) == breaker.open
        before = delay


def test_it_closes_after_a_calm_period_only():
    breaker, last = opened(), float(limits.crashes_max)
    assert breaker.openings == 1 and not breaker.crashed(last) and breaker.openings == 1
    assert not breaker.calmed(last + CALM_S - 1)
    assert breaker.calmed(last + CALM_S) and not breaker.calmed(last + CALM_S)
    assert not breaker.open and breaker.delay_s(alone=False) == 0.0
    assert not breaker.crashed(last + CALM_S + 1), "what opened it is forgotten"


def test_delays_begin_anew_with_each_opening():
    breaker = opened()
    first = [breaker.delay_s(alone=False) for _ in range(8)]
    assert first[:3] == [1.0, 2.0, 4.0] and first[-1] == limits.breaker_max_ms / 1000
    now = limits.crashes_max + CALM_S
    assert breaker.calmed(now)
    while not breaker.crashed(now):
        now += 0.5
    assert breaker.delay_s(alone=False) == 1.0 and breaker.openings == 2


def test_what_counts_as_a_crash():
    for ready, retired, hung, death, counts in (
        (True, False, False, signal.SIGSEGV, True),
        (True, False, True, signal.SIGKILL, True),  # hung, and killed for it
        (True, False, False, signal.SIGKILL, False),
        (True, True, False, signal.SIGSEGV, False),
        (True, False, False, 0, False),
        (False, False, False, signal.SIGSEGV, False),  # a failed start
    ):
        chair = Chair(0)
        chair.ready, chair.retired, chair.hung = ready, retired, hung
        chair.vacate(Gone(death))
        assert (chair.crashed, chair.failures) == (counts, 0 if ready else 1)


def test_failed_starts_wait_less_while_nobody_serves():
    chair = Chair(0)
    chair.failures = 40
    assert chair.backoff_s(alone=False) == limits.backoff_max_ms / 1000
    assert chair.backoff_s(alone=True) == limits.backoff_alone_max_ms / 1000
    chair.failures = 1
    assert chair.backoff_s(alone=True) == chair.backoff_s(alone=False) == limits.backoff_first_ms / 1000


def test_a_node_in_a_crash_loop_goes_on_answering(tmp_path, monkeypatch):
    """Poison that differs each time kills worker after worker; between, an honest request is always answered."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        with running(tmp_path) as node:
            deaths = 0
            while "crash loop: more than" not in node.log():
                assert deaths <= limits.crashes_max + 2, node.log()
                reply, _ = node.ask(b"die SIGSEGV" + b" " * deaths, budget_ms=30_000)
                assert (reply.status, reply.attempt) == (Status.POISON, 2)
                deaths += 2
            more = 0
            while [each["state"] for each in node.info()["workers"]].count("vacant") < 2:  # delays outgrow the rounds
                assert more < 20, node.log()
                assert node.ask(b"die SIGABRT" + b" " * more, budget_ms=30_000)[0].status is Status.POISON, node.log()
                assert node.ask(b"hi", budget_ms=30_000)[0].status is Status.OK, node.log()
                more += 1
            assert node.ask(b"hi", budget_ms=30_000)[0].status is Status.OK, node.log()
            systemd.settimeout(5)
            said = [systemd.recv(999)]
            while b"crash loops 1, the last not over" not in said[-1]:
                said.append(systemd.recv(999))
            assert len(re.findall("crash loop", node.log())) == 1, "said once"
            assert node.stop() == 0
