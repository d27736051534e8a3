# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection.
"""The transports of one process, shared by all of its sessions: connected once, kept while they are of use.

The rules:

- ``PoolState`` decides, ``TransportPool`` acts. ``_lock`` guards the decisions, the statistics and ``_links``. It is never
  held while something is opened, sent, waited for or closed, and no other lock is taken while it is held.
- Tasks that wait for the attempt of another one wait on ``_dialled``, the sweeper on ``_due``; both belong to ``_lock``.
- A transport is claimed under the same hold of the lock that found it. Then, without the lock, it is checked: is it alive, is
  its host key still trusted? If not, it is retired and released, and the choice is made again.
- There is one attempt at a time for one hop, one set of credentials and one agent. When it fails, tasks whose own attempt would
  be the same raise its error; others make an attempt of their own. An attempt whose task has left is waited for by none.
- Only connecting is repeated: the route in ``_go``, if a kept transport on it was dead, at most once for each hop; and in
  ``lease``, if ``ssh -G`` has another answer. Before ``lease`` returns, the target has seen a login at most.
- Each claim is released once: by ``Lease.release``, by ``_go`` if the route was not completed, by ``_is_usable`` if the transport
  cannot be used, or, if it was of an attempt, by ``PoolState.failed``.
- To close links, ``_hang_up`` first ends all carriers, then closes the nested links before those that carry them. Each group
  with one first hop has a thread of its own, as closing waits for the network.
- After ``close`` nothing enters the pool: a link that is opened later is closed at once.
"""

from __future__ import annotations

import gc
import logging
import math
import threading
from collections.abc import Iterable, Sequence
from typing import Any

from ..chain.model import Chain, Hop
from ..client.interface import Report
from ..clock import lifetime
from ..deadline import SIGNAL_POLL, Deadline, Heartbeat
from ..errors import AlgorithmsRefused, HopError, HopUnreachable, HostKeyRefused
from ..settings import SessionConfig
from ..ssh.agent import Held, asking_once
from ..ssh.dial import open_hop
from ..ssh.keepalive import Keepalive
from ..ssh.link import Link
from ..ssh.login_lock import LoginLock
from ..ssh.session import TargetChannels
from .identity import HopIdentity, hop_identities
from .pool import DialFailure, PooledTransport, PoolState, State
from .statistics import Statistics

log = logging.getLogger("bastion.ssh.broker")
log.addHandler(logging.NullHandler())

_LONGEST_WAIT = 86400.0
_FAILURE_TTL = 10.0
_CLOSING = 10.0
_REPORT_SLACK = 2.0
_THAT_ERROR = "The error of that attempt says what to do."
_WITH_RETRIES = " With ansible_ssh_retries, it is tried again."
_STOPPED = "the broker on the controller was stopped"
_NEXT_TASK = "The next task starts another one."


class Lease:
    """Hold a claim on all transports on the route to a target, until it is released.

    :param path: the transports, the target's last.
    :param fresh: whether the target was connected for this lease.
    """

    def __init__(
        self, transports: TransportPool, path: Sequence[PooledTransport], fresh: bool, way: _LeaseRequest
    ) -> None:
        self.fresh = fresh
        self.links: list[Link] = [shared.link for shared in path]
        self.session = TargetChannels(self.links, way.chain, way.report)
        self._transports = transports
        self._path = tuple(path)
        self._chain = way.chain
        self._persist = way.settings.persist
        self._released = False

    def hops(self) -> list[dict[str, Any]]:
        """Return the login time and age of each hop; see :meth:`interface.Session.connect`."""
        now = lifetime()
        return [
            {
                "hop": self._chain.place(index),
                "label": shared.label,
                "login": round(shared.link.login_seconds, 3),
                "age": round(now - shared.opened_at, 3),
            }
            for index, shared in enumerate(self._path)
        ]

    def release(self) -> None:
        """Release the claim. Idempotent."""
        released, self._released = self._released, True
        if not released:
            if not self.session.has_ended():
                self.retire()
            self._transports.release(self._path, self._persist, session=True)

    def keep(self, seconds: float) -> None:
        """Keep the connections for at least this many seconds after the release."""
        self._persist = max(self._persist, seconds)

    def retire(self) -> None:
        """Retire the transport to the target, which does not work."""
        self._transports.retire(self._path[-1])

    def note_session_limit(self) -> bool:
        """Record that the target opens no further session. Return whether another transport may help."""
        return self._transports.note_session_limit(self._path[-1])


