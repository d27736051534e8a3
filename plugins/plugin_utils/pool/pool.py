# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection.
"""Who may use which transport, until when: decisions only.

Nothing is opened, closed or waited for here. The caller holds a lock around each call, dials what it was told to dial,
and closes what ``pop_closing`` returns.
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
    """How far a shared transport is."""

    DIALLING = "dialling"
    OPEN = "open"
    RETIRED = "retired"  # for nobody new; those who have a lease keep it


class PooledTransport:
    """One transport that is shared, or about to be. Only the pool changes it.

    :param parent: the transport that carries it; None for a first hop.
    :param place: the hop, as whoever dials it names it.
    :param label: the hop, whoever names it.
    :param cancelled: set when whoever dials it has gone.
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
        self.sessions = 0  # those leases that are for the hop itself, not for others behind it
        self.served = 0
        self.opened_at = self.idle_since = self.kept_until = 0.0

    @property
    def depth(self) -> int:
        """How many transports carry it."""
        return 0 if self.parent is None else self.parent.depth + 1

    def __repr__(self) -> str:
        return f"<{self.label}: {self.state.value}, {self.leases} leases>"


@dataclass(frozen=True)
class DialFailure:
    """A jump host that could not be reached, so that no other host of a task need dial it for a while.

    :param kind: of the error of that dial; not the error itself, which holds all that was at hand, secrets among it.
    :param task: that dialled; one that comes after it may have put it right.
    """

    kind: type[HopError]
    problem: str
    task: str
    since: float
    until: float


_PoolKey = tuple[int, str]
_Troubles = dict[_PoolKey, dict[tuple[str, str], DialFailure]]


