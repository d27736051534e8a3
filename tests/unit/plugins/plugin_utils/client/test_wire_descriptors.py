# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Descriptors that come with frames, and whether the other side is still there."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.bastion.ssh.plugins.plugin_utils.client.wire import BODY_LIMIT, FrameStream, ProtocolError

SECONDS = 10.0
EMPTY = b"\0\0\0\2\0\0\0\0{}"


@pytest.fixture
def file(tmp_path: Path) -> Iterator[int]:
    """A descriptor of a file that is open nowhere else."""
    descriptor = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    yield descriptor
    os.close(descriptor)


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


# trust: T31
def test_a_descriptor_comes_with_its_frame_and_is_not_inherited(
    pair: tuple[FrameStream, FrameStream], file: int
) -> None:
    left, right = pair
    left.send({"op": "put"}, b"body", file)
    frame = right.receive(SECONDS)
    assert frame is not None
    assert (frame.header, frame.body) == ({"op": "put"}, b"body")
    taken = right.take_descriptor()
    assert taken is not None
    assert not os.get_inheritable(taken)
    os.write(taken, b"written")
    os.close(taken)
    assert os.pread(file, 10, 0) == b"written"
    assert right.take_descriptor() is None


def test_a_descriptor_may_come_with_a_long_frame(file: int) -> None:
    sockets = socket.socketpair()
    sockets[0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    left, right = map(FrameStream, sockets)
    body = os.urandom(BODY_LIMIT)
    sender = threading.Thread(target=left.send, args=({}, body, file))
    sender.start()
    frame = right.receive(SECONDS)
    sender.join(SECONDS)
    assert frame is not None
    assert frame.body == body
    taken = right.take_descriptor()
    assert taken is not None
    os.close(taken)
    left.close()
    right.close()


# trust: T28
def test_a_descriptor_that_nobody_takes_is_closed(pair: tuple[FrameStream, FrameStream], file: int) -> None:
    left, right = pair
    before = descriptors()
    left.send({}, descriptor=file)
    assert right.receive(SECONDS) is not None
    assert descriptors() == before + 1
    right.close()
    assert descriptors() == before - 1
    right.close()


# trust: T28
def test_more_than_one_descriptor_is_refused(raw: tuple[socket.socket, FrameStream], file: int) -> None:
    left, connection = raw
    before = descriptors()
    for _time in range(2):
        socket.send_fds(left, [EMPTY[:5]], [file])
    with pytest.raises(ProtocolError, match=r"^more than one descriptor, or none that is free$"):
        connection.receive(SECONDS)
    connection.close()
    assert descriptors() == before - 1


# trust: T28
@pytest.mark.parametrize("count", [2, 3, 50])
def test_of_many_descriptors_at_once_no_more_than_one_is_kept(
    count: int, raw: tuple[socket.socket, FrameStream], file: int
) -> None:
    left, connection = raw
    before = descriptors()
    socket.send_fds(left, [EMPTY], [file] * count)
    with contextlib.suppress(ProtocolError):
        assert connection.receive(SECONDS) is not None
    assert descriptors() <= before + 1
    connection.close()
    assert descriptors() == before - 1


def test_who_leaves_once_all_was_sent_is_not_missed(
    pair: tuple[FrameStream, FrameStream], file: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    left, right = pair
    send = socket.send_fds

    def sends_and_is_slow(*arguments: Any) -> int:
        sent = send(*arguments)
        right.receive(SECONDS)
        right.send({"event": "done"})
        right.close()
        return sent

    monkeypatch.setattr(socket, "send_fds", sends_and_is_slow)
    left.send({}, descriptor=file)
    answer = left.receive(SECONDS)
    assert answer is not None
    assert answer.header == {"event": "done"}
