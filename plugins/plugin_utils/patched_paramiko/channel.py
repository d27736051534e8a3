# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection.
"""paramiko's Channel with what it leaves out: exit signals, bounds, nothing after its CLOSE, an end that waits for no lock.

The rules:

- A channel is being opened, open, or closed. While it is being opened it is the library's own, and any message on it is a
  violation. The server's confirmation makes it a HopChannel (``upgrade``). Either side's CLOSE, or the end of the connection, closes
  it; ``server_closed`` is set by the server's CLOSE alone. ``abandon`` closes it from any state, without its lock.
- After CLOSE nothing is sent: ``_CloseOrderedTransport`` looks at that with ``_sending`` held, and sends before it releases it.
- The transport's thread waits for neither ``_sending`` nor a key exchange, as others wait for it. What it cannot send at once is
  queued, no more than ``_WAITING`` messages, and one thread ``farewell`` for each channel sends the queue in order.
- ``lock`` guards the state of a channel; it is released before anything is sent. The order is ``_sending``, then the transport's
  ``clear_to_send_lock``. ``_waiting_lock`` and the lock of ``_Window`` are held for a moment, and no other lock is taken then.
- ``TransportLock.acquire`` raises when the transport has ended or the limit has passed, so that a stuck transport, which is given
  an end from outside, leaves no thread waiting for its locks.
- The server may send as much as its window allows, and a tenth of the whole more. What it sends beyond that is a violation.
- ``on_close`` may be called twice, in any thread and with ``lock`` held, so that it must not wait.
"""

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
#: A server may exceed a window by its size divided by this (OpenSSH's channels.c, local_window_exceeded).
_GRACE = 10
#: Replies that may be queued on one channel while the server reads none or exchanges keys.
_WAITING = 64
#: Seconds to wait for a lock that is never held while sending or waiting.
SHORT = 20.0


class TransportLock:
    """Lock a transport or its channels; acquire() raises once the transport is dead or ``limit`` has passed.

    This replaces paramiko's threading.Lock, which deadlocks if its holder is stuck.

    :param limit: seconds, more than any holder needs.
    """

    def __init__(self, transport: Any, limit: float = math.inf) -> None:
        self._transport = transport
        self._limit = limit
        self._lock = threading.Lock()

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """Acquire the lock as threading.Lock does.

        :raises paramiko.SSHException: the transport has ended, or ``limit`` has passed.
        """
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
        """Release the lock."""
        self._lock.release()

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *_error: object) -> None:
        self.release()


class HopChannel(paramiko.Channel):
    """Represent a channel of a hop. The code that opens it must close it.

    paramiko's Channel closes itself when it is garbage collected, in a thread that may hold a lock that this needs (paramiko#247).
    """

    #: The name of the signal that ended the command; None if none did.
    exit_signal: str | None = None
    #: Set when the server has closed the channel, not when only the connection ended.
    server_closed: threading.Event
    #: Whether to discard standard error, so that it uses up none of the window.
    drops_stderr = False
    #: Called when either side closes the channel or the connection ends, perhaps twice; must not block.
    on_close: Callable[[], None] | None = None
    _pipe: Any
    _window: _Window

    def __del__(self) -> None:
        """Do nothing, in place of paramiko's, which closes the channel."""

    @staticmethod
    def upgrade(channel: Any, transport: Any) -> None:
        """Turn a paramiko Channel into a HopChannel, before it is used and before anything is received on it."""
        channel.__class__ = HopChannel
        channel.server_closed = threading.Event()
        channel.in_buffer = _Buffer()
        channel._window = _Window(channel.in_window_size)
        channel.transport = _CloseOrderedTransport(transport)
        channel.lock = TransportLock(transport, SHORT)
        channel.out_buffer_cv = threading.Condition(channel.lock)

    def receive(self, data: bytes) -> bytes:
        """Return the data if the window allows it (RFC 4254 section 5.2), which paramiko does not check.

        :raises Violation: the server sent more than it may.
        """
        if len(data) > self.in_max_packet_size:
            raise Violation(
                f"it sent {len(data)} bytes at once on a channel, and {self.in_max_packet_size} are the most"
            )
        if not self._window.take(len(data)):
            raise Violation("it sends on and on, and ignores the window of a channel")
        return data

    def allow(self, count: int) -> None:
        """Let the server send as many bytes again as were consumed (RFC 4254 section 5.2)."""
        granted = self._check_add_window(count)
        if granted > 0:
            message = paramiko.Message()
            message.add_byte(bytes([_MSG_CHANNEL_WINDOW_ADJUST]))
            message.add_int(self.remote_chanid)
            message.add_int(granted)
            self.transport._send_user_message(message)  # type: ignore[union-attr]

    def _check_add_window(self, n: int) -> int:
        # paramiko returns what to grant, and does not record it.
        granted = int(super()._check_add_window(n))  # type: ignore[misc]
        self._window.grant(granted)
        return granted

    def close(self) -> None:
        """Close the channel. Harmless when repeated, and when the connection has just ended, where paramiko may raise."""
        with contextlib.suppress(*BROKEN):
            super().close()

    def _set_closed(self) -> None:
        # paramiko calls this whichever side closes the channel, but has no callback for it.
        super()._set_closed()  # type: ignore[misc]
        if self.on_close is not None:
            self.on_close()

    def abandon(self) -> None:
        """Fail all calls that wait for the channel, even if the thread of its transport is stuck."""
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
        """Wake threads that wait for space in the window. notify_all() needs the lock to be held, by whichever thread."""
        while True:
            ours = self.lock.acquire(timeout=0.1)  # long enough for a thread that is about to wait to release it
            try:
                self.out_buffer_cv.notify_all()
                return
            except RuntimeError:  # released meanwhile
                continue
            finally:
                if ours:
                    self.lock.release()


