# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection.
"""Keepalives that want replies, on every link (ssh_config(5), ServerAliveInterval and ServerAliveCountMax)."""

from __future__ import annotations

import contextlib
import heapq
import itertools
import threading
import time
import weakref

from ..clock import running
from ..patched_paramiko.compat import BROKEN
from ..patched_paramiko.transport import HopTransport
from .link import Link

_REQUEST = "keepalive@openssh.com"
#: Seconds in which what has arrived is read, however many links there are.
_MOMENT = 0.1
#: Seconds between two looks at least, which no rounding makes none.
_TICK = 0.001


class _Probe:
    """One request that is on its way. It has a thread of its own, since sending may block on a dead link."""

    def __init__(self, link: Link) -> None:
        self._sent = running()
        self._thread = threading.Thread(target=self._ask, args=(link,), name="keepalive-probe", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> bool:
        """Whether neither an answer (a refusal is one) nor the end of the link has come."""
        return self._thread.is_alive()

    def _ask(self, link: Link) -> None:
        with contextlib.suppress(*BROKEN):
            link.transport.global_request(_REQUEST, wait=True)
            if not link.is_dead:
                link.round_trip = running() - self._sent


class _Watch:
    """One link that is watched. Whatever arrives shows that it is alive, as for ssh(1); an answer may be behind much else.

    Only the time counts that was planned between two looks: when one comes late, this process was stopped or starved, and
    could read no answer meanwhile.

    :param now: by ``time.monotonic``, as the other times here.
    """

    def __init__(self, link: Link, interval: float, count: int, now: float) -> None:
        self.interval = interval
        #: When it is to be looked at.
        self.due = now + interval
        self._link = weakref.ref(link)  # what has ended need not be kept until the next look
        self._limit = interval * count
        self._looked = now
        self._probe: _Probe | None = None
        self._silent = 0.0  # seconds since something arrived
        self._unanswered = 0.0  # of these, the seconds since the first request, or since a stop
        self._excused = False
        self._doubted = False

    def look(self, now: float) -> bool:
        """Asks, if the last request was answered, and gives the link up after a silence that is too long.

        :returns: whether to look again, when it is due.
        :raises RuntimeError: no thread can be started now; it is to be looked at again.
        """
        link = self._link()
        if link is None or link.is_dead:
            return False
        late = max(0.0, now - self.due)
        self._count(link.transport, now, late)
        left = max(self._limit - self._silent, self.interval - self._unanswered)
        if left <= 0 and self._doubted:
            self.due = now + self.interval
            why = f"no answer to keepalives for {self._limit:g} seconds"
            # In a thread of its own, too: it says farewell to the hop before, which may be the one that is stuck.
            threading.Thread(target=link.give_up, args=(why,), name="keepalive-abort", daemon=True).start()
            return False
        self._doubted = left <= 0  # at the end of a stop, too, when what has come in it is not read yet
        # In step with the looks before, so that those at many links are not all at once after a stop.
        step = self.interval - late % self.interval
        self.due = now + (_MOMENT if self._doubted else max(_TICK, min(step, left)))
        if self._probe is None or not self._probe.waiting:
            self._probe = _Probe(link)
        return True

    def _count(self, transport: HopTransport, now: float, late: float) -> None:
        heard, planned = transport.heard_at, self.due - self._looked
        if not transport.serves:  # it still logs in: the deadline of that counts
            self._silent = self._unanswered = 0.0
        elif heard >= self._looked or self._probe is None:
            self._silent, self._unanswered, self._excused = min(planned, now - heard), 0.0, False
        else:
            self._silent += planned
            self._unanswered += planned
            if late > _MOMENT and not self._excused:  # once, as it may be late each time
                self._unanswered, self._excused = 0.0, True
        self._looked = now


class Keepalive:
    """Watches links, in one thread, until they end or it is stopped."""

    def __init__(self) -> None:
        self._due: list[tuple[float, int, _Watch]] = []  # a heap: when, and in which order they came
        self._order = itertools.count()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._stopped = False

    def start(self) -> None:
        """Begins to watch. Harmless when repeated.

        :raises RuntimeError: no thread can be started.
        """
        with self._changed:
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="keepalive", daemon=True)
                thread.start()
                self._thread = thread

    def watch(self, link: Link, interval: float, count: int) -> None:
        """Gives the link up when nothing has arrived on it for ``count`` intervals, and for one after a request at least.

        OpenSSH counts requests that were not answered (clientloop.c, server_alive_check), and gives up an interval later.

        :param interval: seconds between requests; 0 sends none.
        """
        if interval <= 0:
            return
        with self._changed:
            self._plan(_Watch(link, interval, count, time.monotonic()))
            self._changed.notify()

    def stop(self) -> None:
        """No more requests; returns at once."""
        with self._changed:
            self._stopped = True
            self._changed.notify()

    def _plan(self, watch: _Watch) -> None:
        heapq.heappush(self._due, (watch.due, next(self._order), watch))

    def _run(self) -> None:
        while True:
            watch = self._next()
            if watch is None:
                return
            try:
                again = watch.look(time.monotonic())
            except RuntimeError:
                again = True
            if again:
                with self._changed:
                    self._plan(watch)

    def _next(self) -> _Watch | None:
        """Waits for the next link whose time has come; None when stopped."""
        with self._changed:
            while not self._stopped:
                wait = self._due[0][0] - time.monotonic() if self._due else None
                if wait is not None and wait <= 0:
                    return heapq.heappop(self._due)[2]
                self._changed.wait(wait)
            return None
