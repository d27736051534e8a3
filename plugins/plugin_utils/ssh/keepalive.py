# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keepalives that want replies, on every link (ssh_config(5), ServerAliveInterval and ServerAliveCountMax)."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Sequence

from .dial import Link
from .transport import BROKEN

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


class Keepalive:
    """Watches links until stopped, and gives up one that leaves ``count`` intervals without an answer.

    :param interval: seconds between requests.
    """

    def __init__(self, links: Sequence[Link], interval: float, count: int) -> None:
        self._links = tuple(links)
        self._interval = interval
        self._count = count
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="keepalive", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """No more requests; returns at once."""
        self._stopped.set()

    def _watch(self) -> None:
        probes: dict[Link, _Probe] = {}
        while not self._stopped.wait(self._interval):
            for link in self._links:
                probe = probes.get(link)
                if probe is None or not probe.waiting:
                    probes[link] = _Probe(link)
                elif time.monotonic() - probe.sent >= self._interval * self._count:
                    link.abort(f"no answer to keepalives for {self._interval * self._count:g} seconds")
                    return
