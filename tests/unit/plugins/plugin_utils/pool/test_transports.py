# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who waits for whose dial, and what becomes of links. The dial itself is a mock here: its end has to come on demand."""

from __future__ import annotations

import math
import queue
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from ansible_collections.bastion.ssh.plugins.plugin_utils.chain.model import (
    Chain,
    Credentials,
    Hop,
    KeyFile,
    TransportOptions,
)
from ansible_collections.bastion.ssh.plugins.plugin_utils.client.interface import Report
from ansible_collections.bastion.ssh.plugins.plugin_utils.errors import (
    AlgorithmsRefused,
    HopError,
    HopUnreachable,
    HostKeyRefused,
    LoginRefused,
)
from ansible_collections.bastion.ssh.plugins.plugin_utils.pool import transports as module
from ansible_collections.bastion.ssh.plugins.plugin_utils.pool.transports import Lease, TransportPool
from ansible_collections.bastion.ssh.plugins.plugin_utils.settings import SessionConfig
from ansible_collections.bastion.ssh.plugins.plugin_utils.ssh.keepalive import Keepalive

HOP = Hop("h", 22, Credentials("u"))
CHAIN = Chain((HOP,))
REFUSED = LoginRefused("target u@h:22", "login refused", "Check it.")


class FakeLink:
    """Lives until it is closed."""

    def __init__(self) -> None:
        self.trust = self
        self.secrets_allowed = True
        self.transport = self
        self.used_fallback = False
        self.one_session_at_a_time = False
        self.agent_keys: frozenset[bytes] = frozenset()
        self.is_dead = False
        self.sent = self.received = 0
        self.round_trip = None
        self.patience = math.inf
        self.given_up = threading.Event()
        self.closed = threading.Event()
        self.place = "place"

    def renewed(self, *_arguments: object) -> FakeLink:
        return self

    def abort(self, _why: str, _advice: str) -> None:
        self.given_up.set()

    def close(self) -> None:
        self.closed.set()


class Dials:
    """Every dial waits until the test says how it ends."""

    def __init__(self) -> None:
        self.begun: queue.Queue[tuple[Chain, Future[Any]]] = queue.Queue()

    def open_hop(self, chain: Chain, _index: int, *_rest: object) -> Any:
        end: Future[Any] = Future()
        self.begun.put((chain, end))
        return end.result(30)

    def next(self) -> tuple[Chain, Future[Any]]:
        return self.begun.get(timeout=10)


@pytest.fixture
def dials(monkeypatch: pytest.MonkeyPatch) -> Dials:
    made = Dials()
    monkeypatch.setattr(module, "open_hop", made.open_hop)
    return made


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> list[tuple[float, int]]:
    found: list[tuple[float, int]] = []
    monkeypatch.setattr(Keepalive, "watch", lambda _self, _link, interval, count: found.append((interval, count)))
    return found


@pytest.fixture
def transports() -> Iterator[TransportPool]:
    made = TransportPool()
    yield made
    made.close()


@pytest.fixture
def lease(transports: TransportPool) -> Iterator[Callable[..., Future[Lease]]]:
    with ThreadPoolExecutor(4) as pool:
        notes: queue.Queue[str] = queue.Queue()

        def asked(
            chain: Chain = CHAIN, waits: bool = False, ignore_recent_failure: bool = False, task: str = "task"
        ) -> Future[Lease]:
            settings = SessionConfig(chain, task=task)
            asking = pool.submit(transports.lease, settings, Report(notes.put, notes.put), ignore_recent_failure)
            if waits:
                assert "waiting for another task to connect to it" in notes.get(timeout=10)
            return asking

        yield asked


def test_who_waits_for_the_same_dial_hears_of_its_error(dials: Dials, lease: Callable[..., Future[Lease]]) -> None:
    first = lease()
    _chain, end = dials.next()
    second = lease(waits=True)
    end.set_exception(REFUSED)
    for asking in (first, second):
        with pytest.raises(LoginRefused, match="login refused"):
            asking.result(10)
    assert dials.begun.empty()


