# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection.
"""Limit how many workers are served at once by the file descriptors that are free."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator

from ..pool.transports import TransportPool

_OF_OURS = 16
_OF_A_WORKER = 3  # to wait for a command, to read a file, to open a connection
_POLL_SECONDS = 5.0


class Admission:
    """Admit workers, in any order, as long as there are file descriptors for them.

    :param transports: a pool; its unused transports are closed if no worker could be served otherwise.
    :param limit: file descriptors that this process may open, as ``ulimit -n``.
    """

    def __init__(self, transports: TransportPool, limit: int) -> None:
        self._transports = transports
        self._limit = limit
        self._workers = 0  # connected, whether served or queued
        self._served = 0
        self._ended = threading.Condition()

    @property
    def workers(self) -> int:
        """Return how many workers are connected."""
        return self._workers

    def admits(self) -> bool:
        """Return whether another worker can be accepted, to be served or queued."""
        with self._ended:
            return not self._workers or self._has_room(1)

    def enter(self) -> None:
        """Record that a worker has connected."""
        with self._ended:
            self._workers += 1

    def leave(self) -> None:
        """Record that a worker has left."""
        with self._ended:
            self._workers -= 1
            self._ended.notify_all()

    def all_gone(self, seconds: float) -> bool:
        """Wait until no worker is connected. Return False if some still are after ``seconds``."""
        with self._ended:
            return self._ended.wait_for(lambda: not self._workers, seconds)

    @contextlib.contextmanager
    def slot(self, waits: Callable[[], None]) -> Iterator[None]:
        """Hold a slot for a worker, after waiting for one.

        :param waits: called repeatedly meanwhile; an exception ends the wait.
        """
        while not self._begin():
            waits()
        try:
            yield
        finally:
            with self._ended:
                self._served -= 1
                self._ended.notify_all()

    def _begin(self) -> bool:
        """Take a slot and return True; without one, wait for a change or some seconds, and return False."""
        with self._ended:
            # Reserve half of the descriptors for queued workers; one that cannot be accepted hears nothing and times out.
            reserve = max(0, self._limit // 2 - (self._workers - self._served))
            if not self._has_room(_OF_A_WORKER + reserve):
                if self._served:
                    self._ended.wait(_POLL_SECONDS)
                    return False
                # No slot can become free, so serve this worker, even if it then fails for lack of descriptors.
                self._transports.retire_idle()
            self._served += 1
            return True

    def _has_room(self, wanted: int) -> bool:
        """Return whether so many descriptors are free, besides those that served workers may still open."""
        wanted += _OF_OURS + _OF_A_WORKER * self._served
        if wanted + _OF_A_WORKER * (self._workers + self._transports.count) < self._limit:
            return True  # without counting them, which is slow where there are many
        return len(os.listdir("/dev/fd")) + wanted < self._limit
