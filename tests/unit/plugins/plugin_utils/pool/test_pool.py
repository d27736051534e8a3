# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may use which transport, and when it goes: one decision after the other."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence

import pytest

from ansible_collections.bastion.ssh.plugins.plugin_utils.errors import HopUnreachable
from ansible_collections.bastion.ssh.plugins.plugin_utils.pool.identity import HopIdentity
from ansible_collections.bastion.ssh.plugins.plugin_utils.pool.pool import (
    DialFailure,
    PooledTransport,
    PoolState,
    State,
)

A, B, C, D = (HopIdentity(name, "k", "") for name in "abcd")
HOUR = 3600.0
DOWN = HopUnreachable("jump host 1 of 1 u@b:22", "down", "Check it.")


def dial(
    pool: PoolState,
    parent: PooledTransport | None,
    step: HopIdentity,
    now: float = 0.0,
    used_fallback: bool = False,
    session: bool = True,
) -> PooledTransport:
    """A transport that was dialled at once."""
    shared = pool.begin(parent, step, f"the place of {step.identity}", step.identity, session)
    pool.opened(shared, object(), used_fallback, now)
    return shared


def reach(pool: PoolState, *way: HopIdentity, now: float = 0.0) -> list[PooledTransport]:
    """The transports to a target, found or dialled, each with one lease more, the last one for a session."""
    path: list[PooledTransport] = []
    for left, step in zip(reversed(range(len(way))), way, strict=True):
        parent = path[-1] if path else None
        found = pool.find(parent, step, now)
        if found is None:
            found = dial(pool, parent, step, now, session=not left)
        else:
            pool.claim(found, session=not left)
        path.append(found)
    return path


def labels(found: Sequence[PooledTransport]) -> str:
    return "".join(shared.label for shared in found)


def closed(pool: PoolState) -> str:
    return labels(pool.pop_closing())


def test_a_transport_from_its_dial_to_its_end() -> None:
    pool = PoolState()
    assert (repr(pool), len(pool)) == ("<pool []>", 0)
    assert pool.find(None, A, 0.0) is None
    mine = pool.begin(None, A, "target a", "a")
    assert repr(pool) == "<pool [<a: dialling, 1 leases>]>"
    link = object()
    pool.opened(mine, link, False, 5.0)
    assert (mine.link, mine.opened_at, mine.place) == (link, 5.0, "target a")
    assert repr(pool) == "<pool [<a: open, 1 leases>]>"
    assert pool.find(None, A, 5.0) is mine
    pool.claim(mine)
    assert repr(pool) == "<pool [<a: open, 2 leases>]>"
    pool.release([mine], 60.0, 6.0)
    pool.release([mine], 60.0, 7.0)
    assert repr(pool) == "<pool [<a: open, 0 leases>]>"
    assert (mine.served, mine.idle_since, mine.kept_until) == (2, 7.0, 67.0)
    assert pool.expire(66.9) == 67.0
    assert (repr(pool), pool.closing) == ("<pool [<a: open, 0 leases>]>", False)
    assert pool.expire(67.0) == math.inf
    assert (repr(pool), repr(mine), pool.closing) == ("<pool []>", "<a: retired, 0 leases>", True)
    assert pool.pop_closing() == [mine]
    assert (pool.pop_closing(), pool.closing) == ([], False)


# trust: T56
@pytest.mark.parametrize(
    ("now", "found"),
    [(60.0, "ab"), (69.9, "ab"), (70.0, "a"), (129.9, "a"), (130.0, ""), (HOUR, "")],
)
def test_what_was_unused_for_its_time_is_gone_before_the_sweeper_looks(now: float, found: str) -> None:
    """As after a suspend: the time is over, and the sweeper has slept, too."""
    pool = PoolState()
    a, b = reach(pool, A, B)
    pool.release([a, b], 60.0, 10.0, session=True)
    pool.claim(a)
    pool.release([a], 60.0, 70.0)
    there = [shared for shared in (pool.find(None, A, now), pool.find(a, B, now)) if shared]
    assert labels(there) == found
    assert closed(pool) == "ba"[: 2 - len(found)]


