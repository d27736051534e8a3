# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection.
"""Send keepalives that request replies on every link (ssh_config(5), ServerAliveInterval and ServerAliveCountMax)."""

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
#: Seconds that are enough to read what has arrived, however many links there are.
_MOMENT = 0.1
#: The least seconds between two checks, so that rounding never makes it zero.
_TICK = 0.001


class _Probe:
    """Send one request and wait for the reply, in its own thread, since sending may block on a dead link."""

    def __init__(self, link: Link) -> None:
        self._sent = running()
        self._thread = threading.Thread(target=self._ask, args=(link,), name="keepalive-probe", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> bool:
        """Return whether there was neither a reply (a refusal is one) nor the end of the link yet."""
        return self._thread.is_alive()

    def _ask(self, link: Link) -> None:
        with contextlib.suppress(*BROKEN):
            link.transport.global_request(_REQUEST, wait=True)
            if not link.is_dead:
                link.round_trip = running() - self._sent


class _Watch:
    """Watch one link. Any data that arrives shows that it is alive, as for ssh(1): a reply may be queued behind other data.

    Count only the time planned between two checks: when a check is late, this process was stopped or starved, and could read no
    reply meanwhile.

    :param interval: seconds between requests.
    :param count: intervals of silence after which the link is closed.
    :param now: ``time.monotonic()``, as for all times here.
    """

    def __init__(self, link: Link, interval: float, count: int, now: float) -> None:
        self.interval = interval
        #: The time of the next check.
        self.due = now + interval
        self._link = weakref.ref(link)  # do not keep an ended link until the next check
        self._limit = interval * count
        self._looked = now
        self._probe: _Probe | None = None
        self._silent = 0.0  # seconds since something arrived
        self._unanswered = 0.0  # those of them since the first request, or since the process was stopped
        self._excused = False
        self._doubted = False

    def look(self, now: float) -> bool:
        """Send a request if the last one was answered. Close the link if it was silent for too long.

        :returns: whether to check again at ``due``.
        :raises RuntimeError: no thread can be started now; check again at ``due``.
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
            # In its own thread, too: it sends a message to the hop before, which may be the stuck one.
            threading.Thread(target=link.give_up, args=(why,), name="keepalive-abort", daemon=True).start()
            return False
        self._doubted = left <= 0  # check once more: after a stop, what has arrived may not be read yet
        # Keep in step with earlier checks, so that after a stop the links are not all checked at once.
        step = self.interval - late % self.interval
        self.due = now + (_MOMENT if self._doubted else max(_TICK, min(step, left)))
        if self._probe is None or not self._probe.waiting:
            self._probe = _Probe(link)
        return True

    def _count(self, transport: HopTransport, now: float, late: float) -> None:
        heard, planned = transport.heard_at, self.due - self._looked
        if not transport.serves:  # still logging in, where the login's deadline applies
            self._silent = self._unanswered = 0.0
        elif heard >= self._looked or self._probe is None:
            self._silent, self._unanswered, self._excused = min(planned, now - heard), 0.0, False
        else:
            self._silent += planned
            self._unanswered += planned
            if late > _MOMENT and not self._excused:  # only once, as every check may be late
                self._unanswered, self._excused = 0.0, True
        self._looked = now


class Keepalive:
    """Watch links in one thread until they end or it is stopped."""

    def __init__(self) -> None:
        self._due: list[tuple[float, int, _Watch]] = []  # a heap by due time, then by order of entry
        self._order = itertools.count()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._stopped = False

    def start(self) -> None:
        """Start the thread. Harmless when repeated.

        :raises RuntimeError: no thread can be started.
        """
        with self._changed:
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="keepalive", daemon=True)
                thread.start()
                self._thread = thread

    def watch(self, link: Link, interval: float, count: int) -> None:
        """Close a link when nothing has arrived on it for ``count`` intervals, at least one of them after a request.

        OpenSSH counts unanswered requests (clientloop.c, server_alive_check), and disconnects an interval later.

        :param interval: seconds between requests; 0 sends none.
        """
        if interval <= 0:
            return
        with self._changed:
            self._plan(_Watch(link, interval, count, time.monotonic()))
            self._changed.notify()

    def stop(self) -> None:
        """Send no more requests. Return at once."""
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
        """Wait until a check is due. Return its watch; None when stopped."""
        with self._changed:
            while not self._stopped:
                wait = self._due[0][0] - time.monotonic() if self._due else None
                if wait is not None and wait <= 0:
                    return heapq.heappop(self._due)[2]
                self._changed.wait(wait)
            return None
