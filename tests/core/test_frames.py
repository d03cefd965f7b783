"""WebSocket frames out of bytes in pieces."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfybridge.frames import BINARY, CLOSE, PING, TEXT, BrokenFrameError, Frame, Frames


def frame(opcode: int, data: bytes, *, last: bool = True) -> bytes:
    head = bytes((opcode | (0x80 if last else 0),))
    if len(data) < 126:
        return head + bytes((len(data),)) + data
    if len(data) < 2**16:
        return head + struct.pack(">BH", 126, len(data)) + data
    return head + struct.pack(">BQ", 127, len(data)) + data


_MESSAGES = st.lists(
    st.builds(Frame, st.sampled_from([TEXT, BINARY, PING]), st.binary(max_size=200) | st.just(b"x" * 70000)), max_size=6
)


@given(_MESSAGES, st.lists(st.integers(1, 400), min_size=1, max_size=20))
def test_messages_arrive_in_pieces_of_any_size(messages: list[Frame], sizes: list[int]) -> None:
    data = b"".join(frame(*message) for message in messages)
    frames, found, at = Frames(), list[Frame](), 0

    while at < len(data):
        size = sizes[len(found) % len(sizes)] if at < 4000 else 16384
        found += frames.feed(data[at : at + size])
        at += size

    assert found == messages


def test_message_in_parts_with_a_ping_between() -> None:
    frames = Frames()

    found = frames.feed(
        frame(TEXT, b"a", last=False)
        + frame(PING, b"?")
        + frame(0, b"b", last=False)
        + frame(0, b"c")
        + frame(CLOSE, b"")
    )

    assert found == [Frame(PING, b"?"), Frame(TEXT, b"abc"), Frame(CLOSE, b"")]


@pytest.mark.parametrize(
    "data",
    [
        b"\xc1\x00",
        b"\x81\x80\0\0\0\0",
        frame(0, b"rest of none"),
        frame(TEXT, b"a", last=False) + frame(TEXT, b"b"),
    ],
    ids=["reserved bit", "masked", "continued", "interleaved"],
)
def test_what_no_server_may_send_is_an_error(data: bytes) -> None:
    with pytest.raises(BrokenFrameError):
        Frames().feed(data)
