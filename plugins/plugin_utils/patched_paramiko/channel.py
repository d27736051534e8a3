# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection.
"""paramiko's Channel with what it leaves out: exit signals, nothing after its CLOSE, an end that waits for nobody."""

from __future__ import annotations

import contextlib
import math
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

from ..deadline import Deadline
from ..errors import sanitize
from .compat import BROKEN, paramiko
from .violation import Violation

MSG_CHANNEL_CLOSE = 97  # RFC 4250 section 4.1.2
_MSG_CHANNEL_WINDOW_ADJUST = 93
_ATTENTION = 1.0
_STDERR = 1  # RFC 4254 section 5.2
#: A server may exceed its window by the tenth part of the whole (OpenSSH's channels.c, local_window_exceeded).
_GRACE = 10
#: Answers on one channel that a server can let wait, as it takes none or exchanges keys.
_WAITING = 64
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
    #: Set when the server has closed it, and not when merely the connection ended.
    server_closed: threading.Event
    #: Whether what comes on standard error is of no use; it is not kept then, and takes no room from the output.
    drops_stderr = False
    #: What is done as it closes, by either side or with the connection; it may wait for nothing, and come twice.
    on_close: Callable[[], None] | None = None
    _pipe: Any
    _window: _Window

    def __del__(self) -> None:
        """Nothing."""

    @staticmethod
    def upgrade(channel: Any, transport: Any) -> None:
        """Makes one of a channel of the library's on which nothing has been received and that nobody uses yet."""
        channel.__class__ = HopChannel
        channel.server_closed = threading.Event()
        channel.in_buffer = _Buffer()
        channel._window = _Window(channel.in_window_size)
        channel.transport = _CloseOrderedTransport(transport)
        channel.lock = TransportLock(transport, SHORT)
        channel.out_buffer_cv = threading.Condition(channel.lock)

    def receive(self, data: bytes) -> bytes:
        """The same bytes, if the server may send so many now (RFC 4254 section 5.2)."""
        if len(data) > self.in_max_packet_size:
            raise Violation(
                f"it sent {len(data)} bytes at once on a channel, and {self.in_max_packet_size} are the most"
            )
        if not self._window.take(len(data)):
            raise Violation("it sends on and on, and ignores the window of a channel")
        return data

    def allow(self, count: int) -> None:
        """Lets the server send so many bytes more, in place of those that were taken (RFC 4254 section 5.2)."""
        granted = self._check_add_window(count)
        if granted > 0:
            message = paramiko.Message()
            message.add_byte(bytes([_MSG_CHANNEL_WINDOW_ADJUST]))
            message.add_int(self.remote_chanid)
            message.add_int(granted)
            self.transport._send_user_message(message)  # type: ignore[union-attr]

    def _check_add_window(self, n: int) -> int:
        granted = int(super()._check_add_window(n))  # type: ignore[misc]
        self._window.grant(granted)
        return granted

    def close(self) -> None:
        """Ends it. Harmless when repeated, and when the connection has just ended, so that nobody can be told."""
        with contextlib.suppress(*BROKEN):
            super().close()

    def _set_closed(self) -> None:
        super()._set_closed()  # type: ignore[misc]
        if self.on_close is not None:
            self.on_close()

    def abandon(self) -> None:
        """Ends it for all who wait for it, whatever the thread of its transport is stuck in."""
        self.closed = True
        self.in_buffer.close()
        self.in_stderr_buffer.close()
        self.event.set()
        self.status_event.set()
        if self._pipe is not None:
            self._pipe.set_forever()
        if self.on_close is not None:
            self.on_close()
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


class _Window:
    """Bytes that the other side may still send on a channel; it is counted in two threads."""

    def __init__(self, size: int) -> None:
        self._left = size
        self._grace = size // _GRACE
        self._lock = threading.Lock()

    def grant(self, count: int) -> None:
        """Lets it send so many more."""
        with self._lock:
            self._left += count

    def take(self, count: int) -> bool:
        """Counts bytes that came; whether that was still allowed."""
        with self._lock:
            self._left -= count
            return self._left + self._grace >= 0