# trust: T56
@pytest.mark.parametrize("user", ["itself", "what it carries", "what is being dialled on it"])
def test_what_is_used_is_kept_whatever_its_time(user: str) -> None:
    pool = PoolState()
    a, b = reach(pool, A, B)
    pool.release([a, b], 60.0, 0.0, session=True)
    if user == "itself":
        pool.claim(a)
    elif user == "what it carries":
        pool.claim(b)
    else:
        pool.begin(a, C, "place", "c")
    assert pool.find(None, A, HOUR) is a


# trust: T39
def test_who_asks_second_finds_the_one_that_is_being_dialled() -> None:
    pool = PoolState()
    mine = pool.begin(None, A, "place", "a")
    assert [pool.find(None, A, now, 1.0, session) for now in (0.0, HOUR) for session in (True, False)] == [mine] * 4
    pool.opened(mine, object(), False, HOUR)
    assert pool.find(None, A, HOUR) is mine
    assert len(pool) == 1


def test_a_dial_that_fails_is_gone_and_tells_why() -> None:
    pool = PoolState()
    (a,) = reach(pool, A)
    mine = pool.begin(a, B, "place", "b")
    error = OSError()
    pool.failed(mine, error)
    assert (mine.error, mine.state, mine.leases) == (error, State.RETIRED, 0)
    assert (repr(pool), pool.closing, a.children) == ("<pool [<a: open, 1 leases>]>", False, set())
    assert pool.find(a, B, 0.0) is None


def test_a_jump_host_in_trouble_is_spared_for_a_while() -> None:
    pool = PoolState()
    (a,) = reach(pool, A)
    pool.failed(pool.begin(a, B, "place", "b"), DOWN, DialFailure(HopUnreachable, "down", "mine", 5.0, 15.0))
    found = pool.trouble(a, B, 14.9, "mine")
    assert found is not None
    assert (found.kind, found.problem, found.since) == (HopUnreachable, "down", 5.0)
    others = [(None, B, "mine"), (a, C, "mine"), (a, B._replace(attempt="another"), "mine"), (a, B, "another")]
    assert [pool.trouble(parent, step, 14.9, task) for parent, step, task in others] == [None] * 4
    assert pool.trouble(a, B, 15.0, "mine") is None
    assert pool.trouble(a, B, 14.9, None) is None


# trust: T54
def test_the_troubles_of_hops_that_never_come_back_do_not_pile_up() -> None:
    """A one-time password makes a first hop another one each time."""
    pool = PoolState()
    for number in range(100):
        once = HopIdentity(f"a with code {number}", "k", "")
        trouble = DialFailure(HopUnreachable, "down", "mine", float(number), number + 10.0)
        pool.failed(pool.begin(None, once, "place", "a"), DOWN, trouble)
        assert pool.trouble(None, once, number + 9.0, "mine") is trouble
    assert len(pool._troubles) == 10


def test_two_tasks_are_spared_the_same_jump_host() -> None:
    pool = PoolState()
    (a,) = reach(pool, A)
    for task, since in (("mine", 5.0), ("yours", 6.0)):
        pool.failed(pool.begin(a, B, "place", "b"), DOWN, DialFailure(HopUnreachable, "down", task, since, since + 10))
    assert [bool(pool.trouble(a, B, 15.5, task)) for task in ("mine", "yours", "hers")] == [False, True, False]


@pytest.mark.parametrize("end", ["reached", "reset", "the one before it has gone", "it had gone before"])
def test_the_trouble_of_a_jump_host_ends(end: str) -> None:
    pool = PoolState()
    (a,) = reach(pool, A)
    mine = pool.begin(a, B, "place", "b")
    if end == "it had gone before":
        pool.retire(a)
    pool.failed(mine, DOWN, DialFailure(HopUnreachable, "down", "mine", 5.0, 15.0))
    if end == "reached":
        dial(pool, a, B, 6.0)
    elif end == "reset":
        pool.forget_failure(a, B)
    else:
        pool.retire(a)
    assert pool.trouble(a, B, 6.0, "mine") is None


# trust: T29
def test_hops_meet_only_behind_the_same_transport() -> None:
    pool = PoolState()
    first, second = reach(pool, A, C), reach(pool, B, C)
    assert first[1] is not second[1]
    assert pool.find(None, C, 0.0) is None
    assert [pool.find(path[0], C, 0.0) for path in (first, second)] == [first[1], second[1]]
    assert [shared.depth for shared in first] == [0, 1]


