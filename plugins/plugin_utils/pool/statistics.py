# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection.
"""What has become of each hop since the broker began: counted, and nothing else."""

from __future__ import annotations

from collections import Counter
from typing import Any

from ..errors import HopError, sanitize
from .pool import PooledTransport

# Together they are to fit into a frame, beside what there is to say of many connections.
_HOPS = 2000
_CAUSES = 5
_CAUSE_LENGTH = 100
_OTHER = "other causes"

_HopPath = tuple[str, ...]


class HopCount:
    """One hop, reached in one way."""

    def __init__(self, way: _HopPath) -> None:
        self.way = way
        self.dials = 0
        self.failures: Counter[str] = Counter()
        self.reused = 0
        self.sent = 0
        self.received = 0
        #: Seconds until its last keepalive was answered; None if there was none.
        self.round_trip: float | None = None

    def add_link(self, link: Any) -> None:
        """What a connection has carried."""
        self.sent += link.transport.sent
        self.received += link.transport.received
        self.round_trip = self.round_trip if link.round_trip is None else link.round_trip


class Statistics:
    """Counts of all hops; those that nobody has used for the longest time are forgotten when there are very many."""

    def __init__(self) -> None:
        self._hops: dict[_HopPath, HopCount] = {}
        self._open: dict[PooledTransport, None] = {}  # those whose bytes are not counted yet

    def attempted(self, shared: PooledTransport) -> None:
        """A dial has begun."""
        self._of(shared).dials += 1

    def failed(self, shared: PooledTransport, error: BaseException) -> None:
        """A dial has failed."""
        failures = self._of(shared).failures
        cause = _cause(shared, error)
        failures[cause if cause in failures or len(failures) < _CAUSES else _OTHER] += 1

    def reused(self, shared: PooledTransport) -> None:
        """A connection that was there has been used."""
        self._of(shared).reused += 1

    def opened(self, shared: PooledTransport) -> None:
        """A connection may carry something."""
        self._open[shared] = None

    def closed(self, shared: PooledTransport) -> None:
        """A connection will carry nothing more."""
        self._open.pop(shared, None)
        self._of(shared).add_link(shared.link)

    def described(self) -> list[dict[str, Any]]:
        """All of it as JSON's types, the first hops first; of those as far away, the ones that were used last come last."""
        totals = {way: HopCount(way) for way in self._hops}
        for shared in self._open:
            if _way(shared) in totals:
                totals[_way(shared)].add_link(shared.link)
        by_depth = sorted(self._hops.items(), key=lambda item: len(item[0]))
        return [_described(count, totals[way]) for way, count in by_depth]

    def _of(self, shared: PooledTransport) -> HopCount:
        way = _way(shared)
        count = self._hops.pop(way, None) or HopCount(way)
        self._hops[way] = count  # the last one of all
        if len(self._hops) > _HOPS:
            self._hops.pop(next(iter(self._hops), way))
        return count


def _described(past: HopCount, present: HopCount) -> dict[str, Any]:
    round_trip = past.round_trip if present.round_trip is None else present.round_trip
    return {
        "hop": past.way[-1],
        "via": past.way[-2] if len(past.way) > 1 else None,
        "dials": past.dials,
        "failures": dict(past.failures),
        "reused": past.reused,
        "sent": past.sent + present.sent,
        "received": past.received + present.received,
        "round_trip": None if round_trip is None else round(round_trip, 4),
    }


def _way(shared: PooledTransport) -> _HopPath:
    return (*(() if shared.parent is None else _way(shared.parent)), shared.label)


def _cause(shared: PooledTransport, error: BaseException) -> str:
    if not isinstance(error, HopError):
        return type(error).__name__
    where = "" if error.place == shared.place else "at a hop before it: "  # which may be up, and forward nothing
    return sanitize(where + error.problem, _CAUSE_LENGTH)
