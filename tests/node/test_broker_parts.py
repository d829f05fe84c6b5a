"""The parts of the broker's ledger by themselves: heaps, fair queue, peers, predictions, quarantine."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixline.node.broker_peers import Peers
from mixline.node.broker_quarantine import Quarantine
from mixline.node.broker_queue import FairQueue
from mixline.node.broker_surfaces import Surfaces
from mixline.node.heaps import ItemHeap

INNOCENT, WATCHED, SUSPECT, CONDEMNED = range(4)
keys = st.integers(0, 2**64 - 1) | st.integers(0, 3)


@given(st.lists(st.tuples(keys, keys), max_size=80), st.randoms(use_true_random=False))
def test_a_heap_gives_back_in_order_whatever_was_taken_out(entries, rng):
    heap = ItemHeap(len(entries))
    for item, (major, minor) in enumerate(entries):
        heap.push(item, major, minor)
    taken = {item for item in range(len(entries)) if rng.random() < 0.4}
    assert all(heap.remove(item) for item in taken) and not any(heap.remove(item) for item in taken)
    left = [heap.pop() for _ in range(len(heap))]
    assert heap.pop() == -1 and set(left) == set(range(len(entries))) - taken
    assert [entries[item] for item in left] == sorted(entries[item] for item in left)


def test_an_item_is_in_a_heap_once():
    heap = ItemHeap(2)
    heap.push(1, 0, 0)
    for item in (1, 2):
        with pytest.raises(ValueError, match="item"):
            heap.push(item, 0, 0)


waiting = st.tuples(st.integers(0, 255), st.integers(0, 10**9), st.integers(1, 10**7), st.integers(0, 5000))


@given(st.lists(waiting, max_size=60))
def test_one_tenant_is_served_by_priority_then_deadline_then_arrival(requests):
    queue = FairQueue(64, {})
    for item, (priority, deadline_us, cost_ns, length) in enumerate(requests):
        queue.add(item, "shop", priority, deadline_us * 1000, cost_ns, length)
    assert (queue.count, queue.total_bytes) == (len(requests), sum(each[3] for each in requests))
    order = [queue.next() for _ in requests]
    assert order == sorted(range(len(requests)), key=lambda item: (*requests[item][:2], item))
    assert (queue.next(), queue.count, queue.total_bytes) == (-1, 0, 0)


@given(st.lists(st.tuples(st.sampled_from("abcd"), waiting), max_size=60), st.randoms(use_true_random=False))
def test_nothing_is_lost_and_nothing_that_waits_is_outranked(requests, rng):
    queue = FairQueue(64, {"a": 2.5})
    for item, (tenant, (priority, deadline_us, cost_ns, length)) in enumerate(requests):
        queue.add(item, tenant, priority, deadline_us * 1000, cost_ns, length)
    gone = {item for item in range(len(requests)) if rng.random() < 0.3}
    assert all(queue.drop(item) for item in gone) and not any(queue.drop(item) for item in gone)
    left = set(range(len(requests))) - gone
    assert queue.ahead("a", 255) <= sum(requests[item][1][2] for item in left)
    while left:
        item = queue.next()
        left.remove(item)
        assert all(requests[item][1][0] <= requests[other][1][0] for other in left)
    assert queue.next() == -1 and queue.ahead("a", 255) == 0


@pytest.mark.parametrize("seed", [1, 2])
def test_tenants_with_something_waiting_share_by_weight(seed):
    rng, weights = random.Random(seed), {"gold": 3.0, "silver": 1.0}
    queue, spent, owners, costs = FairQueue(60, weights), {"gold": 0, "silver": 0, "plain": 0}, {}, {}

    def refill(item, owner):
        owners[item], costs[item] = owner, rng.randrange(1, 2_000_000)
        queue.add(item, owner, 128, rng.randrange(10**9), costs[item], 100)

    for item in range(60):  # silver floods
        refill(item, "gold" if item < 5 else "plain" if item < 10 else "silver")
    for _ in range(6000):
        item = queue.next()
        spent[owners[item]] += costs[item]
        refill(item, owners[item])
    assert spent["gold"] == pytest.approx(3 * spent["silver"], rel=0.05)
    assert spent["plain"] == pytest.approx(spent["silver"], rel=0.05)


def test_who_comes_back_has_saved_nothing_up():
    queue = FairQueue(300, {})
    for item in range(100):
        queue.add(item, "busy", 128, 0, 1000, 1)
    for _ in range(90):
        queue.next()
    for item in range(100, 200):
        queue.add(item, "back", 128, 0, 1000, 1)
    served = [queue.next() for _ in range(10)]
    assert 4 <= sum(item < 100 for item in served) <= 6


def test_a_tenant_s_wait_is_its_own_share_of_the_work():
    queue = FairQueue(64, {})
    for item in range(40):
        queue.add(item, "flood", 128, 0, 1_000_000, 1)
    assert queue.ahead("flood", 128) == 40_000_000
    assert queue.ahead("other", 128) == 0 and queue.ahead("flood", 0) == 0
    queue.add(40, "other", 128, 0, 1_000_000, 1)
    assert queue.ahead("other", 128) == 2_000_000


def test_three_hundred_tenants_lose_nothing():
    queue = FairQueue(600, {})
    for item in range(600):
        queue.add(item, f"t{item % 300}", 128, 0, 1000, 1)
    assert sorted(queue.next() for _ in range(600)) == list(range(600))


@given(st.lists(st.integers(0, 9), max_size=100))
def test_peers_are_forgotten_when_nothing_is_open(actions):
    peers, numbers, open_requests = Peers(6), {}, {}
    for who in actions:
        if open_requests.get(who) and who % 2:
            open_requests[who] -= 1
            assert peers.close(numbers[who]) == open_requests[who]
            continue
        number = peers.open(b"peer %d" % who)
        full = sum(map(bool, open_requests.values())) == 6 and not open_requests.get(who)
        assert (number == -1) == full
        if not full:
            assert not open_requests.get(who) or number == numbers[who]
            numbers[who], open_requests[who] = number, open_requests.get(who, 0) + 1
    assert peers.count == sum(map(bool, open_requests.values()))


def test_the_estimate_of_the_slow_ones_rests_at_one_in_a_hundred():
    rng, surfaces = random.Random(3), Surfaces()
    number = surfaces.announce("homefeed", 60.0)
    samples = [int(rng.lognormvariate(14, 0.6)) for _ in range(20_000)]
    for sample in samples:
        surfaces.record(number, sample)
    mean, slow = surfaces.estimates(number)
    assert 0.004 < sum(sample > slow for sample in samples) / len(samples) < 0.03
    assert min(samples) < mean < slow


@pytest.mark.parametrize("shares", [False, True])
@given(cost_us=st.integers(50, 5000), stall_ms=st.integers(20, 10_000), company=st.integers(1, 8))
def test_one_stall_of_the_machine_moves_the_mean_by_little(shares, cost_us, stall_ms, company):
    surfaces = Surfaces()
    number = surfaces.announce("homefeed", 60.0, shares)
    for _ in range(200):
        surfaces.note_pass(number, cost_us * 1000 * company, company)
    before = surfaces.estimates(number)[0]
    surfaces.note_pass(number, cost_us * 1000 * company + stall_ms * 1_000_000, company)
    assert before <= surfaces.estimates(number)[0] <= 2 * before


@pytest.mark.parametrize("shares", [False, True])
@given(times=st.integers(2, 500), company=st.integers(1, 8))
def test_requests_that_did_become_dearer_are_soon_known(shares, times, company):
    surfaces = Surfaces()
    number = surfaces.announce("homefeed", 60.0, shares)
    for at in range(200 + 100):
        surfaces.note_pass(number, (times if at >= 200 else 1) * 200_000 * company, company)
    assert surfaces.estimates(number)[0] == pytest.approx(times * 200_000, rel=0.1)


def test_surfaces_keep_their_numbers_and_the_table_its_size():
    surfaces = Surfaces()
    numbers = [surfaces.announce(f"s{at}", 10.0) for at in range(80)]
    assert numbers[:62] == list(range(2, 64)) and set(numbers[62:]) == {0}
    assert [surfaces.announce(f"s{at}", 20.0) for at in range(62)] == numbers[:62]
    assert surfaces.names[2] == "s0" and len(surfaces.names) == 64


def test_verdicts_end_and_a_full_quarantine_makes_room():
    quarantine = Quarantine(10)
    quarantine.note(7, 0)
    assert quarantine.get(7, 9_999_999) == WATCHED, "without a trial any copy may be the next"
    quarantine.put_on_trial(7, True)
    assert quarantine.get(7, 9_999_999) == SUSPECT
    quarantine.put_on_trial(7, False)
    quarantine.note(7, 2_000_000)  # another copy, later: the second death all the same
    assert quarantine.get(7, 11_999_999) == CONDEMNED and quarantine.count == 1
    assert quarantine.get(7, 12_000_000) == INNOCENT and quarantine.count == 0
    quarantine.note(7, 0)
    quarantine.clear(7)
    assert quarantine.get(7, 0) == INNOCENT and quarantine.count == 0
    for digest in range(300):
        quarantine.note(digest, digest)
    assert quarantine.count == 256 and quarantine.get(299, 300) == WATCHED and quarantine.get(0, 300) == INNOCENT


def test_what_was_answered_is_known_until_it_kills():
    quarantine = Quarantine(10)
    assert not quarantine.known_good(7) and quarantine.known_good(7, remember=True) and not quarantine.known_good(8)
    quarantine.note(7, 0)
    assert not quarantine.known_good(7)


@pytest.mark.parametrize(
    ("fixed_ms", "each_ms", "left_ms", "fewest", "most"),
    [
        (0.1, 0.2, 100, 25, 35),  # a sixteenth of what is left
        (11.0, 1.0, 100, 20, 25),  # reading once is what costs: twice that
        (11.0, 1.0, 1000, 55, 70),
        (60.0, 1.0, 100, 1, 1),  # all would end late
    ],
)
def test_a_pass_has_room_for_what_its_first_request_can_bear(fixed_ms, each_ms, left_ms, fewest, most):
    surfaces = Surfaces()
    surface = surfaces.announce("home", 100.0, shares=True)
    rng = random.Random(5)
    for _ in range(300):
        company = rng.choice([1, 2, 5, 9, 20])
        took_ms = fixed_ms + each_ms * company
        surfaces.note_pass(surface, int(took_ms * 1e6 * rng.uniform(0.95, 1.05)), company)
    assert fewest <= surfaces.room_for(surface, int(left_ms * 1e6)) <= most


def test_of_passes_all_of_one_size_half_is_taken_for_what_is_read_once():
    surfaces = Surfaces()
    surface = surfaces.announce("home", 100.0, shares=True)
    for _ in range(100):
        surfaces.note_pass(surface, 8_000_000, 4)
    assert surfaces.room_for(surface, 160_000_000) == 10