class _LeaseRequest:
    """Hold one request for a lease, and the time left for it."""

    def __init__(
        self, settings: SessionConfig, report: Report, ignore_recent_failure: bool, cancelled: threading.Event
    ) -> None:
        self.ignore_recent_failure = ignore_recent_failure
        self.cancelled = cancelled
        self.settings = settings
        self.chain: Chain = settings.chain
        self.report = report
        self.turns = LoginLock(settings.run_directory, settings.run_key)
        self.total = Deadline(settings.chain.timeout)
        self.newly_connected: set[PooledTransport] = set()
        self.held = asking_once(self.total, report.waits)
        self._asked: set[int] = set()

    def settings_before_login(self, index: int) -> SessionConfig | None:
        """Return changed settings, if OpenSSH's configuration gives others now.

        Look them up once per hop only, as each answer may differ.
        """
        if index in self._asked:
            return None
        self._asked.add(index)
        return self.settings.before_login(index)

    def again(self, settings: SessionConfig) -> _LeaseRequest:
        """Return the same request with other settings and the remaining time."""
        way = _LeaseRequest(settings, self.report, self.ignore_recent_failure, self.cancelled)
        way.total, way.held, way._asked = self.total, self.held, self._asked
        return way

    def unreachable(self, index: int, error: BaseException, newly_connected: PooledTransport) -> BaseException:
        """Translate the error of another task's connection attempt, whose chain may be longer or shorter.

        :param newly_connected: the transport of that attempt.
        """
        if not isinstance(error, HopError):
            return error
        place = self.chain.place(index) if error.place == newly_connected.place else error.place
        return type(error)(place, error.problem, error.advice)


class _OtherSettings(Exception):
    """Signal that OpenSSH's configuration gives other settings now, and so another chain."""

    def __init__(self, settings: SessionConfig) -> None:
        super().__init__()
        self.settings = settings