# trust: T20
@pytest.mark.parametrize(
    "other",
    [
        Chain((replace(HOP, credentials=replace(HOP.credentials, fallback=(KeyFile("/mine"),))),)),
        Chain((replace(HOP, timeout=HOP.timeout + 30),)),
        Chain((HOP,), timeout=99.0),
    ],
    ids=["another key", "more time", "more time for all"],
)
def test_who_waits_for_a_dial_that_his_own_need_not_end_like_dials_by_himself(
    other: Chain, dials: Dials, lease: Callable[..., Future[Lease]]
) -> None:
    first = lease()
    _chain, end = dials.next()
    second = lease(other, waits=True)
    end.set_exception(REFUSED)
    with pytest.raises(LoginRefused):
        first.result(10)
    chain, end = dials.next()
    assert chain == other
    end.set_result(FakeLink())
    assert second.result(10).fresh


JUMP = Hop("j", 22, Credentials("u"))
BEHIND = [Chain((JUMP, replace(HOP, host=f"h{number}"))) for number in range(4)]
DOWN = HopUnreachable("jump host 1 of 1 u@j:22", "no connection within 10 seconds", "Check it.")
SPARED = "jump host 1 of 1 u@j:22: not tried again: the same task failed to connect 0 s ago: no connection within 10 s"


def test_a_jump_host_in_trouble_is_dialled_and_told_once(dials: Dials, lease: Callable[..., Future[Lease]]) -> None:
    first = lease(BEHIND[0])
    _chain, end = dials.next()
    second = lease(BEHIND[1], waits=True)
    end.set_exception(DOWN)
    with pytest.raises(HopUnreachable, match="22: no connection"):
        first.result(10)
    for asking in (second, lease(BEHIND[2])):
        with pytest.raises(HopUnreachable, match=SPARED):
            asking.result(10)
    assert dials.begun.empty()
    insisting = lease(BEHIND[3], ignore_recent_failure=True)
    for _hop in range(2):
        dials.next()[1].set_result(FakeLink())
    assert insisting.result(10).fresh
    last = lease(BEHIND[0])
    chain, end = dials.next()
    assert chain == BEHIND[0]  # its target, by way of the jump host
    end.set_result(FakeLink())
    last.result(10)


@pytest.mark.parametrize("kept", [True, False])
def test_a_kept_connection_that_turns_out_to_be_dead_is_replaced(
    kept: bool, dials: Dials, lease: Callable[..., Future[Lease]]
) -> None:
    first, jump = lease(BEHIND[0]), FakeLink()
    dials.next()[1].set_result(jump)
    if kept:
        dials.next()[1].set_result(FakeLink())
        first.result(10)
        first = lease(BEHIND[1])
    _chain, end = dials.next()
    jump.is_dead = True
    end.set_exception(HopUnreachable(DOWN.place, "the server closed the connection", "Is it up?"))
    if not kept:
        with pytest.raises(HopUnreachable, match="22: the server closed the connection"):
            first.result(10)
        return
    again = FakeLink()
    for link in (again, FakeLink()):
        dials.next()[1].set_result(link)
    links: list[Any] = first.result(10).links
    assert links[0] is again


@pytest.mark.parametrize("change", ["another task", "reset"])
def test_a_jump_host_in_trouble_is_dialled_again_when_something_may_have_changed(
    change: str, dials: Dials, lease: Callable[..., Future[Lease]], transports: TransportPool
) -> None:
    first = lease(BEHIND[0])
    dials.next()[1].set_exception(DOWN)
    with pytest.raises(HopUnreachable):
        first.result(10)
    if change == "reset":
        transports.reset(SessionConfig(BEHIND[1]), Report(print, print))
    second = lease(BEHIND[1], task="task" if change == "reset" else "the next one")
    for _hop in range(2):
        dials.next()[1].set_result(FakeLink())
    assert second.result(10).fresh


