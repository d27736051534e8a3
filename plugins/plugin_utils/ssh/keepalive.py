# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keepalives that want replies, on every link (ssh_config(5), ServerAliveInterval and ServerAliveCountMax)."""

from __future__ import annotations

import contextlib
import heapq
import itertools
import threading
import time
import weakref

from .library import BROKEN
from .link import Link

_REQUEST = "keepalive@openssh.com"


class _Probe:
    """One request that is on its way. It has a thread of its own, since sending may block on a dead link."""

    def __init__(self, link: Link) -> None:
        self.sent = time.monotonic()
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
                link.round_trip = time.monotonic() - self.sent


class _Watch:
    """One link that is watched. Whatever arrives shows that it is alive, as for ssh(1); an answer may be behind much else."""

    def __init__(self, link: Link, interval: float, count: int) -> None:
        self.interval = interval
        self._link = weakref.ref(link)  # what has ended need not be kept until the next look
        self._count = count
        self._probe: _Probe | None = None

    def look(self) -> float | None:
        """Asks, if the last request was answered, and gives the link up after a silence that is too long.

        :returns: seconds until the next look; None at the end of the link.
        """
        link = self._link()
        if link is None or link.is_dead:
            return None
        limit = self.interval * self._count
        silence = time.monotonic() - link.transport.heard_at
        if silence >= limit:
            why = f"no answer to keepalives for {limit:g} seconds"
            # In a thread of its own, too: it says farewell to the hop before, which may be the one that is stuck.
            threading.Thread(target=link.give_up, args=(why,), name="keepalive-abort", daemon=True).start()
            return None
        if self._probe is None or not self._probe.waiting:
            self._probe = _Probe(link)
        return min(self.interval, limit - silence)


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
        """Gives the link up when nothing has arrived on it for ``count`` intervals.

        :param interval: seconds between requests; 0 sends none.
        """
        if interval <= 0:
            return
        with self._changed:
            self._plan(_Watch(link, interval, count), interval)
            self._changed.notify()

    def stop(self) -> None:
        """No more requests; returns at once."""
        with self._changed:
            self._stopped = True
            self._changed.notify()

    def _plan(self, watch: _Watch, seconds: float) -> None:
        heapq.heappush(self._due, (time.monotonic() + seconds, next(self._order), watch))

    def _run(self) -> None:
        while True:
            watch = self._next()
            if watch is None:
                return
            try:
                seconds = watch.look()
            except RuntimeError:  # no thread can be started now
                seconds = watch.interval
            if seconds is not None:
                with self._changed:
                    self._plan(watch, seconds)

    def _next(self) -> _Watch | None:
        """Waits for the next link whose time has come; None when stopped."""
        with self._changed:
            while not self._stopped:
                wait = self._due[0][0] - time.monotonic() if self._due else None
                if wait is not None and wait <= 0:
                    return heapq.heappop(self._due)[2]
                self._changed.wait(wait)
            return None
