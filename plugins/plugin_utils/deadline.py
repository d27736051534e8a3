# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection.
"""A point in time by which something must have happened."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from typing import TypeVar

from .clock import running

_T = TypeVar("_T")

#: Seconds after which whoever waits looks up. Python acts on a signal in the main thread only, and a wait that had just
#: begun, or a signal that went to another thread, would keep Ctrl-C from ever being noticed.
SIGNAL_POLL = 1.0
_BEAT = 5.0


class Heartbeat:
    """Says now and then that something is still waited for.

    :param say: called at most once in some seconds.
    """

    def __init__(self, say: Callable[[], None]) -> None:
        self._say = say
        self._next = running() + _BEAT

    def beat(self) -> None:
        """Says so, if it is time."""
        if running() >= self._next:
            self._next = running() + _BEAT
            self._say()


class Deadline:
    """Counts down from ``seconds``, or from what is left of ``within`` if that is less; None never ends.

    It stands still while the broker's process is stopped: no answer can be read then, so its lack is no fault of the hop.
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
        """Whether the time is up."""
        return running() >= self._end

    def remaining(self) -> float:
        """Seconds left, never below a millisecond: a zero would mean "do not block" to a socket."""
        return max(0.001, min(self._end - running(), 86400.0))

    def wait(self, event: threading.Event) -> bool:
        """Whether an event comes in time."""
        while not event.wait(min(SIGNAL_POLL, self.remaining())):
            if self.expired:
                return False
        return True

    def restart(self, seconds: float) -> None:
        """Begins anew, but for the time of the deadline that it is within: what it is for could begin only now."""
        self._end = min(running() + seconds, self._latest)

    def limit(self, call: Callable[[], _T], waits: Callable[[], None] = lambda: None) -> _T:
        """The result of a call that knows no time limit of its own, such as asking an agent or a resolver.

        It goes on in its thread when the time is up, and then nobody hears of it.

        :param waits: called now and then meanwhile.
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
