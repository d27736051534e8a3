# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection.
"""What broker and workers say to each other: frames of a length, a JSON object and raw bytes, each bounded.

Every worker loads this for every task, so it is short.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import struct
import threading
import time
from typing import Any

_LENGTHS = struct.Struct(">II")
#: The most that a frame may hold, in bytes: what there is to say of 20,000 connections, and a piece of a stream.
HEADER_LIMIT = 4 * 1024 * 1024
BODY_LIMIT = 256 * 1024
_CHUNK = 256 * 1024
# Python acts on a signal in the main thread only, so that a wait there has to look up now and then.
_ATTENTION = 1.0


class ProtocolError(Exception):
    """The other side does not keep to the form of a frame, or ended in the middle of one."""


class PeerClosed(ConnectionError):
    """The other side has left."""


class Frame:
    """One message."""

    __slots__ = ("body", "header")

    def __init__(self, header: dict[str, Any], body: bytes) -> None:
        self.header = header
        self.body = body


class FrameStream:
    """Frames over a Unix socket, which it owns.

    :param sock: connected.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._sending = threading.Lock()
        self._receiving = threading.Lock()
        self._received = bytearray()
        self._ended = False
        self._poll = select.poll()
        self._poll.register(sock, select.POLLIN)
        self._descriptors: list[int] = []

    def send(self, header: dict[str, Any], body: bytes = b"", descriptor: int | None = None) -> None:
        """Sends a frame; blocks while the other side takes nothing.

        :param descriptor: an open file that the other side gets a descriptor of as well.
        :raises PeerClosed: the other side has.
        :raises ProtocolError: more than a frame may hold.
        """
        head = json.dumps(header, separators=(",", ":")).encode()
        if len(head) > HEADER_LIMIT or len(body) > BODY_LIMIT:
            raise ProtocolError("the frame is too long")
        data = b"".join((_LENGTHS.pack(len(head), len(body)), head, body))
        with self._sending:
            try:
                if descriptor is not None:
                    data = data[socket.send_fds(self._sock, [data], [descriptor]) :]
                if data:  # to send nothing fails, too, once the other side has done all and left
                    self._sock.sendall(data)
            except OSError as error:
                raise PeerClosed(error.strerror) from error

    def receive(self, timeout: float | None = None) -> Frame | None:
        """The next frame.

        :param timeout: seconds; None waits for as long as it takes.
        :returns: None at the end of the conversation.
        :raises TimeoutError: the time is up; what has come so far is kept.
        :raises ProtocolError: no frame, half a frame, or one that is too long.
        """
        end = None if timeout is None else time.monotonic() + timeout
        with self._receiving:
            while True:
                frame = self._take()
                if frame is not None:
                    return frame
                if self._ended:
                    if self._received:
                        raise ProtocolError("half a frame")
                    return None
                end = self._wait(end)
                self._read()

    def take_descriptor(self) -> int | None:
        """A descriptor that came with a frame; whoever takes it closes it."""
        return self._descriptors.pop() if self._descriptors else None

    def hang_up(self) -> None:
        """Ends the conversation, in both directions and for whoever waits in it; what has come can still be received."""
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Hangs up, and forgets the rest. Harmless when repeated."""
        self.hang_up()
        with self._sending, self._receiving:  # the descriptor's number may be somebody else's at once
            self._ended = True
            self._received.clear()
            self._sock.close()
        while self._descriptors:
            os.close(self._descriptors.pop())

    def _wait(self, end: float | None) -> float | None:
        """Waits for bytes; returns the end, which comes later where we were stopped, as the other side may have been, too."""
        while True:
            now = time.monotonic()
            left = _ATTENTION if end is None else max(0.0, min(_ATTENTION, end - now))
            if self._poll.poll(1000 * left):
                return end
            late = time.monotonic() - now - left
            if end is not None and late > _ATTENTION:
                end += late + _ATTENTION
            elif end is not None and time.monotonic() >= end:
                raise TimeoutError

    def _read(self) -> None:
        try:
            # One descriptor comes with a message at most; the kernel closes those for which there is no room.
            data, descriptors, flags, _address = socket.recv_fds(self._sock, _CHUNK, 1)
        except ConnectionError:
            data, descriptors, flags = b"", [], 0
        for descriptor in descriptors:
            os.set_inheritable(descriptor, False)
            self._descriptors.append(descriptor)
        self._ended = not data
        self._received += data
        if len(self._descriptors) > 1 or flags & socket.MSG_CTRUNC:
            raise ProtocolError("more than one descriptor, or none that is free")

    def _take(self) -> Frame | None:
        """The first frame of what was received, if it is whole."""
        if len(self._received) < _LENGTHS.size:
            return None
        head, body = _LENGTHS.unpack_from(self._received)
        if head > HEADER_LIMIT or body > BODY_LIMIT:
            raise ProtocolError("the frame is too long")
        start, end = _LENGTHS.size + head, _LENGTHS.size + head + body
        if len(self._received) < end:
            return None
        try:
            # As text: of bytes, it would take UTF-16 as well.
            header = json.loads(self._received[_LENGTHS.size : start].decode())
        except (ValueError, RecursionError) as error:
            raise ProtocolError("the header is not JSON") from error
        if not isinstance(header, dict):
            raise ProtocolError("the header is no object")
        frame = Frame(header, bytes(self._received[start:end]))
        del self._received[:end]
        return frame
