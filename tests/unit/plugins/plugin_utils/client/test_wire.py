# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Frames over a socket: what comes through, in which pieces, and what is refused."""

from __future__ import annotations

import os
import pickle
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.bastion.ssh.plugins.plugin_utils.client import wire
from ansible_collections.bastion.ssh.plugins.plugin_utils.client.wire import (
    BODY_LIMIT,
    HEADER_LIMIT,
    FrameStream,
    ProtocolError,
)

SECONDS = 10.0


def framed(header: bytes, body: bytes = b"") -> bytes:
    return struct.pack(">II", len(header), len(body)) + header + body


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)
HEADERS = st.dictionaries(st.text(max_size=10), JSON, max_size=5)
BODIES = st.binary(max_size=200)


@given(st.lists(st.tuples(HEADERS, BODIES), max_size=5))
def test_what_is_sent_is_received_and_then_the_end(frames: list[tuple[dict[str, Any], bytes]]) -> None:
    left, right = map(FrameStream, socket.socketpair())
    for header, body in frames:
        left.send(header, body)
    left.close()
    for header, body in frames:
        frame = right.receive(SECONDS)
        assert frame is not None
        assert (frame.header, frame.body) == (header, body)
    assert right.receive(SECONDS) is None
    assert right.receive(SECONDS) is None
    right.close()


def test_what_is_received_from_one_that_was_closed_is_the_end() -> None:
    left, right = map(FrameStream, socket.socketpair())
    left.send({"a": 1})
    with pytest.raises(TimeoutError):
        left.receive(0)
    left.close()
    right.close()
    assert left.receive(0) is None
    assert right.receive(0) is None


# trust: T28
def test_a_frame_may_come_one_byte_at_a_time(raw: tuple[socket.socket, FrameStream]) -> None:
    left, connection = raw
    for byte in framed(b'{"a":1}', b"body"):
        with pytest.raises(TimeoutError):
            connection.receive(0)
        left.sendall(bytes([byte]))
    frame = connection.receive(0)
    assert frame is not None
    assert (frame.header, frame.body) == ({"a": 1}, b"body")


def test_the_longest_frame_comes_through(pair: tuple[FrameStream, FrameStream]) -> None:
    left, right = pair
    header, body = {"k": "x" * (HEADER_LIMIT - len('{"k":""}'))}, os.urandom(BODY_LIMIT)
    sender = threading.Thread(target=left.send, args=(header, body))
    sender.start()
    frame = right.receive(SECONDS)
    sender.join(SECONDS)
    assert frame is not None
    assert (frame.header, frame.body) == (header, body)


# trust: T28
@pytest.mark.parametrize(
    ("header", "body"),
    [({"k": "x" * HEADER_LIMIT}, b""), ({}, bytes(BODY_LIMIT + 1))],
    ids=["header", "body"],
)
def test_a_frame_that_is_too_long_is_not_sent(
    header: dict[str, Any], body: bytes, pair: tuple[FrameStream, FrameStream]
) -> None:
    left, right = pair
    with pytest.raises(ProtocolError, match=r"^the frame is too long$"):
        left.send(header, body)
    left.send({"next": True})
    frame = right.receive(SECONDS)
    assert frame is not None
    assert frame.header == {"next": True}


