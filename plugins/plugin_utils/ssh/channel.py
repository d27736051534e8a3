# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""paramiko's Channel with what it leaves out: exit signals, nothing after its CLOSE, an end that waits for nobody."""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Callable
from typing import Any

from ..errors import said
from .deadline import Deadline
from .library import BROKEN, paramiko

MSG_CHANNEL_CLOSE = 97  # RFC 4250 section 4.1.2
_ATTENTION = 1.0
#: Seconds for a lock that is never held while something is sent or waited for.
SHORT = 20.0


class TransportLock:
    """A lock of a transport, or of its channels, that is not waited for where its holder may never let it go.

    :param limit: seconds that are more than anybody needs it for.
    """

    def __init__(self, transport: Any, limit: float = math.inf) -> None:
        self._transport = transport
        self._limit = limit
        self._lock = threading.Lock()

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """As of threading.Lock; raises paramiko.SSHException when the transport has ended, or the limit is reached."""
        if not blocking or timeout >= 0:
            return self._lock.acquire(blocking, timeout)
        if self._lock.acquire(blocking=False):
            return True
        deadline = Deadline(self._limit)
        while not self._lock.acquire(timeout=_ATTENTION):
            if not self._transport.is_active() or deadline.expired:
                raise paramiko.SSHException("the connection is stuck")
        return True

    def release(self) -> None:
        """As of threading.Lock."""
        self._lock.release()

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *_error: object) -> None:
        self.release()


class HopChannel(paramiko.Channel):
    """A channel of a hop. Whoever opened it closes it.

    The library's own closes itself when it is collected, in a thread that may hold what this needs (paramiko#247).
    """

    #: The name of the signal that ended the command; None if none did.
    exit_signal: str | None = None
    #: Whether the server has closed it, and not merely the connection ended.
    server_closed = False
    _pipe: Any

    def __del__(self) -> None:
        """Nothing."""

    @staticmethod
    def adopt(channel: Any, transport: Any) -> None:
        """Makes one of a channel of the library's on which nothing has been received and that nobody uses yet."""
        channel.__class__ = HopChannel
        channel.in_buffer = _Buffer()
        channel.transport = _Gate(transport)
        channel.lock = TransportLock(transport, SHORT)
        channel.out_buffer_cv = threading.Condition(channel.lock)

    def close(self) -> None:
        """Ends it. Harmless when repeated, and when the connection has just ended, so that nobody can be told."""
        with contextlib.suppress(*BROKEN):
            super().close()

    def abandon(self) -> None:
        """Ends it for all who wait for it, whatever the thread of its transport is stuck in."""
        self.closed = True
        self.in_buffer.close()
        self.in_stderr_buffer.close()
        self.event.set()
        self.status_event.set()
        if self._pipe is not None:
            self._pipe.set_forever()
        self._wake_senders()

    def _wake_senders(self) -> None:
        """Wakes who waits for room in the window; a condition takes a lock that anybody holds for one that we hold."""
        while True:
            ours = self.lock.acquire(timeout=0.1)  # whoever is about to wait lets it go within that
            try:
                self.out_buffer_cv.notify_all()
                return
            except RuntimeError:  # it was let go meanwhile
                continue
            finally:
                if ours:
                    self.lock.release()


def send_aside(send: Callable[..., None], what: Any) -> None:
    """Sends something that nobody waits for, in a thread of its own: that of the transport may have to read on first."""
    with contextlib.suppress(RuntimeError):  # no thread can be started; the end of the connection says the same
        threading.Thread(target=send, args=(what,), name="farewell", daemon=True).start()


def handle_close(channel: HopChannel, message: paramiko.Message) -> None:
    """Notes that the server has said all (RFC 4254 section 5.3), and hands the message on."""
    channel.server_closed = True
    paramiko.Channel._handle_close(channel, message)  # type: ignore[attr-defined]


def handle_request(channel: HopChannel, message: paramiko.Message) -> None:
    """Keeps an exit signal (RFC 4254 section 6.10), which paramiko drops, and hands the request on."""
    if message.get_text() == "exit-signal":
        message.get_boolean()
        channel.exit_signal = said(message.get_binary(), 20)
    message.rewind()
    message.get_int()  # the channel's number, read before
    paramiko.Channel._handle_request(channel, message)  # type: ignore[attr-defined]


class _Buffer(paramiko.buffered_pipe.BufferedPipe):  # type: ignore[type-arg]
    """What a channel received; the library's own moves all that is left with every piece that is taken."""

    def __init__(self) -> None:
        super().__init__()
        self._buffer = bytearray()

    def _buffer_frombytes(self, data: bytes) -> None:
        self._buffer += data

    def _buffer_tobytes(self, limit: int | None = None) -> bytes:
        return bytes(self._buffer[:limit])


class _Gate:
    """A transport as one channel sees it, which sends nothing after its CLOSE.

    The library makes a message under the channel's lock and sends it without; meanwhile its thread may answer a CLOSE of
    the server's. What came after that, OpenSSH would take for an error of the protocol and end the whole connection.
    """

    _transport: Any

    def __init__(self, transport: Any) -> None:
        self._transport = transport  # which is a thread, too
        self._sending = TransportLock(transport)
        self._closed = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def _send_user_message(self, message: paramiko.Message) -> None:
        in_its_thread = threading.current_thread() is self._transport
        if not in_its_thread:
            with self._sending:
                self._send(message)
        elif self._transport.clear_to_send.is_set() and self._sending.acquire(blocking=False):
            try:
                self._send(message)
            finally:
                self._sending.release()
        else:
            # Whoever holds the lock may wait for a key exchange, and that for this thread.
            send_aside(self._send_later, message)

    def _send(self, message: paramiko.Message) -> None:
        if not self._closed:
            self._closed = message.asbytes()[0] == MSG_CHANNEL_CLOSE
            self._transport._send_user_message(message)

    def _send_later(self, message: paramiko.Message) -> None:
        with contextlib.suppress(*BROKEN), self._sending:
            self._send(message)
