# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection.
"""Frames between worker and broker: two lengths, a JSON object (the header) and raw bytes (the body), each bounded.

A socket carries one request. The worker sends ``op`` in a header, the broker ``event``; ``*`` means any number, from none:

    worker: start | put | fetch | reset | connect | survey | status | stop
    broker: [refused or error: the request is not read; the last frame]
            queued*  accepted  (note | remark | warn | waiting | committed)*      (no such frames for status and stop)
            started  output*  exited                                           (start)
            done                                                               (all others)
    worker: in*  eof                                                           (start, after started)

- ``error`` may come in place of any frame of the broker, and is the last one then, as ``exited`` and ``done`` are.
- ``committed`` comes before the target can act. Without it, the worker may send the request again.
- A request ``put`` or ``fetch`` carries a descriptor; no other frame does, and none carries two.
- Either side ends the conversation by closing. Frames that have arrived can still be received then.
- ``_sending`` and ``_receiving`` let one thread send and one receive at a time. Only ``close`` takes both, ``_sending`` first, after
  ``hang_up`` has ended the waits of their holders.

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
#: The most that a frame may hold, in bytes: the status of 20,000 connections, and a piece of a stream.
HEADER_LIMIT = 4 * 1024 * 1024
BODY_LIMIT = 256 * 1024
_CHUNK = 256 * 1024
# Seconds that a wait lasts at most before it is repeated, as Python handles signals only in the main thread, between waits.
_ATTENTION = 1.0


class ProtocolError(Exception):
    """Report a frame that is malformed, too long or incomplete."""


class PeerClosed(ConnectionError):
    """Report that the peer has closed the connection."""


class Frame:
    """Hold one message."""

    __slots__ = ("body", "header")

    def __init__(self, header: dict[str, Any], body: bytes) -> None:
        self.header = header
        self.body = body


class FrameStream:
    """Send and receive frames over a Unix socket, which it owns.

    :param sock: a connected socket.
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
        """Send a frame; block while the peer reads nothing.

        :param descriptor: descriptor of an open file to pass to the peer.
        :raises PeerClosed: the peer has closed the connection.
        :raises ProtocolError: the frame is too long.
        """
        head = json.dumps(header, separators=(",", ":")).encode()
        if len(head) > HEADER_LIMIT or len(body) > BODY_LIMIT:
            raise ProtocolError("the frame is too long")
        data = b"".join((_LENGTHS.pack(len(head), len(body)), head, body))
        with self._sending:
            try:
                if descriptor is not None:
                    data = data[socket.send_fds(self._sock, [data], [descriptor]) :]
                if data:  # sending nothing would fail, too, once the peer has closed
                    self._sock.sendall(data)
            except OSError as error:
                raise PeerClosed(error.strerror) from error

    def receive(self, timeout: float | None = None) -> Frame | None:
        """Return the next frame.

        :param timeout: seconds; None waits indefinitely.
        :returns: None at the end of the stream.
        :raises TimeoutError: no frame arrived in time; bytes received so far are kept.
        :raises ProtocolError: the frame is malformed, too long or incomplete.
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
        """Return a descriptor that came with a frame, for the caller to close; None if there is none."""
        return self._descriptors.pop() if self._descriptors else None

    def hang_up(self) -> None:
        """Shut down both directions, which wakes waiting threads; what was received stays readable."""
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Hang up, and discard what was not read. Idempotent."""
        self.hang_up()
        with self._sending, self._receiving:  # the descriptor's number may be reused at once
            self._ended = True
            self._received.clear()
            self._sock.close()
        while self._descriptors:
            os.close(self._descriptors.pop())

    def _wait(self, end: float | None) -> float | None:
        """Wait for bytes. Return ``end``, extended if this process was stopped, as the peer may have been, too."""
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
            # At most one descriptor comes with a message; the kernel closes those that do not fit.
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
        """Return the first received frame, if it is complete."""
        if len(self._received) < _LENGTHS.size:
            return None
        head, body = _LENGTHS.unpack_from(self._received)
        if head > HEADER_LIMIT or body > BODY_LIMIT:
            raise ProtocolError("the frame is too long")
        start, end = _LENGTHS.size + head, _LENGTHS.size + head + body
        if len(self._received) < end:
            return None
        try:
            # Decode first, as json.loads() accepts UTF-16 bytes as well.
            header = json.loads(self._received[_LENGTHS.size : start].decode())
        except (ValueError, RecursionError) as error:
            raise ProtocolError("the header is not JSON") from error
        if not isinstance(header, dict):
            raise ProtocolError("the header is no object")
        frame = Frame(header, bytes(self._received[start:end]))
        del self._received[:end]
        return frame