@pytest.mark.parametrize("kind", [HostKeyRefused, AlgorithmsRefused])
def test_a_jump_host_that_cannot_be_trusted_is_dialled_once(
    kind: type[HopError], dials: Dials, lease: Callable[..., Future[Lease]]
) -> None:
    first = lease(BEHIND[0])
    dials.next()[1].set_exception(kind(DOWN.place, "the host key has changed", "Look."))
    with pytest.raises(kind, match=r"22: the host key has changed\. Look\."):
        first.result(10)
    with pytest.raises(kind, match=r"not tried again: .* s ago: the host key has changed\. The error of that attempt"):
        lease(BEHIND[1]).result(10)


@pytest.mark.parametrize("error", [DOWN, REFUSED], ids=["of a target", "of a login"])
def test_other_errors_spare_nobody_a_dial(error: HopError, dials: Dials, lease: Callable[..., Future[Lease]]) -> None:
    chain = BEHIND[0] if error is REFUSED else CHAIN
    for _time in range(2):
        asking = lease(chain)
        dials.next()[1].set_exception(type(error)(chain.place(0), error.problem, error.advice))
        with pytest.raises(HopError, match=error.problem):
            asking.result(10)


def test_who_waits_for_a_dial_that_nobody_wants_any_more_dials_by_himself(
    dials: Dials, lease: Callable[..., Future[Lease]], transports: TransportPool
) -> None:
    cancelled = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(transports.lease, SessionConfig(CHAIN), Report(print, print), False, cancelled)
        _chain, end = dials.next()
        second = lease(waits=True)
        cancelled.set()
        end.set_exception(REFUSED)
        with pytest.raises(LoginRefused):
            first.result(10)
    dials.next()[1].set_result(FakeLink())
    assert second.result(10).fresh


