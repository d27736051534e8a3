# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection.
"""Decide which task may use which transport, and until when. Nothing is opened, closed or waited for here.

The rules:

- A transport is DIALLING, OPEN or RETIRED. ``begin`` makes one that is DIALLING and gives the caller its first lease;
  ``opened`` makes it OPEN; ``failed`` makes it RETIRED. ``retire`` makes any transport RETIRED, with all that it carries.
  None leaves RETIRED: one that was retired while DIALLING gets its link by ``opened``, and stays RETIRED.
- ``find`` prefers OPEN to DIALLING and few leases to many. It never returns a RETIRED one: those are not in the pool any more.
- A task holds one lease on each transport of its chain. A lease keeps a transport from being closed, not from being retired.
  ``sessions`` counts the leases for the hop itself; a server's session limit is compared with these.
- A RETIRED transport that has a link is to be closed when its last lease is released, once. ``pop_closing`` returns those
  that are carried before those that carry them.
- ``expire`` retires what is OPEN, has no lease and carries nothing, when its time is over. ``find`` does so for the hop that it
  is asked for, as ``expire`` may be called late.
- A failure of a jump host is remembered for one task. ``opened``, ``forget_failure``, the end of the transport that carries
  it, or time takes it away.
- The caller holds one lock around each call (``TransportPool._lock``) and says what time it is. Nothing here takes a lock.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from ..errors import HopError
from .identity import HopIdentity


class State(Enum):
    """Name the states of a pooled transport."""

    DIALLING = "dialling"
    OPEN = "open"
    RETIRED = "retired"  # no new leases; existing ones stay valid


class PooledTransport:
    """Represent a shared transport that is open or being connected. Only the pool changes it.

    :param parent: the transport that carries it; None for a first hop.
    :param place: the hop, as described in the chain of the task that connects to it.
    :param label: the hop's name, independent of any chain.
    :param cancelled: set when the task that connects to it is gone.
    """

    def __init__(
        self,
        parent: PooledTransport | None,
        step: HopIdentity,
        place: str,
        label: str,
        cancelled: threading.Event | None = None,
    ) -> None:
        self.parent = parent
        self.children: set[PooledTransport] = set()
        self.step = step
        self.place = place
        self.label = label
        self.cancelled = cancelled or threading.Event()
        self.state = State.DIALLING
        self.link: Any = None
        self.error: BaseException | None = None
        self.used_fallback = False
        self.agent_keys: frozenset[bytes] = frozenset()
        self.leases = 0
        self.sessions = 0  # leases for the hop itself, not for hops behind it
        self.served = 0
        self.opened_at = self.idle_since = self.kept_until = 0.0

    @property
    def depth(self) -> int:
        """Return how many transports carry this one."""
        return 0 if self.parent is None else self.parent.depth + 1

    def __repr__(self) -> str:
        return f"<{self.label}: {self.state.value}, {self.leases} leases>"


@dataclass(frozen=True)
class DialFailure:
    """Record that a jump host could not be reached, so that other hosts of the same task fail fast for a while.

    :param kind: class of the error; the error itself is not kept, as its traceback holds secrets.
    :param task: the task that failed; a later one may have fixed the cause.
    :param since: when it failed; like ``until``, in seconds of :func:`clock.lifetime`.
    """

    kind: type[HopError]
    problem: str
    task: str
    since: float
    until: float


_PoolKey = tuple[int, str]
_Troubles = dict[_PoolKey, dict[tuple[str, str], DialFailure]]


class PoolState:
    """Hold the transports of one process. Times are seconds of a monotonic clock that continues during suspend."""

    def __init__(self) -> None:
        self._shared: dict[_PoolKey, list[PooledTransport]] = {}
        self._limits: dict[_PoolKey, int] = {}
        self._troubles: _Troubles = {}  # by connection, then by attempt and task
        self._closing: list[PooledTransport] = []

    def find(
        self,
        parent: PooledTransport | None,
        step: HopIdentity,
        now: float,
        lifetime: float | None = None,
        session: bool = False,
        held: frozenset[bytes] = frozenset(),
    ) -> PooledTransport | None:
        """Return a transport to a hop: an open one, else one that is being connected, else None.

        :param lifetime: maximum age of a transport, in seconds; None for no limit.
        :param session: whether a session is needed, and not only forwarding.
        :param held: the keys that the caller's agent holds, as on the wire; a login that needed others is not shared with it.
        """
        place = _place(parent, step)
        for over in [
            shared for shared in self._transports_at(place) if _is_old(shared, now, lifetime) or _is_over(shared, now)
        ]:
            self.retire(over)  # the sweeper may not have run since it expired
        fitting = [shared for shared in self._transports_at(place) if _fits(shared, step, held)]
        limit = self._limits.get(place)
        room = [shared for shared in fitting if not session or limit is None or shared.sessions < limit]
        usable = [shared for shared in room if shared.state is State.OPEN]
        return min(usable, key=lambda shared: shared.leases, default=None) or next(
            (shared for shared in fitting if shared.state is State.DIALLING), None
        )

    def begin(
        self,
        parent: PooledTransport | None,
        step: HopIdentity,
        place: str,
        label: str,
        session: bool = False,
        cancelled: threading.Event | None = None,
    ) -> PooledTransport:
        """Return a new transport for the caller to connect; the caller holds its first lease.

        :param cancelled: set when the caller is gone, so that no other task waits for a login that a user may have to complete.
        """
        shared = PooledTransport(parent, step, place, label, cancelled)
        self.claim(shared, session)
        if parent is not None:
            parent.children.add(shared)
        self._shared.setdefault(_place(parent, step), []).append(shared)
        return shared

    def is_of_agent(self, parent: PooledTransport | None, step: HopIdentity) -> bool:
        """Return whether a transport to a hop is limited to tasks whose agent holds certain keys."""
        return any(shared.agent_keys for shared in self._transports_at(_place(parent, step)))

    def opened(
        self,
        shared: PooledTransport,
        link: Any,
        used_fallback: bool,
        now: float,
        agent_keys: frozenset[bytes] = frozenset(),
    ) -> None:
        """Record that the connection attempt succeeded."""
        shared.agent_keys = agent_keys
        shared.link = link
        shared.used_fallback = used_fallback
        shared.opened_at = shared.idle_since = now
        if shared.state is State.DIALLING:
            shared.state = State.OPEN
        self._troubles.pop(_place(shared.parent, shared.step), None)

    def failed(self, shared: PooledTransport, error: BaseException | None, trouble: DialFailure | None = None) -> None:
        """Record that the connection attempt failed; waiting tasks read ``shared.error``.

        :param error: None if the attempt was abandoned.
        :param trouble: the failure to remember for other hosts, if any.
        """
        shared.error = error
        shared.leases -= 1
        shared.sessions = 0
        gone = shared.parent is not None and shared.parent.state is State.RETIRED
        if trouble is not None and shared.state is State.DIALLING and not gone:
            self._troubles = _lasting(self._troubles, trouble.since)
            self._troubles.setdefault(_place(shared.parent, shared.step), {})[shared.step.attempt, trouble.task] = (
                trouble
            )
        self._unlink(shared)

    def trouble(
        self, parent: PooledTransport | None, step: HopIdentity, now: float, task: str | None
    ) -> DialFailure | None:
        """Return the recent failure of an equal connection attempt by the same task, if any."""
        trouble = None if task is None else self._troubles.get(_place(parent, step), {}).get((step.attempt, task))
        return None if trouble is None or now >= trouble.until else trouble

    def forget_failure(self, parent: PooledTransport | None, step: HopIdentity) -> None:
        """Forget the failures of a hop, as a reset implies that something has changed."""
        self._troubles.pop(_place(parent, step), None)

    def claim(self, shared: PooledTransport, session: bool = False) -> None:
        """Add a lease."""
        shared.leases += 1
        shared.sessions += session

    def release(self, path: Sequence[PooledTransport], persist: float, now: float, session: bool = False) -> None:
        """Drop one lease of each transport on a path.

        :param persist: seconds to keep them from now on, unless another task asked for longer.
        :param session: whether the last transport was claimed for a session.
        """
        if session:
            path[-1].sessions -= 1
        for shared in path:
            shared.leases -= 1
            shared.served += 1
            shared.kept_until = max(shared.kept_until, now + persist)
            shared.idle_since = now
            if shared.state is State.RETIRED:
                self._close_unused(shared)

    def note_session_limit(self, shared: PooledTransport) -> bool:
        """Record the server's session limit.

        Return False if no other session is open, as the refusal then says nothing about a limit.
        """
        others = shared.sessions - 1
        if others > 0:
            self.limit(shared, others)
        return others > 0

    def limit(self, shared: PooledTransport, sessions: int) -> None:
        """Record how many sessions the server allows on one connection."""
        place = _place(shared.parent, shared.step)
        if place in self._shared:
            self._limits[place] = min(sessions, self._limits.get(place, sessions))

    def retire(self, shared: PooledTransport) -> None:
        """Allow no new leases of a transport, nor of those that it carries."""
        if shared.state is State.RETIRED:
            return
        self._unlink(shared)
        for child in list(shared.children):
            self.retire(child)
        self._close_unused(shared)

    def expire(self, now: float) -> float:
        """Retire transports that have been idle for as long as they are kept.

        :returns: when to call again; infinity if nothing is idle.
        """
        while True:
            idle = [shared for shared in self if _is_idle(shared)]
            expired = [shared for shared in idle if now >= shared.kept_until]
            if not expired:
                return min((shared.kept_until for shared in idle), default=math.inf)
            for shared in expired:
                self.retire(shared)

    @property
    def closing(self) -> bool:
        """Return whether there is anything to close."""
        return bool(self._closing)

    def pop_closing(self) -> list[PooledTransport]:
        """Return the transports that the caller must close now, carried ones before their carriers."""
        closing, self._closing = self._closing, []
        return sorted(closing, key=lambda shared: -shared.depth)

    def __iter__(self) -> Iterator[PooledTransport]:
        return (shared for transports in self._shared.values() for shared in transports)

    def __len__(self) -> int:
        return sum(map(len, self._shared.values()))

    def __repr__(self) -> str:
        return f"<pool {sorted(self, key=lambda shared: shared.depth)}>"

    def _transports_at(self, place: _PoolKey) -> list[PooledTransport]:
        return list(self._shared.get(place, ()))

    def _close_unused(self, shared: PooledTransport) -> None:
        if shared.leases or shared.link is None:
            return
        for child in list(shared.children):  # begun after this one was retired
            self.retire(child)
        self._closing.append(shared)

    def _unlink(self, shared: PooledTransport) -> None:
        if shared.state is State.RETIRED:
            return
        shared.state = State.RETIRED
        # id() values are reused, so drop failures keyed by this connection.
        self._troubles = {place: kept for place, kept in self._troubles.items() if place[0] != id(shared)}
        if shared.parent is not None:
            shared.parent.children.discard(shared)
        place = _place(shared.parent, shared.step)
        transports = self._shared[place]
        transports.remove(shared)
        if not transports:
            del self._shared[place]
            self._limits.pop(place, None)


def _lasting(troubles: _Troubles, now: float) -> _Troubles:
    """Return the failures that have not expired.

    A hop whose secret changes never connects under the same key again, so its failures are removed only here.
    """
    kept = {place: {key: each for key, each in of.items() if each.until > now} for place, of in troubles.items()}
    return {place: of for place, of in kept.items() if of}


def _place(parent: PooledTransport | None, step: HopIdentity) -> _PoolKey:
    return (0 if parent is None else id(parent), step.identity)


def _fits(shared: PooledTransport, step: HopIdentity, held: frozenset[bytes]) -> bool:
    """Return whether a transport may serve a hop.

    A login that needed a fallback key or keys of an agent serves only tasks that have the same ones. Which keys an attempt in
    progress will need is not known yet, and an agent may be slow, so an attempt with another agent is not waited for.
    """
    if shared.state is State.DIALLING:
        return shared.step.agent == step.agent and not shared.cancelled.is_set()
    return shared.agent_keys <= held and (not shared.used_fallback or shared.step.fallback == step.fallback)


def _is_old(shared: PooledTransport, now: float, lifetime: float | None) -> bool:
    return lifetime is not None and shared.state is State.OPEN and now - shared.opened_at >= lifetime


def _is_over(shared: PooledTransport, now: float) -> bool:
    """Return whether a transport and all that it carries are unused and have expired."""
    unused = shared.state is State.OPEN and not shared.leases and now >= shared.kept_until
    return unused and all(_is_over(child, now) for child in shared.children)


def _is_idle(shared: PooledTransport) -> bool:
    return shared.state is State.OPEN and not shared.leases and not shared.children
