# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection.
"""Limit the time of waits and of calls without a timeout of their own."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from typing import TypeVar

from .clock import running

_T = TypeVar("_T")

#: Seconds after which a wait is interrupted. Python handles signals in the main thread only: without this, a signal that
#: arrives just before a wait, or in another thread, would leave Ctrl-C unnoticed.
SIGNAL_POLL = 1.0
_BEAT = 5.0


class Heartbeat:
    """Report every few seconds that a wait continues.

    :param say: called at most once in 5 seconds.
    """

    def __init__(self, say: Callable[[], None]) -> None:
        self._say = say
        self._next = running() + _BEAT

    def beat(self) -> None:
        """Call ``say`` if 5 seconds have passed since the last call."""
        if running() >= self._next:
            self._next = running() + _BEAT
            self._say()


class Deadline:
    """Count down from ``seconds``, or from what remains of ``within`` if that is less; None never expires.

    The countdown pauses while the broker's process is stopped: no answer can be read then, so a missing one is not the hop's fault.
    """

    def __init__(self, seconds: float | None, within: Deadline | None = None) -> None:
        self.seconds = seconds
        self._end = math.inf if seconds is None else running() + seconds
        self._latest = math.inf if within is None else within._end
        if within is not None and within._end < self._end:
            self._end = within._end
            self.seconds = within.seconds

    @property
    def expired(self) -> bool:
        """Return whether the time is up."""
        return running() >= self._end

    def remaining(self) -> float:
        """Return the seconds left, from 0.001 (0 would make a socket non-blocking) to a day."""
        return max(0.001, min(self._end - running(), 86400.0))

    def wait(self, event: threading.Event) -> bool:
        """Wait for an event. Return whether it was set in time."""
        while not event.wait(min(SIGNAL_POLL, self.remaining())):
            if self.expired:
                return False
        return True

    def restart(self, seconds: float) -> None:
        """Restart the countdown, as the work could begin only now; the outer deadline still applies."""
        self._end = min(running() + seconds, self._latest)

    def limit(self, call: Callable[[], _T], waits: Callable[[], None] = lambda: None) -> _T:
        """Return the result of a call that has no timeout of its own, such as to an agent or a resolver.

        On timeout the call keeps running in its daemon thread; its result is discarded.

        :param waits: called every few seconds meanwhile.
        :raises TimeoutError: the time is up.
        """
        results: list[_T] = []
        errors: list[BaseException] = []

        def run() -> None:
            try:
                results.append(call())
            except BaseException as error:
                errors.append(error)

        thread = threading.Thread(target=run, name="limited", daemon=True)
        thread.start()
        heart = Heartbeat(waits)
        while thread.is_alive() and not self.expired:
            heart.beat()
            thread.join(min(SIGNAL_POLL, self.remaining()))
        if errors:
            raise errors[0]
        if not results:
            raise TimeoutError
        return results[0]