class Opens:
    """Would open a file if a pickle of it were read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (str(self.path), "w")


HOSTILE = {
    "half a length": (b"\0\0\0\2\0\0", "half a frame"),
    "half a header": (framed(b'{"a":1}')[:-1], "half a frame"),
    "half a body": (framed(b"{}", b"body")[:-1], "half a frame"),
    "a header of 4 GiB": (b"\xff" * 8 + b"{}", "the frame is too long"),
    "a body of 4 GiB": (struct.pack(">II", 2, 2**32 - 1) + b"{}", "the frame is too long"),
    "a header over the limit": (struct.pack(">II", HEADER_LIMIT + 1, 0), "the frame is too long"),
    "a body over the limit": (struct.pack(">II", 2, BODY_LIMIT + 1), "the frame is too long"),
    "no header": (framed(b""), "the header is not JSON"),
    "no JSON": (framed(b"op=start"), "the header is not JSON"),
    "two objects": (framed(b"{}{}"), "the header is not JSON"),
    "no text": (framed(b"\xff\xfe\xfd"), "the header is not JSON"),
    "a number of many digits": (framed(b'{"a":' + b"9" * 100_000 + b"}"), "the header is not JSON"),
    "deep nesting": (framed(b"[" * 200_000), "the header is not JSON"),
    "deep nesting that ends": (framed(b'{"a":' * 100_000 + b"1" + b"}" * 100_000), "the header is not JSON"),
    "a list": (framed(b"[1]"), "the header is no object"),
    "null": (framed(b"null"), "the header is no object"),
    "a text": (framed(b'"{}"'), "the header is no object"),
}


# trust: T28
@pytest.mark.parametrize(("data", "why"), HOSTILE.values(), ids=HOSTILE)
def test_what_is_no_frame_is_refused(data: bytes, why: str, raw: tuple[socket.socket, FrameStream]) -> None:
    left, connection = raw

    def say() -> None:
        left.sendall(data)
        left.shutdown(socket.SHUT_WR)

    writer = threading.Thread(target=say)
    writer.start()
    with pytest.raises(ProtocolError, match=f"^{why}$"):
        connection.receive(SECONDS)
    writer.join(SECONDS)


# trust: T28
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_is_refused_and_not_read(
    protocol: int, tmp_path: Path, raw: tuple[socket.socket, FrameStream]
) -> None:
    blob = pickle.dumps(Opens(tmp_path / "opened"), protocol)
    left, connection = raw
    left.sendall(framed(blob))
    with pytest.raises(ProtocolError, match=r"^the header is not JSON$"):
        connection.receive(SECONDS)
    assert list(tmp_path.iterdir()) == []


def test_nothing_at_all_is_the_end(raw: tuple[socket.socket, FrameStream]) -> None:
    left, connection = raw
    left.shutdown(socket.SHUT_WR)
    assert connection.receive(SECONDS) is None


@pytest.mark.parametrize("seconds", [0, 0.05])
def test_at_a_timeout_what_has_come_is_kept(seconds: float, raw: tuple[socket.socket, FrameStream]) -> None:
    left, connection = raw
    whole = framed(b'{"a":1}', b"body")
    for piece in (whole[:3], whole[3:10], whole[10:-1]):
        left.sendall(piece)
        before = time.monotonic()
        with pytest.raises(TimeoutError):
            connection.receive(seconds)
        assert seconds <= time.monotonic() - before < SECONDS
    left.sendall(whole[-1:])
    frame = connection.receive(seconds)
    assert frame is not None
    assert frame.body == b"body"


RECEIVER = """
import socket, sys
sys.path.insert(0, sys.argv[1])
from ansible_collections.bastion.ssh.plugins.plugin_utils.client import wire
wire._ATTENTION = 0.5
connection = wire.FrameStream(socket.socket(fileno=0))
connection.send({"ready": True})
print(connection.receive(1.5).header)
"""


# A worker that was stopped together with the broker gives that time to answer.  trust: T56
def test_who_was_stopped_waits_on(raw: tuple[socket.socket, FrameStream]) -> None:
    left, connection = raw
    root = wire.__file__.partition("/ansible_collections/")[0]
    with subprocess.Popen(
        [sys.executable, "-c", RECEIVER, root], stdin=left.fileno(), stdout=subprocess.PIPE, text=True
    ) as other:
        try:
            assert connection.receive(SECONDS) is not None
            time.sleep(0.3)  # until it waits
            other.send_signal(signal.SIGSTOP)
            time.sleep(2.5)
            other.send_signal(signal.SIGCONT)
            time.sleep(0.2)
            connection.send({"answer": True})
            assert other.communicate(timeout=30)[0] == "{'answer': True}\n"
        finally:
            other.kill()


def test_who_takes_nothing_holds_the_sender_until_it_takes_something(pair: tuple[FrameStream, FrameStream]) -> None:
    left, right = pair
    body, count, sent = bytes(BODY_LIMIT), 20, []

    def send() -> None:
        for number in range(count):
            left.send({"number": number}, body)
            sent.append(number)

    sender = threading.Thread(target=send)
    sender.start()
    sender.join(0.3)
    assert sender.is_alive()
    assert len(sent) < count / 2
    for number in range(count):
        frame = right.receive(SECONDS)
        assert frame is not None
        assert (frame.header, frame.body) == ({"number": number}, body)
    sender.join(SECONDS)
    assert not sender.is_alive()


def test_frames_of_several_threads_do_not_mix(pair: tuple[FrameStream, FrameStream]) -> None:
    left, right = pair

    def send(number: int) -> None:
        for _time in range(20):
            left.send({"number": number}, bytes([number]) * 50_000)

    senders = [threading.Thread(target=send, args=(number,)) for number in range(4)]
    for sender in senders:
        sender.start()
    for _time in range(80):
        frame = right.receive(SECONDS)
        assert frame is not None
        assert frame.body == bytes([frame.header["number"]]) * 50_000
    for sender in senders:
        sender.join(SECONDS)


@pytest.mark.parametrize("timeout", [None, SECONDS])
def test_closing_wakes_whoever_waits_in_another_thread(
    timeout: float | None, pair: tuple[FrameStream, FrameStream]
) -> None:
    left, _right = pair
    received: list[object] = []
    waiter = threading.Thread(target=lambda: received.append(left.receive(timeout)))
    waiter.start()
    time.sleep(0.05)
    before = time.monotonic()
    left.close()
    waiter.join(SECONDS)
    assert received == [None]
    assert time.monotonic() - before < 1
    left.close()


def test_closing_wakes_whoever_sends_in_another_thread(pair: tuple[FrameStream, FrameStream]) -> None:
    left, _right = pair
    failed: list[OSError] = []

    def send() -> None:
        try:
            while True:
                left.send({}, bytes(BODY_LIMIT))
        except OSError as error:
            failed.append(error)

    sender = threading.Thread(target=send)
    sender.start()
    time.sleep(0.05)
    left.close()
    sender.join(SECONDS)
    assert len(failed) == 1


def test_to_one_who_is_gone_nothing_can_be_sent(pair: tuple[FrameStream, FrameStream]) -> None:
    left, right = pair
    right.close()
    with pytest.raises(ConnectionError):
        left.send({})