class _Window:
    """Count the bytes that the server may still send on a channel, from two threads. paramiko keeps no such count."""

    def __init__(self, size: int) -> None:
        self._left = size
        self._grace = size // _GRACE
        self._lock = threading.Lock()

    def grant(self, count: int) -> None:
        """Add bytes that the server may send."""
        with self._lock:
            self._left += count

    def take(self, count: int) -> bool:
        """Subtract received bytes. Return whether they were allowed."""
        with self._lock:
            self._left -= count
            return self._left + self._grace >= 0


def send_in_background(send: Callable[..., None], *what: Any) -> bool:
    """Send in a new thread without waiting for it, as the thread of the transport may have to read on first.

    :returns: False if no thread can be started; nothing is sent then.
    """
    with contextlib.suppress(RuntimeError):
        threading.Thread(target=send, args=what, name="farewell", daemon=True).start()
        return True
    return False


def of_open_channel(handle: Callable[[Any, Any], None]) -> Callable[[Any, Any], None]:
    """Return a handler that raises Violation unless the channel is open.

    paramiko handles messages on a channel that is still being opened, and which has no bounds yet.
    """

    def handle_if_open(channel: Any, message: paramiko.Message) -> None:
        if not isinstance(channel, HopChannel):
            raise Violation("it sent something on a channel that is not open")
        handle(channel, message)

    return handle_if_open


def handle_data(channel: HopChannel, message: paramiko.Message) -> None:
    """Buffer what a command writes (RFC 4254 section 5.2); unlike paramiko, check the window."""
    channel.in_buffer.feed(channel.receive(message.get_binary()))


def handle_extended_data(channel: HopChannel, message: paramiko.Message) -> None:
    """Buffer or discard what a command writes to standard error, the only kind of extended data; unlike paramiko, check the window."""
    kind = message.get_int()
    data = channel.receive(message.get_binary())
    if kind == _STDERR and channel.drops_stderr:
        channel.allow(len(data))
    elif kind == _STDERR:
        channel.in_stderr_buffer.feed(data)


def handle_close(channel: HopChannel, message: paramiko.Message) -> None:
    """Record that the server has closed the channel (RFC 4254 section 5.3), and let paramiko handle the message.

    paramiko does not distinguish this from the end of the connection.
    """
    channel.server_closed.set()
    paramiko.Channel._handle_close(channel, message)  # type: ignore[attr-defined]


def handle_request(channel: HopChannel, message: paramiko.Message) -> None:
    """Record an exit signal (RFC 4254 section 6.10), which paramiko drops, and let paramiko handle the request."""
    if message.get_text() == "exit-signal":
        message.get_boolean()
        channel.exit_signal = sanitize(message.get_binary(), 20)
    message.rewind()
    message.get_int()  # skip the channel's number
    paramiko.Channel._handle_request(channel, message)  # type: ignore[attr-defined]


class _Buffer(paramiko.buffered_pipe.BufferedPipe):  # type: ignore[type-arg]
    """Buffer what a channel received. paramiko's array moves all the rest with every read; a bytearray does not."""

    def __init__(self) -> None:
        super().__init__()
        self._buffer = bytearray()

    def _buffer_frombytes(self, data: bytes) -> None:
        self._buffer += data

    def _buffer_tobytes(self, limit: int | None = None) -> bytes:
        return bytes(self._buffer[:limit])


class _CloseOrderedTransport:
    """Wrap a transport for one channel, so that nothing is sent after the channel's CLOSE.

    paramiko builds a message under the channel's lock and sends it after releasing the lock; meanwhile its thread may answer the
    server's CLOSE. OpenSSH treats a message after that as a protocol error, and ends the whole connection.
    """

    _transport: Any

    def __init__(self, transport: Any) -> None:
        self._transport = transport  # also the thread that receives
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
            # The thread that holds the lock may be waiting for a key exchange, which needs this thread.
            self._send_later(message)

    def _send(self, message: paramiko.Message) -> None:
        if not self._closed:
            self._closed = message.asbytes()[0] == MSG_CHANNEL_CLOSE
            self._transport._send_user_message(message)

    def _send_later(self, message: paramiko.Message) -> None:
        """Queue a message for one background thread. Bound the queue, as a server may request replies and read none."""
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