def send_in_background(send: Callable[..., None], *what: Any) -> bool:
    """Sends something that is not waited for, in a thread of its own: that of the transport may have to read on first.

    :returns: False if no thread can be started; the end of the connection then says the same.
    """
    with contextlib.suppress(RuntimeError):
        threading.Thread(target=send, args=what, name="farewell", daemon=True).start()
        return True
    return False


def of_open_channel(handle: Callable[[Any, Any], None]) -> Callable[[Any, Any], None]:
    """Handles a message, if its channel is open: one that is being opened has no bounds yet."""

    def handle_if_open(channel: Any, message: paramiko.Message) -> None:
        if not isinstance(channel, HopChannel):
            raise Violation("it sent something on a channel that is not open")
        handle(channel, message)

    return handle_if_open


def handle_data(channel: HopChannel, message: paramiko.Message) -> None:
    """Keeps what a command writes (RFC 4254 section 5.2)."""
    channel.in_buffer.feed(channel.receive(message.get_binary()))


def handle_extended_data(channel: HopChannel, message: paramiko.Message) -> None:
    """Keeps what a command writes to standard error; there is no other kind."""
    kind = message.get_int()
    data = channel.receive(message.get_binary())
    if kind == _STDERR and channel.drops_stderr:
        channel.allow(len(data))
    elif kind == _STDERR:
        channel.in_stderr_buffer.feed(data)


def handle_close(channel: HopChannel, message: paramiko.Message) -> None:
    """Notes that the server has said all (RFC 4254 section 5.3), and hands the message on."""
    channel.server_closed.set()
    paramiko.Channel._handle_close(channel, message)  # type: ignore[attr-defined]


def handle_request(channel: HopChannel, message: paramiko.Message) -> None:
    """Keeps an exit signal (RFC 4254 section 6.10), which paramiko drops, and hands the request on."""
    if message.get_text() == "exit-signal":
        message.get_boolean()
        channel.exit_signal = sanitize(message.get_binary(), 20)
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


class _CloseOrderedTransport:
    """A transport as one channel sees it, which sends nothing after its CLOSE.

    The library makes a message under the channel's lock and sends it without; meanwhile its thread may answer a CLOSE of
    the server's. What came after that, OpenSSH would take for an error of the protocol and end the whole connection.
    """

    _transport: Any

    def __init__(self, transport: Any) -> None:
        self._transport = transport  # which is a thread, too
        self._sending = TransportLock(transport)
        self._closed = False
        self._waiting: deque[paramiko.Message] = deque()
        self._waiting_lock = threading.Lock()
        self._helped = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def _send_user_message(self, message: paramiko.Message) -> None:
        in_its_thread = threading.current_thread() is self._transport
        if not in_its_thread:
            with self._sending:
                self._send(message)
        elif not self._helped and self._transport.clear_to_send.is_set() and self._sending.acquire(blocking=False):
            try:
                self._send(message)
            finally:
                self._sending.release()
        else:
            # Whoever holds the lock may wait for a key exchange, and that for this thread.
            self._send_later(message)

    def _send(self, message: paramiko.Message) -> None:
        if not self._closed:
            self._closed = message.asbytes()[0] == MSG_CHANNEL_CLOSE
            self._transport._send_user_message(message)

    def _send_later(self, message: paramiko.Message) -> None:
        """Leaves it to another thread, one for all that wait; a server that wants answers may not make them pile up."""
        with self._waiting_lock:
            if len(self._waiting) >= _WAITING:
                raise Violation(f"it wants answers and takes none: {_WAITING} wait on one channel")
            self._waiting.append(message)
            if not self._helped:
                self._helped = send_in_background(self._send_waiting)

    def _send_waiting(self) -> None:
        with contextlib.suppress(*BROKEN):
            while (message := self._next_waiting()) is not None:
                with self._sending:
                    self._send(message)

    def _next_waiting(self) -> paramiko.Message | None:
        with self._waiting_lock:
            self._helped = bool(self._waiting)
            return self._waiting.popleft() if self._waiting else None
