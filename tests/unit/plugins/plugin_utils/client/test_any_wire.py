# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever bytes and descriptors come over a socket, in whatever pieces: a frame is one that was sent whole."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import struct
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from corpora import blobs, replaying
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.bastion.ssh.plugins.plugin_utils.client.wire import (
    BODY_LIMIT,
    HEADER_LIMIT,
    FrameStream,
    ProtocolError,
)

Frames = list[tuple[dict[str, Any], bytes]]


def framed(header: bytes, body: bytes = b"") -> bytes:
    return struct.pack(">II", len(header), len(body)) + header + body


def whole(data: bytes) -> tuple[Frames, bool]:
    """The frames that stand in a text one after another, and whether nothing else does."""
    frames: Frames = []
    while data:
        head, body = (int.from_bytes(data[at : at + 4], "big") for at in (0, 4))
        end = 8 + head + body
        if len(data) < max(8, end) or head > HEADER_LIMIT or body > BODY_LIMIT:
            return frames, False
        try:
            header = json.loads(data[8 : 8 + head].decode("utf-8"))
        except (ValueError, RecursionError):
            return frames, False
        if not isinstance(header, dict):
            return frames, False
        frames.append((header, data[8 + head : end]))
        data = data[end:]
    return frames, True


@contextlib.contextmanager
def ends() -> Iterator[tuple[socket.socket, FrameStream]]:
    """A socket that says whatever it likes, and the connection that hears it."""
    left, right = socket.socketpair()
    with left, contextlib.closing(FrameStream(right)) as connection:
        yield left, connection


def receive(connection: FrameStream, frames: Frames) -> bool:
    """Takes what has come by now, whatever was refused before; whether something was refused."""
    try:
        while (frame := connection.receive(0)) is not None:
            frames.append((frame.header, frame.body))
    except TimeoutError:
        return False
    except ProtocolError:
        return True
    return False


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)
HEADERS = st.dictionaries(st.text(max_size=10), JSON, max_size=5).map(lambda header: json.dumps(header).encode())
GOOD = st.builds(framed, HEADERS, st.binary(max_size=50))
BAD = st.builds(
    lambda head, body, rest: struct.pack(">II", head, body) + rest,
    st.sampled_from([0, 1, 2, 3, HEADER_LIMIT, HEADER_LIMIT + 1, 2**32 - 1]),
    st.sampled_from([0, 1, BODY_LIMIT, BODY_LIMIT + 1, 2**32 - 1]),
    st.sampled_from([b"", b"{}", b"[]", b"null", b'{"a":1}', b"{", b"\xff\xfe{\0}\0", b'"{}"', b"{}{}", b"NaN"]),
)
STREAMS = st.lists(GOOD | BAD | st.binary(max_size=12), max_size=5).map(b"".join)
CUTS = st.lists(st.integers(0, 300), max_size=8)


# trust: T28
@replaying({why: (data, [3, 9], []) for why, data in blobs("wire").items()})
@given(st.tuples(STREAMS, CUTS, st.lists(st.integers(0, 8), max_size=3)))
def test_whatever_comes_only_frames_that_were_sent_whole_are_received(
    sent: tuple[bytes, list[int], list[int]],
) -> None:
    data, cuts, carriers = sent
    before = len(os.listdir("/proc/self/fd"))
    frames: Frames = []
    with ends() as (left, connection), open(os.devnull, "rb") as null:
        for number, (start, end) in enumerate(pairwise([0, *sorted(min(cut, len(data)) for cut in cuts), len(data)])):
            descriptors = [null.fileno()] * carriers.count(number)
            for at in range(start, end, 60_000):
                socket.send_fds(left, [data[at : min(end, at + 60_000)]], descriptors if at == start else [])
                receive(connection, frames)
        left.close()
        refused = [receive(connection, frames) for _time in range(3)][1:]  # the first may be about descriptors
    expected, clean = whole(data)
    assert frames == expected
    assert refused == [not clean] * 2  # what is refused stays so, and the end stays one
    assert len(os.listdir("/proc/self/fd")) == before


# trust: T28
@given(st.binary(max_size=64), st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1))
def test_no_length_makes_room_for_what_does_not_come(data: bytes, head: int, body: int) -> None:
    with ends() as (left, connection):
        left.sendall(struct.pack(">II", head, body) + data)
        if head > HEADER_LIMIT or body > BODY_LIMIT:
            assert receive(connection, [])  # at once
        left.close()
        with contextlib.suppress(ProtocolError):
            frame = connection.receive(0)
            assert frame is not None
            assert head + body <= len(data)
