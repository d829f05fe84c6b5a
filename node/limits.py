"""Every limit of the node in one place, with the relations between them asserted when the module is imported.

A limit that two processes must agree on (sizes, capacities) is a constant here and not an option, because both derive
the layout of shared memory from it. Durations say who counts them.
"""

from __future__ import annotations

import signal

from mixline.ipc.meters import meters_bytes
from mixline.ipc.seats import SeatLayout, arena_total
from mixline.ipc.segments import page_round
from mixline.ipc.wire import HEADER_BYTES

KIB, MIB = 1024, 1024 * 1024

# Requests. A slot holds the header and the body.
request_bytes_max = 1 * MIB
slot_plan = ((512, 4096), (4 * KIB, 2048), (64 * KIB, 256), (MIB + 4 * KIB, 32))
slot_bytes = arena_total(slot_plan)
frame_bytes_max = 2 * request_bytes_max  # libzmq closes the door above this; between the two the reply says TOO_LARGE

# Replies. Blocks of one worker's arena; pages that are never written cost nothing.
reply_bytes_max = 4 * MIB
arena_plan = ((2 * KIB, 512), (16 * KIB, 128), (128 * KIB, 32), (MIB, 8), (4 * MIB, 2))
arena_bytes = arena_total(arena_plan)

# Descriptors in flight between the broker and one worker.
held_max = 64  # asks given to an idle worker at once, of one scan or short ones; nothing parks behind a busy one
held_echo_max = 48  # echoes are over before a second wake-up would be
ring_slots = 64
release_slots = 1024
seat_layout = SeatLayout(ring_slots, release_slots)
workers_max = 512

# Meters: a page per row, of which those never used take no memory.
surfaces_max = 64  # with meters of their own, those for unknown names and for echoes among them
broker_meter_rows = 2 * surfaces_max
broker_meters_bytes = page_round(meters_bytes(broker_meter_rows))
worker_meter_rows = 1024  # surfaces and components; what goes beyond is not metered
worker_meters_bytes = page_round(meters_bytes(worker_meter_rows))

# The queue in the broker.
queue_max = 4096
queue_bytes_max = 64 * MIB
writes_max = 1024  # batches that wait for the writer
collect_objects_min = 50_000  # containers before Python looks for cycles; a batch of requests makes thousands
trim_requests_min = 200  # requests after which the broker, when calm, gives freed memory back
receive_batch = 64  # messages taken from the socket before replies are looked at again
queue_share_alone = 0.75  # of the queue, that one tenant may take while no other waits
wait_share_max = 0.6  # of what a request's budget leaves beyond its service: a longer wait is refused at the door
wait_share_standing = 0.3  # the same once the queue stands for queue_standing_ms: no burst, but overload
wait_share_pressed = 0.05  # the same while many are refused: what is beyond capacity gains nothing by waiting
overstayed_times = 1.5  # of what is let in while many are refused: who waited longer is refused, not served
wait_share_calm = 0.05  # of a budget: while the first of a pass has waited less, the queue does not stand
pass_share = 1 / 16  # of the time that its first request has left: what all others may add to a shared pass
batch_share = 1 / 48  # the same where requests that share no pass go to a worker together
batch_us = 2_000  # and no more than that: who is more urgent waits behind them
queue_standing_ms = 50  # a burst this long may fill the budget; a longer one would show in the p99 of seconds
queue_stood_ms = 500  # how long a queue that stood is remembered, and that many were refused
refused_share = 0.15  # of what came within refused_window_ms; a node at its capacity refuses fewer
refused_window_ms = 100
doze_us = 1_000  # while requests wait and no worker is free; one that has nothing left to do ends it
peer_open_max = 1024  # requests of one connection that have no reply yet
peer_messages_in_max = 512  # requests that libzmq holds for the broker, per connection; beyond, the sender waits
peer_messages_out_max = 4096  # replies that libzmq holds for a peer that does not read; more are dropped and counted
lend_bytes_min = 32 * KIB  # a reply of this length is lent to libzmq, a shorter one copied
peer_lent_bytes_max = 16 * MIB  # lent to one connection that does not read; more are dropped and counted
tenants_max = 255  # with a share of their own in NODE.toml

# Answers.
limit_max = 1000  # items of one page, per group
groups_max = 256  # users of one request
why_max = 100  # items whose fate a request asks for
candidates_max = 20_000  # ids a request may bring
vectors_max = 64  # that one request gives
time_max = 1 << 40  # seconds since 1970, beyond the year 30,000: a time beyond is in other units
query_chars_max = 65_536  # of a query text
typed_chars_max = 256  # of what is completed
query_words_max = 32  # that a query requires, forbids, or has in phrases; of all others the rarest count
prefix_terms_max = 16  # that one prefix, or one misspelt word, stands for
prefix_looks_max = 20_000  # words that are looked at for them
facet_values_max = 1000  # of one facet in a reply
source_limit_max = 20_000  # candidates one source may bring per group

# Time, microseconds on the wire and nanoseconds inside.
budget_default_us = 1_000_000  # a request with budget 0, until its surface's own deadline applies
budget_max_us = 60_000_000
retry_after_us_min = 1_000
retry_after_us_max = 1_000_000