# trust: T20, T29
def test_hops_meet_only_with_the_same_identity() -> None:
    pool = PoolState()
    (a,) = reach(pool, A)
    assert [pool.find(None, step, 0.0) for step in (B, HopIdentity("a ", "k", ""), HopIdentity("", "k", ""))] == [
        None,
        None,
        None,
    ]
    assert pool.find(None, HopIdentity("a", "another", ""), 0.0) is a


# trust: T20
@pytest.mark.parametrize(("used", "found"), [(False, True), (True, False)], ids=["not needed", "needed"])
def test_a_login_with_a_key_of_last_resort_is_for_those_who_have_it(used: bool, found: bool) -> None:
    pool = PoolState()
    mine = dial(pool, None, A, used_fallback=used)
    assert pool.find(None, A, 0.0) is mine
    assert (pool.find(None, HopIdentity("a", "another", ""), 0.0) is mine) == found
    if not found:
        other = dial(pool, None, HopIdentity("a", "another", ""), used_fallback=True)
        assert pool.find(None, HopIdentity("a", "another", ""), 0.0) is other
        assert repr(pool) == "<pool [<a: open, 1 leases>, <a: open, 1 leases>]>"


def test_the_least_busy_of_several_is_found() -> None:
    pool = PoolState()
    busy, idle = dial(pool, None, A), dial(pool, None, A)
    pool.claim(busy)
    dialling = pool.begin(None, A, "place", "a")
    assert pool.find(None, A, 0.0) is idle
    pool.retire(idle)
    assert pool.find(None, A, 0.0) is busy
    pool.retire(busy)
    assert pool.find(None, A, 0.0) is dialling


@pytest.mark.parametrize(
    ("lifetime", "now", "found"),
    [(None, 1e9, True), (10.0, 14.9, True), (10.0, 15.0, False), (math.inf, 1e9, True)],
)
def test_what_is_too_old_is_used_for_nothing_new(lifetime: float | None, now: float, found: bool) -> None:
    pool = PoolState()
    path = reach(pool, A, B, now=5.0)
    assert (pool.find(None, A, now, lifetime) is path[0]) == found
    assert [shared.state for shared in path] == [State.OPEN if found else State.RETIRED] * 2
    assert closed(pool) == ""
    pool.release(path, 60.0, now)
    assert closed(pool) == ("" if found else "ba")


def test_an_idle_child_lets_its_parents_go_in_the_same_look() -> None:
    pool = PoolState()
    path = reach(pool, A, B, C)
    pool.release(path, 10.0, 1.0)
    assert pool.expire(10.9) == 11.0
    assert pool.expire(11.0) == math.inf
    assert (repr(pool), closed(pool)) == ("<pool []>", "cba")


def test_what_carries_something_or_is_in_use_does_not_expire() -> None:
    pool = PoolState()
    (a, b) = reach(pool, A, B)
    pool.release([a], 0.0, 0.0)
    assert (pool.expire(HOUR), closed(pool)) == (math.inf, "")
    pool.release([b], 10.0, HOUR)
    assert (pool.expire(HOUR), closed(pool)) == (HOUR + 10, "")
    assert repr(pool) == "<pool [<a: open, 0 leases>, <b: open, 0 leases>]>"
    mine = pool.begin(b, C, "place", "c")
    assert pool.expire(2 * HOUR) == math.inf
    pool.failed(mine, OSError())
    assert (pool.expire(2 * HOUR), closed(pool)) == (math.inf, "ba")


@pytest.mark.parametrize(
    ("asked", "end"), [((5.0, 50.0), 51.0), ((50.0, 5.0), 50.0), ((50.0, 0.0), 50.0), ((50.0, 50.0), 51.0)]
)
def test_it_stays_as_long_as_anybody_asked_for(asked: tuple[float, float], end: float) -> None:
    pool = PoolState()
    path = reach(pool, A)
    reach(pool, A)
    for now, persist in enumerate(asked):
        pool.release(path, persist, float(now))
    assert pool.expire(end - 0.1) == end
    assert (pool.expire(end), closed(pool)) == (math.inf, "a")


def test_a_bastion_stays_as_long_as_the_target_that_asked_for_the_longest_time() -> None:
    pool = PoolState()
    short, long = reach(pool, A, B), reach(pool, A, C)
    pool.release(long, 50.0, 0.0)
    pool.release(short, 5.0, 1.0)
    assert pool.expire(6.0) == 50.0
    assert closed(pool) == "b"
    assert (pool.expire(50.0), closed(pool)) == (math.inf, "ca")


