# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection.
"""Count connections, failures and traffic per hop, since the broker started."""

from __future__ import annotations

from collections import Counter
from typing import Any

from ..errors import HopError, sanitize
from .pool import PooledTransport

# Limits that let the counts fit into one frame, beside the status of many connections.
_HOPS = 2000
_CAUSES = 5
_CAUSE_LENGTH = 100
_OTHER = "other causes"

_HopPath = tuple[str, ...]


class HopCount:
    """Count the use of one hop, reached through the same hops."""

    def __init__(self, way: _HopPath) -> None:
        self.way = way
        self.dials = 0
        self.failures: Counter[str] = Counter()
        self.reused = 0
        self.sent = 0
        self.received = 0
        #: Round-trip time of the last keepalive, in seconds; None if there was none.
        self.round_trip: float | None = None

    def add_link(self, link: Any) -> None:
        """Add the traffic of a connection."""
        self.sent += link.transport.sent
        self.received += link.transport.received
        self.round_trip = self.round_trip if link.round_trip is None else link.round_trip


class Statistics:
    """Hold the counts of all hops, forgetting the least recently used ones if there are very many."""

    def __init__(self) -> None:
        self._hops: dict[_HopPath, HopCount] = {}
        self._open: dict[PooledTransport, None] = {}  # connections whose bytes are not counted yet

    def attempted(self, shared: PooledTransport) -> None:
        """Record the start of a connection attempt."""
        self._of(shared).dials += 1

    def failed(self, shared: PooledTransport, error: BaseException) -> None:
        """Record a failed connection attempt."""
        failures = self._of(shared).failures
        cause = _cause(shared, error)
        failures[cause if cause in failures or len(failures) < _CAUSES else _OTHER] += 1

    def reused(self, shared: PooledTransport) -> None:
        """Record the reuse of a connection."""
        self._of(shared).reused += 1

    def opened(self, shared: PooledTransport) -> None:
        """Record an open connection."""
        self._open[shared] = None

    def closed(self, shared: PooledTransport) -> None:
        """Record a closed connection, with its traffic."""
        self._open.pop(shared, None)
        self._of(shared).add_link(shared.link)

    def described(self) -> list[dict[str, Any]]:
        """Return all counts as JSON-serializable dictionaries, ordered by depth, then by last use."""
        totals = {way: HopCount(way) for way in self._hops}
        for shared in self._open:
            if _way(shared) in totals:
                totals[_way(shared)].add_link(shared.link)
        by_depth = sorted(self._hops.items(), key=lambda item: len(item[0]))
        return [_described(count, totals[way]) for way, count in by_depth]

    def _of(self, shared: PooledTransport) -> HopCount:
        way = _way(shared)
        count = self._hops.pop(way, None) or HopCount(way)
        self._hops[way] = count  # at the end: most recently used
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
    where = "" if error.place == shared.place else "at a hop before it: "  # that hop may be up, but not forward
    return sanitize(where + error.problem, _CAUSE_LENGTH)