# Liveness. The broker counts its own ticks, so a machine that was suspended does not look like a hung worker.
tick_ms = 100
glance_ms = 5  # under load the broker looks at the supervisor's messages this often
beat_idle_ms = 250  # a worker with nothing to do still beats this often
hang_ms = 3_000  # without a beat: hung, killed, its request moved
hang_overdue_ms = 1_000  # the same while it holds a request that was answered without it and must stop
broker_hang_ms = 10_000
fallback_crashes = 2  # starts on an epoch that never served, ended by SIGSEGV or SIGBUS, before another is taken
fallback_again_ms = 1_000  # while somebody else holds the store's lock
warm_max_ms = 1_800_000  # of warming at a start or reload; then the node serves all the same
compaction_look_ms = 2_000  # whether a fold is due
compaction_retry_ms = 600_000  # after one that failed
warm_told_ms = 5_000  # systemd hears at this pace that the start goes on
ready_timeout_ms = 120_000  # a worker that has not said ready by then is killed and counted as a failed start

# Components that wait, per process.
threads_max = 64
threads_held_max = 4  # by runs of one component that were given up and have not come back

# What follows a reply.
effects_max = 64  # of replies that were sent, kept for a moment in which nothing is asked; beyond, they go first

# The quality factor, ten times a second.
quality_pressure_high = 1.0  # waits as long as the work: two thirds of capacity, and the factor begins to fall
quality_pressure_low = 0.3  # and rises again
quality_pressure_shed = 2.0  # what a tick in which somebody was refused counts as
quality_fall = 0.1  # of the factor, a tick at twice the high pressure
quality_rise = 0.02  # five seconds from nothing to all

# Cursors.
cursor_items_max = 2000  # shown through one cursor: 16 KiB at the most
cursor_s_max = 86_400

# The log of slow requests.
slow_lines_per_s = 5  # per worker

# Deaths.
attempts_max = 2
# Those that a request can cause; a SIGKILL comes from outside (the operator, the OOM killer).
crash_signals = frozenset((signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGILL, signal.SIGFPE))
quarantine_ms = 60_000  # what killed one worker is watched for so long, what killed two refused
careful_ms = 1_000  # after a crash, requests not known to be good run one at a time, and not on the last worker
known_bytes_max = 4 * KIB  # longer requests are never known: their digest at each answer would cost more than it tells

# Hedging.
hedge_share = 0.05  # of the requests given to workers may be started a second time
hedge_credit_max = 8.0  # such starts saved up
hedge_samples_min = 200  # requests of a surface before its slow ones can be told
hedge_wait_min_us = 1_000

# Start and stop.
backoff_first_ms = 100
backoff_max_ms = 10_000
backoff_alone_max_ms = 1_000  # while no worker serves at all
crash_window_ms = 60_000
crashes_max = 20  # of serving workers within the window; one more opens the breaker
breaker_first_ms = 1_000  # then a crashed worker's seat stays empty for this long, doubled each time
breaker_max_ms = 30_000
breaker_calm_ms = 60_000  # without a crash, and the breaker closes
drain_ms = 10_000
leave_ms = 5_000  # SIGTERM to SIGKILL
handshake_ms = 5_000  # a connection that does not finish its greeting is closed

# Clients.
client_grace_ms = 250  # beyond the deadline, before a client gives up waiting for the node's own TIMEOUT
apply_deadline_ms = 10_000  # of a batch for which the caller names none
client_window = 64  # requests of one ask_many in flight at once

assert request_bytes_max + HEADER_BYTES <= slot_plan[-1][0]
assert request_bytes_max < frame_bytes_max
assert reply_bytes_max <= arena_plan[-1][0]
assert request_bytes_max <= reply_bytes_max, "an echo of the largest request must fit a reply"
assert sum(count for _, count in arena_plan) <= release_slots, "every block can be on its way back at once"
assert max(held_max, held_echo_max) <= ring_slots
assert 2 * peer_open_max <= peer_messages_out_max, "all that a peer has open can end at once, each with its reply"
assert peer_open_max <= queue_max
assert lend_bytes_min <= peer_lent_bytes_max and reply_bytes_max <= peer_lent_bytes_max
assert 0 < queue_share_alone <= 1
assert 0 < wait_share_pressed <= wait_share_calm <= wait_share_standing <= wait_share_max <= 1
assert queue_max <= sum(count for _, count in slot_plan)
assert sum(count for _, count in slot_plan) < 1 << 24, "a slot number has 24 bits in the executing word"
assert attempts_max < 256
assert quality_pressure_low < quality_pressure_high < quality_pressure_shed
assert quality_rise < quality_fall, "what falls at once and rises as fast would swing"
assert budget_default_us <= budget_max_us
assert retry_after_us_min <= retry_after_us_max < 1 << 32
assert tick_ms * 10 <= hang_ms and beat_idle_ms * 4 <= hang_ms
assert tick_ms * 5 <= hang_overdue_ms <= hang_ms < broker_hang_ms and beat_idle_ms < hang_overdue_ms
assert backoff_first_ms <= backoff_alone_max_ms <= backoff_max_ms
assert breaker_first_ms <= breaker_max_ms <= breaker_calm_ms, "calm must not be a pause between two refills"
assert crash_window_ms <= breaker_calm_ms, "a closed breaker has forgotten what opened it"
assert crashes_max >= 2 * attempts_max, "a few requests that kill are no loop"
assert warm_told_ms < warm_max_ms
assert threads_held_max < threads_max
assert workers_max < 1 << 16, "a reply header has 16 bits for the seat"
assert limit_max <= source_limit_max and groups_max < 1 << 16
