# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection.
"""How many workers are served at once: as many as there are file descriptors for."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator

from ..pool.transports import TransportPool

_OF_OURS = 16
_OF_A_WORKER = 3  # what a command is waited for with, a file that is read, a connection that is dialled
_POLL_SECONDS = 5.0


class Admission:
    """Gives turns to workers, in any order.

    :param transports: of which some are closed when they leave no room for anybody.
    :param limit: of this process, as ``ulimit -n``.
    """

    def __init__(self, transports: TransportPool, limit: int) -> None:
        self._transports = transports
        self._limit = limit
        self._workers = 0  # that are here, whether or not it is their turn
        self._served = 0
        self._ended = threading.Condition()

    @property
    def workers(self) -> int:
        """How many are here."""
        return self._workers

    def admits(self) -> bool:
        """Whether one worker more can come in, to be served or to be told that it has to wait."""
        with self._ended:
            return not self._workers or self._has_room(1)

    def enter(self) -> None:
        """A worker is here."""
        with self._ended:
            self._workers += 1

    def leave(self) -> None:
        """A worker has left."""
        with self._ended:
            self._workers -= 1
            self._ended.notify_all()

    def all_gone(self, seconds: float) -> bool:
        """Waits until no worker is here any more; False if the time is up before."""
        with self._ended:
            return self._ended.wait_for(lambda: not self._workers, seconds)

    @contextlib.contextmanager
    def slot(self, waits: Callable[[], None]) -> Iterator[None]:
        """A worker's turn, which it waits for.

        :param waits: called now and then meanwhile; what it raises ends the wait.
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
        """Whether it is a worker's turn, which begins; else something has changed, or some time has passed."""
        with self._ended:
            # Half of all descriptors is for those who wait: whoever cannot come in is told nothing, and gives us up.
            reserve = max(0, self._limit // 2 - (self._workers - self._served))
            if not self._has_room(_OF_A_WORKER + reserve):
                if self._served:
                    self._ended.wait(_POLL_SECONDS)
                    return False
                # Nobody can leave, so this one is served, or fails with what the system says.
                self._transports.retire_idle()
            self._served += 1
            return True

    def _has_room(self, wanted: int) -> bool:
        """Whether there are so many descriptors, whatever those that are served may still open."""
        wanted += _OF_OURS + _OF_A_WORKER * self._served
        if wanted + _OF_A_WORKER * (self._workers + self._transports.count) < self._limit:
            return True  # without a look, which takes its time where there are many
        return len(os.listdir("/dev/fd")) + wanted < self._limit