def test_what_is_kept_for_ever_never_expires() -> None:
    pool = PoolState()
    pool.release(reach(pool, A), math.inf, 0.0)
    assert (pool.expire(1e12), len(pool)) == (math.inf, 1)


def test_who_is_retired_takes_along_what_it_carries() -> None:
    pool = PoolState()
    path, other = reach(pool, A, B, C), reach(pool, D)
    pool.release(path, 60.0, 0.0)
    pool.retire(path[0])
    assert [shared.state for shared in path] == [State.RETIRED] * 3
    assert repr(pool) == "<pool [<d: open, 1 leases>]>"
    assert closed(pool) == "cba"
    pool.retire(path[0])
    pool.retire(other[0])
    pool.retire(other[0])
    assert closed(pool) == ""
    pool.release(other, 60.0, 0.0)
    assert closed(pool) == "d"


def test_who_is_retired_closes_with_its_last_lease() -> None:
    pool = PoolState()
    path = reach(pool, A, B)
    assert reach(pool, A, B) == path
    pool.retire(path[0])
    assert (repr(path), repr(pool)) == ("[<a: retired, 2 leases>, <b: retired, 2 leases>]", "<pool []>")
    assert pool.find(None, A, 0.0) is None
    pool.release(path, 60.0, 0.0)
    assert closed(pool) == ""
    pool.release(path, 60.0, 0.0)
    assert closed(pool) == "ba"


def test_a_dial_may_succeed_when_it_is_retired_already() -> None:
    pool = PoolState()
    mine = pool.begin(None, A, "place", "a")
    pool.retire(mine)
    assert (repr(pool), pool.closing) == ("<pool []>", False)
    pool.opened(mine, object(), False, 0.0)
    assert (repr(mine), repr(pool), pool.closing) == ("<a: retired, 1 leases>", "<pool []>", False)
    pool.release([mine], 60.0, 0.0)
    assert closed(pool) == "a"


def test_a_dial_may_fail_when_it_is_retired_already() -> None:
    pool = PoolState()
    (a,) = reach(pool, A)
    mine = pool.begin(a, B, "place", "b")
    pool.retire(a)
    assert repr(pool) == "<pool []>"
    error = OSError()
    pool.failed(mine, error)
    assert (repr(mine), mine.error, closed(pool)) == ("<b: retired, 0 leases>", error, "")
    pool.release([a], 60.0, 0.0)
    assert closed(pool) == "a"


def test_what_was_begun_on_one_that_is_retired_closes_with_it() -> None:
    pool = PoolState()
    (a,) = reach(pool, A)
    pool.retire(a)
    b = dial(pool, a, B)
    assert repr(pool) == "<pool [<b: open, 1 leases>]>"
    pool.release([a, b], HOUR, 0.0)
    assert (repr(pool), closed(pool)) == ("<pool []>", "ba")


def test_a_limit_of_sessions_is_learned_and_kept_to() -> None:
    pool = PoolState()
    path = reach(pool, A)
    reach(pool, A), reach(pool, A)
    assert pool.find(None, A, 0.0, session=True) is path[0]
    assert pool.note_session_limit(path[0])
    pool.release(path, 60.0, 0.0, session=True)
    assert pool.find(None, A, 0.0, session=True) is None
    assert pool.find(None, A, 0.0, session=False) is path[0], "what is only forwarded needs no session"
    second = dial(pool, None, A)
    assert repr(pool) == "<pool [<a: open, 2 leases>, <a: open, 1 leases>]>"
    assert pool.find(None, A, 0.0, session=True) is second
    pool.claim(second, session=True)
    assert pool.find(None, A, 0.0, session=True) is None
    third = pool.begin(None, A, "place", "a")
    assert pool.find(None, A, 0.0, session=True) is third, "one that is being dialled is waited for"


def test_the_lowest_limit_counts() -> None:
    pool = PoolState()
    path = reach(pool, A)
    reach(pool, A), reach(pool, A)
    assert pool.note_session_limit(path[0])
    pool.release(path, 60.0, 0.0, session=True)
    assert pool.note_session_limit(path[0])
    pool.release(path, 60.0, 0.0, session=True)
    assert pool.find(None, A, 0.0, session=True) is None
    pool.claim(path[0], session=True)
    pool.claim(path[0], session=True)
    assert pool.note_session_limit(path[0])
    for _session in range(2):
        pool.release(path, 60.0, 0.0, session=True)
    assert pool.find(None, A, 0.0, session=True) is None