class TransportPool:
    """Share the transports of one process. All methods are thread-safe; no lock is held during I/O."""

    def __init__(self) -> None:
        self._pool = PoolState()
        self._lock = threading.Lock()
        self._dialled = threading.Condition(self._lock)
        self._due = threading.Condition(self._lock)
        self._next_look = math.inf
        self._keepalive = Keepalive()
        self._sweeper: threading.Thread | None = None
        self._closers: set[threading.Thread] = set()
        self._statistics = Statistics()
        self._links: dict[Link, None] = {}  # all that are not closed yet, carriers before what they carry
        self._closed = False

    def lease(
        self,
        settings: SessionConfig,
        report: Report,
        ignore_recent_failure: bool = False,
        cancelled: threading.Event | None = None,
    ) -> Lease:
        """Return a lease on the route to a target, after connecting to the hops that are missing.

        :param ignore_recent_failure: whether to connect even to a jump host that could not be reached a moment ago.
        :param cancelled: set when the lease is no longer needed; None if that cannot happen.
        :raises HopError: a hop failed; the error names it.
        :raises RuntimeError: no thread can be started.
        """
        self._start()
        way = _LeaseRequest(settings, report, ignore_recent_failure, cancelled or threading.Event())
        path = None
        while path is None:
            try:
                path = self._go(way)
            except _OtherSettings as found:
                way = way.again(found.settings)
        if way.newly_connected:
            for warning in way.settings.warnings:
                report.warn(warning)
            for remark in way.settings.remarks:
                report.remark(remark)
        else:
            report.note(f"{way.chain}: {_reused(path[-1])}")
        return Lease(self, path, path[-1] in way.newly_connected, way)

    def reset(self, settings: SessionConfig, report: Report) -> None:
        """Retire the connections to a target, and forget failures on the route to it."""
        hops = settings.chain.hops
        held = asking_once(Deadline(settings.chain.timeout), report.waits)
        parent: PooledTransport | None = None
        for hop, step in zip(hops, hop_identities(settings.chain), strict=True):
            keys = self._agent_keys(parent, step, hop, held)
            with self._lock:
                self._pool.forget_failure(parent, step)
                found = self._pool.find(parent, step, lifetime(), held=keys)
                while hop is hops[-1] and found is not None and found.state is State.OPEN:
                    self._pool.retire(found)
                    found = self._pool.find(parent, step, lifetime(), held=keys)
                self._due.notify()
            parent = found
            if parent is None:
                break
        LoginLock(settings.run_directory, settings.run_key).forget(hops)

    def release(self, path: Sequence[PooledTransport], persist: float, session: bool) -> None:
        """Release claims, and retire transports that have died meanwhile."""
        now = lifetime()
        with self._lock:
            for shared in path:
                if shared.link.is_dead:
                    self._pool.retire(shared)
            self._pool.release(path, persist, now, session)
            if self._pool.closing or now + persist < self._next_look:
                self._due.notify()

    def retire(self, shared: PooledTransport) -> None:
        """Retire a transport."""
        with self._lock:
            self._pool.retire(shared)
            self._due.notify()

    def look(self) -> None:
        """Wake the sweeper if it is late, as its wait stands still while the machine is suspended."""
        if lifetime() >= self._next_look:
            with self._lock:
                self._due.notify()

    def retire_idle(self) -> None:
        """Retire all unused transports."""
        with self._lock:
            self._pool.expire(math.inf)
            self._due.notify()

    def note_session_limit(self, shared: PooledTransport) -> bool:
        """See :meth:`Lease.note_session_limit`."""
        with self._lock:
            return self._pool.note_session_limit(shared)

    def shared(self) -> list[PooledTransport]:
        """Return the current transports, ordered by depth."""
        with self._lock:
            return sorted(self._pool, key=lambda shared: shared.depth)

    def statistics(self) -> list[dict[str, Any]]:
        """Return the counts of each hop; see :meth:`Statistics.described`."""
        with self._lock:
            return self._statistics.described()

    @property
    def count(self) -> int:
        """Return how many links are open, those of retired transports included."""
        return len(self._links)

    def close(self) -> None:
        """Close all transports, also those in use. Idempotent."""
        self._keepalive.stop()
        with self._lock:
            self._closed = True
            for shared in list(self._pool):
                self._pool.retire(shared)
            self._pool.pop_closing()
            links = list(self._links)
            closers = list(self._closers)
            self._due.notify()
        self._hang_up(links)
        for closer in closers:
            closer.join(_CLOSING)

    def _start(self) -> None:
        """Start the sweeper and the keepalives, before the first connection."""
        with self._lock:
            if self._sweeper is None:
                sweeper = threading.Thread(target=self._sweep, name="sweeper", daemon=True)
                sweeper.start()
                self._sweeper = sweeper
        self._keepalive.start()

    def _go(self, way: _LeaseRequest) -> list[PooledTransport]:
        """Return all transports on a route, claimed; start over if a reused one turns out to be dead."""
        tries = 0
        while True:
            path: list[PooledTransport] = []
            try:
                for index, step in enumerate(hop_identities(way.chain)):
                    path.append(self._reach(way, index, step, path))
                return path
            except BaseException as error:
                kept = [shared for shared in path if shared not in way.newly_connected]
                anew = isinstance(error, HopUnreachable) and any(shared.link.is_dead for shared in kept)
                self.release(path, way.settings.persist, session=False)
                tries += 1
                if not anew or tries > len(way.chain.hops) or way.total.expired or way.cancelled.is_set():
                    raise
                way.report.note(f"{error} Connecting anew.")

    def _agent_keys(self, parent: PooledTransport | None, step: HopIdentity, hop: Hop, held: Held) -> frozenset[bytes]:
        """Return the keys that the agents of a hop hold, which are asked only if a kept login depends on them. Call it without the lock."""
        with self._lock:
            ask = self._pool.is_of_agent(parent, step)
        return held(hop) if ask else frozenset()

    def _reach(
        self, way: _LeaseRequest, index: int, step: HopIdentity, path: Sequence[PooledTransport]
    ) -> PooledTransport:
        """Return a claimed transport to one hop: an open and trusted one, or a new one."""
        parent = path[-1] if path else None
        is_target = index == len(way.chain.hops) - 1
        # Allow the other task one timeout for the login lock, one for its connection, and slack to report.
        deadline = Deadline(2 * way.chain.hops[index].patience + _REPORT_SLACK, way.total)
        while True:
            held = self._agent_keys(parent, step, way.chain.hops[index], way.held)
            with self._lock:
                shared = self._pool.find(parent, step, lifetime(), way.settings.persist_max, is_target, held)
                if self._pool.closing:
                    self._due.notify()
                if shared is None:
                    if self._closed:
                        raise HopUnreachable(way.chain.place(index), _STOPPED, _NEXT_TASK)
                    if not is_target:
                        self._fail_fast(way, index, step, parent)
                    mine = self._pool.begin(
                        parent, step, way.chain.place(index), way.chain.hops[index].label, is_target, way.cancelled
                    )
                    self._statistics.attempted(mine)
                    break
                is_open = shared.state is State.OPEN
                if is_open:
                    self._pool.claim(shared, is_target)
            if not is_open:
                self._await(way, index, step, shared, deadline)
            elif self._is_usable(way, index, shared):
                return shared
        return self._dial(way, index, mine, path)

    def _await(
        self, way: _LeaseRequest, index: int, step: HopIdentity, shared: PooledTransport, deadline: Deadline
    ) -> None:
        """Wait for another task's connection attempt. Raise its error if an own attempt would end in the same way."""
        place = way.chain.place(index)
        way.report.note(f"{place}: waiting for another task to connect to it")
        heart = Heartbeat(way.report.waits)
        while self._is_dialling(shared, min(SIGNAL_POLL, deadline.remaining())) and not shared.cancelled.is_set():
            if deadline.expired:
                problem = f"another task did not connect to it within {deadline.seconds:g} seconds"
                advice = "See the error of that task; or give this hop a longer timeout."
                raise HopUnreachable(place, problem, advice)
            heart.beat()
        with self._lock:
            if shared.error is not None and shared.step.attempt == step.attempt:
                self._fail_fast(way, index, step, shared.parent)
                raise way.unreachable(index, shared.error, shared)

    def _is_dialling(self, shared: PooledTransport, seconds: float) -> bool:
        """Return whether a connection attempt is still in progress after at most ``seconds``."""
        with self._lock:
            return not self._dialled.wait_for(lambda: shared.state is not State.DIALLING, seconds)

    def _fail_fast(self, way: _LeaseRequest, index: int, step: HopIdentity, parent: PooledTransport | None) -> None:
        """Raise an error at once if the same task could not reach a jump host a moment ago."""
        now = lifetime()
        trouble = None if way.ignore_recent_failure else self._pool.trouble(parent, step, now, way.settings.task)
        if trouble is not None:
            seconds, cause = now - trouble.since, trouble.problem
            problem = f"not tried again: the same task failed to connect {seconds:.0f} s ago: {cause}"
            advice = _THAT_ERROR + (_WITH_RETRIES if trouble.kind.retry else "")
            raise trouble.kind(way.chain.place(index), problem, advice)

    def _is_usable(self, way: _LeaseRequest, index: int, shared: PooledTransport) -> bool:
        """Return whether a claimed transport is alive and still trusted; retire and release it if not."""
        usable = False
        try:
            usable = _is_good(shared.link, way.chain.hops[index], way.chain.place(index), way.report)
        finally:
            if not usable:
                self.retire(shared)
                self.release([shared], 0.0, session=index == len(way.chain.hops) - 1)
        if usable:
            with self._lock:
                self._statistics.reused(shared)
            self._watch(way.chain.hops[index], shared)
        return usable

    def _watch(self, hop: Hop, shared: PooledTransport) -> None:
        """Shorten the silence after which a link is closed to what its least patient user wants."""
        interval, count = hop.transport.alive_interval, hop.transport.alive_count
        with self._lock:
            patience = interval * count or math.inf
            if patience >= shared.link.patience:
                return
            shared.link.patience = patience
        self._keepalive.watch(shared.link, interval, count)

    def _dial(
        self, way: _LeaseRequest, index: int, mine: PooledTransport, path: Sequence[PooledTransport]
    ) -> PooledTransport:
        if not way.newly_connected:
            for number, shared in enumerate(path):
                way.report.note(f"{way.chain.place(number)}: {_reused(shared)}")
        try:
            links = [shared.link for shared in path]
            settings = way.settings_before_login(index)
            if settings is not None:
                raise _OtherSettings(settings)
            link = self._open(way, index, links)
        except BaseException as error:
            stopped = isinstance(error, _OtherSettings)
            with self._lock:
                if not stopped:
                    self._statistics.failed(mine, error)
                if stopped or way.cancelled.is_set():  # says nothing about the hop, so waiting tasks connect themselves
                    self._pool.failed(mine, None)
                else:
                    self._pool.failed(mine, _alone(error), _trouble(way, index, error))
                self._dialled.notify_all()
            raise
        with self._lock:
            self._pool.opened(mine, link, link.used_fallback, lifetime(), link.agent_keys)
            if link.one_session_at_a_time:
                self._pool.limit(mine, 1)
            self._statistics.opened(mine)
            self._dialled.notify_all()
        self._watch(way.chain.hops[index], mine)
        way.newly_connected.add(mine)
        return mine

    def _open(self, way: _LeaseRequest, index: int, links: Sequence[Link]) -> Link:
        link = open_hop(way.chain, index, links, way.total, way.turns, way.report, way.cancelled)
        with self._lock:
            if not self._closed:
                self._links[link] = None
                return link
        link.close()
        raise HopUnreachable(way.chain.place(index), _STOPPED, _NEXT_TASK)

    def _sweep(self) -> None:
        """Close transports that are no longer needed, until the pool is closed."""
        while not self._closed:
            with self._lock:
                now = lifetime()
                soonest = self._pool.expire(now)
                closing = self._pool.pop_closing()
                for shared in closing:
                    self._statistics.closed(shared)
                if not closing and not self._closed:
                    self._next_look = soonest
                    self._due.wait(max(0.0, min(soonest - now, _LONGEST_WAIT)))
                    self._next_look = -math.inf
            for links in _by_first_hop(reversed(closing)):
                self._close_aside(links)

    def _close_aside(self, links: list[Link]) -> None:
        """Close links in a separate thread, as the disconnect of one goes through its carriers, which may be stuck."""
        thread = threading.Thread(target=self._hang_up, args=(links,), name="closer", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # no thread can be started now
            self._hang_up(links)
            return
        with self._lock:
            self._closers = {closer for closer in self._closers if closer.is_alive()} | {thread}

    def _hang_up(self, links: Sequence[Link]) -> None:
        """Close links, given with carriers before what they carry."""
        for link in links:
            link.abort(_STOPPED, _NEXT_TASK)
        for link in reversed(links):
            try:
                link.close()
            except Exception as error:  # must not keep the others open
                log.error("%s: %s while it was closed", link.place, type(error).__name__)
        with self._lock:
            for link in links:
                self._links.pop(link, None)
            idle = not self._links and not self._closed
        if idle:  # paramiko's transports are reference cycles, which Python collects only while it allocates
            gc.collect()


def _by_first_hop(closing: Iterable[PooledTransport]) -> list[list[Link]]:
    """Group links by the first hop that carries them, in the given order."""
    groups: dict[int, list[Link]] = {}
    for shared in closing:
        first = shared
        while first.parent is not None:
            first = first.parent
        groups.setdefault(id(first), []).append(shared.link)
    return list(groups.values())


def _trouble(way: _LeaseRequest, index: int, error: BaseException) -> DialFailure | None:
    """Return the failure to remember so that other hosts fail fast; None for the target, and for failures of an earlier hop.

    Refused logins are remembered by :class:`LoginLock`, for the whole run.
    """
    hops, task, now = way.chain.hops, way.settings.task, lifetime()
    if not isinstance(error, (HopUnreachable, HostKeyRefused, AlgorithmsRefused)) or task is None:
        return None
    if index == len(hops) - 1 or error.place != way.chain.place(index):
        return None
    return DialFailure(type(error), error.problem, task, now, now + min(hops[index].timeout, _FAILURE_TTL))


def _alone(error: BaseException) -> BaseException:
    """Return a copy of an error for waiting tasks, without its traceback, whose frames hold secrets."""
    return type(error)(error.place, error.problem, error.advice) if isinstance(error, HopError) else error


def _reused(shared: PooledTransport) -> str:
    return f"reused, connected for {lifetime() - shared.opened_at:.0f} s"


def _is_good(link: Link, hop: Hop, place: str, report: Report) -> bool:
    if link.is_dead or link.trust is None:
        return False
    trust = link.trust.renewed(hop, place, report.warn)
    # If the permission to send secrets has changed, do not reuse the login; a task that has claimed it and checks it next sees None.
    good = trust.secrets_allowed == link.trust.secrets_allowed
    link.trust = trust if good else None
    return good
