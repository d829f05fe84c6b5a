"""The two fixed headers: every value survives the trip, every damaged frame is refused and never misread."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixline.ipc.errors import WireError
from mixline.ipc.wire import HEADER_BYTES, MAGIC, REPLY_BIT, Kind, ReplyHeader, RequestHeader, Status

u8, u16, u32, u64 = (st.integers(0, 2**bits - 1) for bits in (8, 16, 32, 64))
ident = st.binary(min_size=16, max_size=16)


def ascii_text(size):
    return st.text(st.characters(min_codepoint=1, max_codepoint=127), max_size=size)


requests = st.builds(RequestHeader, u8, ident, u64, ascii_text(32), ascii_text(16), u8, u8)
replies = st.builds(
    ReplyHeader, st.integers(0, 127), st.sampled_from(Status), ident, u64, u64, u64, u64, u32, u16, u16, u8
)


@given(requests)
def test_request_round_trip(header):
    frame = header.pack()
    assert len(frame) == HEADER_BYTES
    assert RequestHeader.unpack(frame) == header


@given(replies)
def test_reply_round_trip(header):
    frame = header.pack()
    assert len(frame) == HEADER_BYTES
    assert frame[5] & REPLY_BIT
    assert ReplyHeader.unpack(frame) == header


@given(st.binary(max_size=300))
def test_arbitrary_bytes_are_refused_or_read_whole(frame):
    for header in (RequestHeader, ReplyHeader):
        try:
            header.unpack(frame)
        except WireError:
            continue
        assert len(frame) == HEADER_BYTES and frame[:4] == MAGIC


@given(requests, st.integers(0, HEADER_BYTES - 1), u8)
def test_one_changed_byte_is_refused_or_read_as_another_header(header, at, value):
    frame = bytearray(header.pack())
    frame[at] = value
    try:
        RequestHeader.unpack(bytes(frame))
    except WireError as error:
        assert str(error)


def test_layout_is_the_documented_one():
    frame = RequestHeader(Kind.ASK, bytes(range(16)), 0x0102, "related", "acme", 7, 9).pack()
    assert frame[:8] == b"MIXL\x01\x01\x09\x07"
    assert frame[8:24] == bytes(range(16))
    assert frame[24:32] == b"\x02\x01" + bytes(6)
    assert frame[32:48] == b"acme".ljust(16, b"\0")
    assert frame[48:80] == b"related".ljust(32, b"\0")
    assert frame[80:] == bytes(48)


def test_status_codes_are_fixed():
    assert [str(Status.of(code)) for code in range(13)] == [
        "OK",
        "DEGRADED",
        "BAD_REQUEST",
        "NOT_FOUND",
        "TOO_LARGE",
        "OVERLOADED",
        "TIMEOUT",
        "WORKER_LOST",
        "POISON",
        "NOT_READY",
        "SHUTTING_DOWN",
        "UNAUTHORIZED",
        "INTERNAL",
    ]
    assert all(Status.of(status.code) is status for status in Status)
    with pytest.raises(WireError, match="status 13"):
        Status.of(13)


@pytest.mark.parametrize(
    "header",
    [
        RequestHeader(Kind.ASK, b"short"),
        RequestHeader(Kind.ASK, bytes(16), surface="é"),
        RequestHeader(Kind.ASK, bytes(16), surface="x" * 33),
        RequestHeader(Kind.ASK, bytes(16), tenant="a\0b"),
        RequestHeader(Kind.ASK, bytes(16), budget_us=-1),
    ],
)
def test_pack_refuses_what_does_not_fit(header):
    with pytest.raises(WireError):
        header.pack()
