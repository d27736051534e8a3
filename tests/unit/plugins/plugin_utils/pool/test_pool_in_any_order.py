# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever happens to transports in whatever order, none is lost, and none is closed too early."""

from __future__ import annotations

import math
from collections.abc import Sequence

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from ansible_collections.bastion.ssh.plugins.plugin_utils.pool.identity import HopIdentity
from ansible_collections.bastion.ssh.plugins.plugin_utils.pool.pool import PooledTransport, PoolState, State


class Worker:
    """One request, as far as it has come on its way."""

    def __init__(self, way: Sequence[HopIdentity], lifetime: float | None) -> None:
        self.way = way
        self.lifetime = lifetime
        self.path: list[PooledTransport] = []
        self.mine: PooledTransport | None = None  # which it dials

    @property
    def holds(self) -> list[PooledTransport]:
        return [*self.path, *([self.mine] if self.mine else [])]

    @property
    def is_there(self) -> bool:
        return len(self.path) == len(self.way)


NUMBERS = st.integers(0, 1000)
STEPS = [HopIdentity(identity, fallback, "") for identity in "ab" for fallback in "kl"]
WAYS = st.lists(st.sampled_from(STEPS), min_size=2, max_size=3)


class AnyOrder(RuleBasedStateMachine):
    """Workers that dial, use, fail, retire and leave, while time passes and what is not needed is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = PoolState()
        self.now = 0.0
        self.workers: list[Worker] = []
        self.opened: list[PooledTransport] = []
        self.closed: list[PooledTransport] = []

    def some(self, number: int, dialling: bool = False, there: bool = False) -> Worker | None:
        fitting = [each for each in self.workers if bool(each.mine) == dialling and each.is_there == there]
        return fitting[number % len(fitting)] if fitting else None

    @precondition(lambda self: len(self.workers) < 5)
    @rule(way=WAYS, lifetime=st.sampled_from([None, 5.0]))
    def come(self, way: list[HopIdentity], lifetime: float | None) -> None:
        self.workers.append(Worker(way, lifetime))

    @precondition(lambda self: self.some(0))
    @rule(number=NUMBERS)
    def go_on(self, number: int) -> None:
        if worker := self.some(number):
            step = worker.way[len(worker.path)]
            parent = worker.path[-1] if worker.path else None
            is_target = len(worker.path) + 1 == len(worker.way)
            found = self.pool.find(parent, step, self.now, worker.lifetime, is_target)
            if found is None:
                worker.mine = self.pool.begin(parent, step, "place", step.identity, is_target)
                assert self.pool.find(parent, step, self.now, worker.lifetime, is_target) is worker.mine
            elif found.state is State.OPEN:
                assert found.parent is parent
                assert found.step.identity == step.identity
                assert found.step.fallback == step.fallback or not found.used_fallback
                assert worker.lifetime is None or self.now - found.opened_at < worker.lifetime
                self.pool.claim(found, is_target)
                worker.path.append(found)

    @precondition(lambda self: self.some(0, dialling=True))
    @rule(number=NUMBERS, used_fallback=st.booleans())
    def dialled(self, number: int, used_fallback: bool) -> None:
        worker = self.some(number, dialling=True)
        if worker and worker.mine:
            self.pool.opened(worker.mine, object(), used_fallback, self.now)
            self.opened.append(worker.mine)
            worker.path.append(worker.mine)
            worker.mine = None

    @precondition(lambda self: self.some(0, dialling=True))
    @rule(number=NUMBERS)
    def not_dialled(self, number: int) -> None:
        worker = self.some(number, dialling=True)
        if worker and worker.mine:
            self.pool.failed(worker.mine, OSError())
            worker.mine = None
            self.leave(worker, 0.0)

    @precondition(lambda self: self.some(0, there=True))
    @rule(number=NUMBERS, persist=st.sampled_from([0.0, 3.0, 30.0]))
    def done(self, number: int, persist: float) -> None:
        if worker := self.some(number, there=True):
            self.leave(worker, persist)

    @precondition(lambda self: self.some(0))
    @rule(number=NUMBERS)
    def given_up(self, number: int) -> None:
        if worker := self.some(number):
            self.leave(worker, 0.0)

    def leave(self, worker: Worker, persist: float) -> None:
        self.workers.remove(worker)
        self.pool.release(worker.path, persist, self.now, worker.is_there)

    @precondition(lambda self: self.some(0, there=True))
    @rule(number=NUMBERS)
    def broken(self, number: int) -> None:
        if worker := self.some(number, there=True):
            self.pool.retire(worker.path[-1])

    @precondition(lambda self: self.some(0, there=True))
    @rule(number=NUMBERS)
    def note_session_limit(self, number: int) -> None:
        if worker := self.some(number, there=True):
            assert self.pool.note_session_limit(worker.path[-1]) == (worker.path[-1].sessions > 1)

    @precondition(lambda self: len(self.pool) > 0)
    @rule(number=NUMBERS)
    def reset(self, number: int) -> None:
        everything = list(self.pool)
        self.pool.retire(everything[number % len(everything)])

    @precondition(lambda self: len(self.pool) > 0)
    @rule(seconds=st.sampled_from([0.5, 3.0, 10.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        soonest = self.pool.expire(self.now)
        assert soonest > self.now
        before = repr(self.pool)
        assert self.pool.expire(self.now) == soonest
        assert repr(self.pool) == before

    @precondition(lambda self: self.pool.closing)
    @rule()
    def close(self) -> None:
        closing = self.pool.pop_closing()
        depths = [shared.depth for shared in closing]
        assert depths == sorted(depths, reverse=True)
        for shared in closing:
            assert shared.leases == 0
            assert shared.link is not None
            assert shared.state is State.RETIRED
            assert shared not in self.closed
            assert all(child in self.closed for child in self.opened if child.parent is shared)
            self.closed.append(shared)
        assert not self.pool.closing

    @invariant()
    def every_lease_is_somebodys(self) -> None:
        for shared in {*self.pool, *self.opened}:
            assert shared.leases == sum(worker.holds.count(shared) for worker in self.workers)

    @invariant()
    def every_session_is_somebodys(self) -> None:
        for shared in {*self.pool, *self.opened}:
            targets = [worker.holds[-1] for worker in self.workers if len(worker.holds) == len(worker.way)]
            assert shared.sessions == targets.count(shared)

    @invariant()
    def nothing_that_is_used_is_closed(self) -> None:
        assert not [shared for worker in self.workers for shared in worker.holds if shared in self.closed]

    @invariant()
    def what_is_there_can_be_reached(self) -> None:
        for shared in self.pool:
            assert shared.state is not State.RETIRED
            assert shared.parent is None or shared in shared.parent.children
            parent = shared.parent
            while parent is not None:
                assert parent.link is not None
                assert parent not in self.closed
                parent = parent.parent

    def teardown(self) -> None:
        for number in range(len(self.workers)):
            self.not_dialled(number)
        for worker in list(self.workers):
            self.leave(worker, 0.0)
        assert self.pool.expire(self.now + 3600.0) == math.inf
        self.close()
        assert repr(self.pool) == "<pool []>"
        assert set(self.closed) == set(self.opened)


AnyOrder.TestCase.settings = settings(stateful_step_count=60)
TestAnyOrder = AnyOrder.TestCase