class PoolState:
    """The transports of one process. Times are seconds of one clock that never goes back, nor stands still in suspend."""

    def __init__(self) -> None:
        self._shared: dict[_PoolKey, list[PooledTransport]] = {}
        self._limits: dict[_PoolKey, int] = {}
        self._troubles: _Troubles = {}  # by what was connected to, and for which task
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
        """A transport to a hop: one that is open, else one that is being dialled, else None.

        :param lifetime: seconds after which a transport is too old; None for never.
        :param session: whether room for a session is needed, and not only for connections that are forwarded.
        :param held: keys of the agent of who asks; a login that needed others of an agent is not for them.
        """
        place = _place(parent, step)
        for over in [
            shared for shared in self._siblings(place) if _is_old(shared, now, lifetime) or _is_over(shared, now)
        ]:
            self.retire(over)  # the sweeper may not have looked since its time was over
        fitting = [shared for shared in self._siblings(place) if _fits(shared, step, held)]
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
        """A transport that the caller dials now; it has the first lease.

        :param cancelled: set when the caller has gone, so that nobody else waits for a login that somebody may have to complete.
        """
        shared = PooledTransport(parent, step, place, label, cancelled)
        self.claim(shared, session)
        if parent is not None:
            parent.children.add(shared)
        self._shared.setdefault(_place(parent, step), []).append(shared)
        return shared

    def is_of_agent(self, parent: PooledTransport | None, step: HopIdentity) -> bool:
        """Whether there is a login to a hop for those only whose agent holds certain keys."""
        return any(shared.agent_keys for shared in self._siblings(_place(parent, step)))

    def opened(
        self,
        shared: PooledTransport,
        link: Any,
        used_fallback: bool,
        now: float,
        agent_keys: frozenset[bytes] = frozenset(),
    ) -> None:
        """The dial has succeeded."""
        shared.agent_keys = agent_keys
        shared.link = link
        shared.used_fallback = used_fallback
        shared.opened_at = shared.idle_since = now
        if shared.state is State.DIALLING:
            shared.state = State.OPEN
        self._troubles.pop(_place(shared.parent, shared.step), None)

    def failed(self, shared: PooledTransport, error: BaseException | None, trouble: DialFailure | None = None) -> None:
        """The dial has failed; those who waited find the error in it.

        :param error: None if it was not brought to its end.
        """
        shared.error = error
        shared.leases -= 1
        shared.sessions = 0
        gone = shared.parent is not None and shared.parent.state is State.RETIRED
        if trouble is not None and shared.state is State.DIALLING and not gone:
            self._troubles = _lasting(self._troubles, trouble.since)
            self._troubles.setdefault(_place(shared.parent, shared.step), {})[shared.step.dial, trouble.task] = trouble
        self._unlink(shared)

    def trouble(
        self, parent: PooledTransport | None, step: HopIdentity, now: float, task: str | None
    ) -> DialFailure | None:
        """What a dial would most likely end in, as another one of this task has just done."""
        trouble = None if task is None else self._troubles.get(_place(parent, step), {}).get((step.dial, task))
        return None if trouble is None or now >= trouble.until else trouble

    def forget_failure(self, parent: PooledTransport | None, step: HopIdentity) -> None:
        """Whoever resets a connection expects something to have changed."""
        self._troubles.pop(_place(parent, step), None)

    def claim(self, shared: PooledTransport, session: bool = False) -> None:
        """One lease more."""
        shared.leases += 1
        shared.sessions += session

    def release(self, path: Sequence[PooledTransport], persist: float, now: float, session: bool = False) -> None:
        """One lease less, of each transport on a way.

        :param persist: seconds for which they are kept from now on, or for longer if somebody else wants that.
        :param session: whether the last one was claimed for a session.
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
        """Takes note that a server let nobody open one session more; False if nobody has any, which is no limit then."""
        others = shared.sessions - 1
        if others > 0:
            self.limit(shared, others)
        return others > 0

    def limit(self, shared: PooledTransport, sessions: int) -> None:
        """Takes note of how many sessions a server can have on one connection."""
        place = _place(shared.parent, shared.step)
        if place in self._shared:
            self._limits[place] = min(sessions, self._limits.get(place, sessions))

    def retire(self, shared: PooledTransport) -> None:
        """Nobody new may use it, nor what it carries."""
        if shared.state is State.RETIRED:
            return
        self._unlink(shared)
        for child in list(shared.children):
            self.retire(child)
        self._close_unused(shared)

    def expire(self, now: float) -> float:
        """Retires what nothing has used for its time.

        :returns: when to ask again; infinity if nothing is idle.
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
        """Whether there is something to close."""
        return bool(self._closing)

    def pop_closing(self) -> list[PooledTransport]:
        """What the caller closes now, those that are carried before those that carry them."""
        closing, self._closing = self._closing, []
        return sorted(closing, key=lambda shared: -shared.depth)

    def __iter__(self) -> Iterator[PooledTransport]:
        return (shared for siblings in self._shared.values() for shared in siblings)

    def __len__(self) -> int:
        return sum(map(len, self._shared.values()))

    def __repr__(self) -> str:
        return f"<pool {sorted(self, key=lambda shared: shared.depth)}>"

    def _siblings(self, place: _PoolKey) -> list[PooledTransport]:
        return list(self._shared.get(place, ()))

    def _close_unused(self, shared: PooledTransport) -> None:
        if shared.leases or shared.link is None:
            return
        for child in list(shared.children):  # which somebody began on it when it was retired already
            self.retire(child)
        self._closing.append(shared)

    def _unlink(self, shared: PooledTransport) -> None:
        if shared.state is State.RETIRED:
            return
        shared.state = State.RETIRED
        # What comes after it may have the same number.
        self._troubles = {place: kept for place, kept in self._troubles.items() if place[0] != id(shared)}
        if shared.parent is not None:
            shared.parent.children.discard(shared)
        place = _place(shared.parent, shared.step)
        siblings = self._shared[place]
        siblings.remove(shared)
        if not siblings:
            del self._shared[place]
            self._limits.pop(place, None)


def _lasting(troubles: _Troubles, now: float) -> _Troubles:
    """Without what is over; a hop whose secret is another one each time never comes back to take its own away."""
    kept = {place: {key: each for key, each in of.items() if each.until > now} for place, of in troubles.items()}
    return {place: of for place, of in kept.items() if of}


def _place(parent: PooledTransport | None, step: HopIdentity) -> _PoolKey:
    return (0 if parent is None else id(parent), step.identity)


def _fits(shared: PooledTransport, step: HopIdentity, held: frozenset[bytes]) -> bool:
    """A login that needed a key of last resort, or keys of an agent, serves those only who have the same ones. Which keys a dial
    will need is not known yet, and an agent may be slow, so that one with another agent is not waited for."""
    if shared.state is State.DIALLING:
        return shared.step.agent == step.agent and not shared.cancelled.is_set()
    return shared.agent_keys <= held and (not shared.used_fallback or shared.step.fallback == step.fallback)


def _is_old(shared: PooledTransport, now: float, lifetime: float | None) -> bool:
    return lifetime is not None and shared.state is State.OPEN and now - shared.opened_at >= lifetime


def _is_over(shared: PooledTransport, now: float) -> bool:
    """Whether nothing has used it, nor what it carries, for its time."""
    unused = shared.state is State.OPEN and not shared.leases and now >= shared.kept_until
    return unused and all(_is_over(child, now) for child in shared.children)


def _is_idle(shared: PooledTransport) -> bool:
    return shared.state is State.OPEN and not shared.leases and not shared.children