def test_without_room_for_a_thread_nothing_is_dialled(
    dials: Dials, transports: TransportPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_room(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", no_room)
        with pytest.raises(RuntimeError, match="new thread"):
            transports.lease(SessionConfig(CHAIN), Report(print, print))
    assert dials.begun.empty()
    with ThreadPoolExecutor(1) as pool:  # and later there is
        asking = pool.submit(transports.lease, SessionConfig(CHAIN, persist=0.0), Report(print, print))
        link = FakeLink()
        dials.next()[1].set_result(link)
        asking.result(10).release()
        assert link.closed.wait(10)


def test_nothing_is_dialled_anew_at_the_end(
    dials: Dials, lease: Callable[..., Future[Lease]], transports: TransportPool
) -> None:
    asking, jump = lease(BEHIND[0]), FakeLink()
    dials.next()[1].set_result(jump)
    dials.next()[1].set_result(FakeLink())
    asking.result(10)
    asking = lease(BEHIND[1])
    _chain, end = dials.next()
    transports.close()
    jump.is_dead = True
    end.set_exception(HopUnreachable(DOWN.place, "the broker on the controller was stopped", "The next task does."))
    with pytest.raises(HopUnreachable, match="was stopped"):
        asking.result(10)
    assert dials.begun.empty()


def test_a_dial_that_ends_after_the_end_is_closed(
    dials: Dials, lease: Callable[..., Future[Lease]], transports: TransportPool
) -> None:
    asking, link = lease(), FakeLink()
    _chain, end = dials.next()
    transports.close()
    end.set_result(link)
    with pytest.raises(HopUnreachable, match="was stopped"):
        asking.result(10)
    assert link.closed.is_set()


def test_a_link_is_watched_as_its_least_patient_user_wants(
    dials: Dials, lease: Callable[..., Future[Lease]], watched: list[tuple[float, int]]
) -> None:
    def looked_after(interval: float, count: int) -> Chain:
        return Chain((replace(HOP, transport=TransportOptions(alive_interval=interval, alive_count=count)),))

    first = lease(looked_after(0.0, 3))
    dials.next()[1].set_result(FakeLink())
    first.result(10)
    for interval, count in ((15.0, 3), (20.0, 3), (0.0, 3), (5.0, 2)):
        lease(looked_after(interval, count)).result(10)
    assert watched == [(15.0, 3), (5.0, 2)]


@pytest.mark.parametrize("state", ["open", "retired and in use"])
def test_the_end_closes_every_link(
    state: str, dials: Dials, lease: Callable[..., Future[Lease]], transports: TransportPool
) -> None:
    asking, link = lease(), FakeLink()
    dials.next()[1].set_result(link)
    leased = asking.result(10)
    if state != "open":
        leased.retire()
        assert not link.closed.is_set()
    transports.close()
    assert link.closed.is_set()


def test_a_link_that_has_died_is_closed_when_nobody_uses_it(dials: Dials, lease: Callable[..., Future[Lease]]) -> None:
    asking, link = lease(), FakeLink()
    dials.next()[1].set_result(link)
    leased = asking.result(10)
    link.is_dead = True
    leased.release()
    assert link.closed.wait(10)


# A machine that is suspended is played: the clock of lifetimes goes on, and what waits has slept.  trust: T56
@pytest.mark.parametrize("who", ["the sweeper", "the next task"])
def test_what_was_to_be_closed_in_a_suspend_is_not_used_after_it(
    who: str,
    dials: Dials,
    lease: Callable[..., Future[Lease]],
    transports: TransportPool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asleep = [0.0]
    monkeypatch.setattr(module, "lifetime", lambda: time.monotonic() + asleep[0])
    asking, link = lease(), FakeLink()
    dials.next()[1].set_result(link)
    asking.result(10).release()
    transports.look()
    leased = lease().result(10)
    assert not leased.fresh  # in time
    asleep[0] = 8 * 3600
    leased.release()
    assert not link.closed.is_set()
    asleep[0] = 16 * 3600
    if who == "the sweeper":
        transports.look()
    else:
        lease()
        dials.next()[1].set_result(FakeLink())
    assert link.closed.wait(10)


def test_a_link_whose_end_takes_long_holds_up_no_other(
    dials: Dials, lease: Callable[..., Future[Lease]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_CLOSING", 0.1)
    stuck, free, go = FakeLink(), FakeLink(), threading.Event()
    monkeypatch.setattr(stuck, "abort", lambda *_why: go.wait(30))
    leases = []
    for host, link in (("stuck", stuck), ("free", free)):
        asking = lease(Chain((replace(HOP, host=host),)))
        dials.next()[1].set_result(link)
        leases.append(asking.result(10))
    leases[0].retire()
    leases[0].release()
    leases[1].retire()
    leases[1].release()
    assert free.closed.wait(10)
    assert not stuck.closed.is_set()
    go.set()
    assert stuck.closed.wait(10)


def test_what_a_waiter_is_told_holds_up_nobody(dials: Dials, transports: TransportPool) -> None:
    """A worker that takes no more frames must not stop the others."""
    told, go = threading.Event(), threading.Event()

    def note(_line: str) -> None:
        told.set()
        go.wait(30)

    settings = SessionConfig(Chain((HOP,)))
    with ThreadPoolExecutor(3) as pool:
        pool.submit(transports.lease, settings, Report(print, print))
        _chain, end = dials.next()
        pool.submit(transports.lease, settings, Report(note, print))
        assert told.wait(10)
        other = pool.submit(transports.lease, SessionConfig(Chain((replace(HOP, host="other"),))), Report(print, print))
        dials.next()[1].set_exception(HopUnreachable("place", "problem", "advice"))
        with pytest.raises(HopUnreachable):
            other.result(10)
        go.set()
        end.set_exception(REFUSED)


# trust: T13 T32
def test_a_link_whose_key_came_into_doubt_is_used_by_no_task_that_has_claimed_it_either() -> None:
    """The first look finds the doubt; a second one may not take it for what the login was made with."""
    link: Any = FakeLink()
    doubted = FakeLink()
    doubted.secrets_allowed = False
    link.renewed = lambda *_arguments: doubted
    assert [module._is_good(link, HOP, "the place", Report(print, print)) for _look in range(2)] == [False, False]