def test_what_is_only_carried_counts_for_no_limit() -> None:
    pool = PoolState()
    (bastion,) = reach(pool, A)
    for step in (B, C, D):
        reach(pool, A, step)
    assert not pool.note_session_limit(bastion)
    reach(pool, A)
    assert pool.note_session_limit(bastion)
    pool.release([bastion], 60.0, 0.0, session=True)
    reach(pool, A, B)
    assert pool.find(None, A, 0.0, session=True) is None
    pool.release([bastion], 60.0, 0.0, session=True)
    assert (bastion.leases, bastion.sessions) == (4, 0)
    assert pool.find(None, A, 0.0, session=True) is bastion


def test_a_server_that_gives_nobody_a_session_has_no_limit() -> None:
    pool = PoolState()
    (a,) = reach(pool, A)
    assert not pool.note_session_limit(a)
    assert pool.find(None, A, 0.0, session=True) is a


def test_a_limit_is_forgotten_with_the_last_transport() -> None:
    pool = PoolState()
    path, other = reach(pool, A), [dial(pool, None, A)]
    pool.claim(path[0], session=True)
    assert pool.note_session_limit(path[0])
    pool.retire(path[0])
    assert pool.find(None, A, 0.0, session=True) is None
    pool.retire(other[0])
    (third,) = reach(pool, A)
    pool.claim(third, session=True)
    assert pool.find(None, A, 0.0, session=True) is third


def test_a_limit_is_not_learned_from_one_that_nobody_new_uses() -> None:
    pool = PoolState()
    (old,) = reach(pool, A)
    pool.claim(old, session=True)
    pool.retire(old)
    assert pool.note_session_limit(old), "another one may have room"
    (new,) = reach(pool, A)
    assert pool.find(None, A, 0.0, session=True) is new


def test_a_limit_is_that_of_one_place_only() -> None:
    pool = PoolState()
    first, second = reach(pool, A, C), reach(pool, B, C)
    reach(pool, A, C), reach(pool, B, C)
    assert pool.note_session_limit(first[1])
    assert pool.find(first[0], C, 0.0, session=True) is None
    assert pool.find(second[0], C, 0.0, session=True) is second[1]


def test_those_that_are_carried_close_before_those_that_carry_them() -> None:
    pool = PoolState()
    paths = [reach(pool, *way) for way in ((A, B, C), (A, D), (D, C))]
    for path in paths:
        pool.release(path, 0.0, 0.0)
    assert pool.expire(0.0) == math.inf
    order = pool.pop_closing()
    assert sorted(labels(order)) == list("abccdd")
    assert all(shared.parent is None or order.index(shared) < order.index(shared.parent) for shared in order)


# trust: T20
def test_a_login_by_keys_of_an_agent_is_for_those_whose_agent_holds_them() -> None:
    pool = PoolState()
    mine = pool.begin(None, A, "place", "label")
    assert not pool.is_of_agent(None, A)
    pool.opened(mine, object(), False, 0.0, frozenset({b"k", b"l"}))
    assert pool.is_of_agent(None, A)
    for held, fits in ((set(), False), ({b"k"}, False), ({b"k", b"l"}, True), ({b"k", b"l", b"m"}, True)):
        assert (pool.find(None, A, 0.0, held=frozenset(held)) is mine) is fits


# trust: T20
def test_a_dial_with_another_agent_is_not_waited_for() -> None:
    pool = PoolState()
    mine = pool.begin(None, A._replace(agent="one"), "place", "label")
    assert pool.find(None, A._replace(agent="another"), 0.0) is None
    assert pool.find(None, A._replace(agent="one"), 0.0) is mine


def test_a_dial_that_nobody_wants_is_not_waited_for() -> None:
    pool, cancelled = PoolState(), threading.Event()
    mine = pool.begin(None, A, "place", "label", cancelled=cancelled)
    assert pool.find(None, A, 0.0) is mine
    cancelled.set()
    assert pool.find(None, A, 0.0) is None
    pool.opened(mine, object(), False, 0.0)
    assert pool.find(None, A, 0.0) is mine
