# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Silent links are given up, and no others. The links are mocks: what blocks in a real one depends on buffers of two systems."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any, cast

import paramiko
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.bastion.ssh.plugins.plugin_utils.ssh.keepalive import Keepalive, _Watch
from ansible_collections.bastion.ssh.plugins.plugin_utils.ssh.link import Link

INTERVAL = 0.05


class Silent:
    """Answers nothing; what happens when it is given up is for the test to say."""

    is_dead = False
    serves = True

    def __init__(self) -> None:
        self.heard_at = time.monotonic()
        self.transport = self
        self.aborted = threading.Event()
        self.go = threading.Event()

    def global_request(self, _kind: str, wait: bool) -> None:
        assert wait
        self.go.wait(30)

    def give_up(self, why: str) -> None:
        assert why == "no answer to keepalives for 0.1 seconds"
        self.aborted.set()
        self.go.wait(30)


@pytest.fixture
def links() -> Iterator[list[Any]]:
    made = [Silent() for _link in range(3)]
    yield made
    for link in made:
        link.go.set()


@pytest.fixture
def keepalive() -> Iterator[Keepalive]:
    made = Keepalive()
    made.start()
    yield made
    made.stop()


# trust: T34
def test_one_that_cannot_be_ended_at_once_holds_up_no_other(keepalive: Keepalive, links: list[Any]) -> None:
    for link in links:
        keepalive.watch(cast(Link, link), INTERVAL, 2)
    assert [link.aborted.wait(10) for link in links] == [True] * 3


class Idle(Silent):
    """Has nothing to say, and answers after a time."""

    def __init__(self) -> None:
        super().__init__()
        self.answered = threading.Semaphore(0)

    def global_request(self, _kind: str, wait: bool) -> None:
        assert wait
        time.sleep(0.2)
        self.heard_at = time.monotonic()
        self.answered.release()


# trust: T34
@pytest.mark.parametrize("count", [1, 2])
def test_one_is_asked_before_it_is_judged(keepalive: Keepalive, count: int) -> None:
    link = Idle()
    keepalive.watch(cast(Link, link), 0.5, count)
    for _time in range(3):
        assert link.answered.acquire(timeout=10)
    assert not link.aborted.is_set()


class Busy(Silent):
    """Answers nothing, as there is so much else to be received before."""

    looks = 0
    looked = threading.Event()

    @property
    def heard_at(self) -> float:
        self.looks += 1
        if self.looks > 20:
            self.looked.set()
        return time.monotonic()

    @heard_at.setter
    def heard_at(self, _value: float) -> None:
        pass


def test_one_on_which_something_arrives_is_kept(keepalive: Keepalive) -> None:
    link = Busy()
    keepalive.watch(cast(Link, link), INTERVAL, 2)
    assert link.looked.wait(10)
    assert not link.aborted.is_set()
    link.go.set()


class Impatient(Silent):
    """Does not wait for the answer as long as the link is waited for, as the library in a key exchange."""

    def global_request(self, _kind: str, wait: bool) -> None:
        raise paramiko.SSHException("Key-exchange timed out")


def test_one_that_cannot_even_be_asked_is_given_up(keepalive: Keepalive) -> None:
    link = Impatient()
    keepalive.watch(cast(Link, link), INTERVAL, 2)
    assert link.aborted.wait(10)
    link.go.set()


def test_whoever_cannot_be_asked_now_is_asked_later(
    keepalive: Keepalive, links: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    start, refused = threading.Thread.start, threading.Event()

    def starts(thread: threading.Thread) -> None:
        if thread.name == "keepalive-probe" and not refused.is_set():
            refused.set()
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", starts)
    keepalive.watch(cast(Link, links[0]), INTERVAL, 2)
    assert refused.wait(10)
    assert links[0].aborted.wait(10)


# The time is played from here on: when a look comes, when an answer is read, and when the process is stopped.

FIRST = 1000.0
NEVER = math.inf
Stops = Sequence[tuple[float, float]]  # when one begins, and how long it is


class Played:
    """Answers what it is asked, after a time, until it falls silent."""

    def __init__(self, heard_at: float, answers_after: float, silent_from: float, serves_from: float) -> None:
        self.transport = self
        self._serves_from = serves_from
        self.is_dead = False
        self.heard_at = heard_at
        self.now = 0.0
        self.answers: list[float] = []
        self.ended = threading.Event()
        self._answers_after = answers_after
        self._silent_from = silent_from

    @property
    def serves(self) -> bool:
        return self.now >= self._serves_from

    def global_request(self, _kind: str, wait: bool) -> None:
        assert wait
        if self.now < self._silent_from:
            self.answers.append(self.now + self._answers_after)

    def give_up(self, _why: str) -> None:
        self.ended.set()


def awake(moment: float, stops: Stops, lag: float = 0.0) -> float:
    """When that is done which was to be done at a moment; lag: how long it takes where we were stopped then."""
    ends = ((start, start + length + lag) for start, length in stops)
    return next((end for start, end in ends if start <= moment < end), moment)


def running(moment: float, stops: Stops) -> float:
    """The seconds for which we have run until then."""
    return moment - FIRST - sum(min(length, max(0.0, moment - start)) for start, length in stops)


def ended_at(
    count: int,
    silent_from: float = NEVER,
    stops: Stops = (),
    *,
    heard_at: float = FIRST,
    serves_from: float = FIRST,
    answers_after: float = 0.05,
    lag: float = 0.02,
    until: float = 20.0,
) -> float | None:
    """Plays a link that is watched at intervals of a second; returns when it is ended.

    lag: seconds after a stop until what has come meanwhile is read; the look that was due is before that.
    """
    link = Played(heard_at, answers_after, silent_from, serves_from)
    watch = _Watch(cast(Link, link), 1.0, count, FIRST)
    while watch.due < FIRST + until:
        link.now = awake(watch.due, stops)
        came = [read for answer in link.answers if (read := awake(answer, stops, lag)) <= link.now]
        link.heard_at = max(link.heard_at, *came, -math.inf)
        link.answers = [answer for answer in link.answers if awake(answer, stops, lag) > link.now]
        again = watch.look(link.now)
        probe = watch._probe
        assert probe is not None
        probe._thread.join(10)
        if not again:
            assert link.ended.wait(10)
            return link.now
    return None


# trust: T34
@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("heard_at", [FIRST, FIRST - 600], ids=["just now", "long ago"])
@pytest.mark.parametrize("answers_after", [0.0, 0.05, 0.6])
def test_one_that_answers_is_kept_however_long_nothing_else_came(
    count: int, heard_at: float, answers_after: float
) -> None:
    assert ended_at(count, heard_at=heard_at, answers_after=answers_after) is None


# As for ssh(1), one request at least must be without an answer for an interval.  trust: T34
@pytest.mark.parametrize("count", [1, 2, 3])
def test_one_that_falls_silent_is_given_up_in_time(count: int) -> None:
    for tenths in range(1, 40):
        silent_from = FIRST + tenths / 10
        end = ended_at(count, silent_from)
        assert end is not None
        assert count - 1.05 <= end - silent_from <= max(2, count) + 0.2


# trust: T56
@pytest.mark.parametrize(("lag", "length"), [(0.02, 3.0), (0.6, 3.0), (0.02, 1.0)])
@pytest.mark.parametrize("count", [1, 2])
def test_one_that_answers_is_kept_whenever_we_are_stopped(count: int, lag: float, length: float) -> None:
    for hundredths in range(50, 350):
        stops = [(FIRST + hundredths / 100, length)]
        assert ended_at(count, stops=stops, lag=lag, until=10) is None, hundredths


def stops_after(gaps: Stops) -> list[tuple[float, float]]:
    """The stops; gaps: for how long we run before each, and its length."""
    found, moment = [], FIRST
    for before, length in gaps:
        found.append((moment + before, length))
        moment += before + length
    return found


_STOPS = st.lists(st.tuples(st.floats(0.5, 4), st.floats(0.2, 30)), max_size=4)


# trust: T56
@settings(deadline=None, max_examples=50)
@given(st.integers(1, 3), _STOPS)
def test_one_that_answers_is_kept_however_often_we_are_stopped(count: int, gaps: Stops) -> None:
    assert ended_at(count, stops=stops_after(gaps), until=150) is None


# trust: T56, T34
@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_one_that_dies_while_we_are_stopped_is_asked_and_then_given_up(count: int, share: float) -> None:
    for tenths in range(1, 40):
        (start, length) = FIRST + tenths / 10, 8.0
        died = start + share * length
        end = ended_at(count, died, [(start, length)])
        assert end is not None
        asked = end - (start + length)
        silent = running(end, [(start, length)]) - running(died, [(start, length)])
        assert 0.5 <= asked <= max(2, count) + 0.2
        assert count - 1.05 <= silent <= max(2, count) + 0.2


@pytest.mark.parametrize("count", [1, 2, 3])
def test_one_that_logs_in_still_has_the_time_for_that_and_then_as_long_as_any(count: int) -> None:  # trust: T34
    served = FIRST + 10.5  # with the answer to the first request
    assert ended_at(count, answers_after=9.5, serves_from=served) is None
    end = ended_at(count, FIRST, serves_from=served)
    assert end is not None
    assert count - 1.05 <= end - served <= max(2, count) + 0.2


def test_one_that_is_dead_is_given_up_though_every_look_comes_late() -> None:  # trust: T34
    stops = [(FIRST + 1.5 * number, 1.2) for number in range(100)]
    end = ended_at(2, FIRST + 0.1, stops)
    assert end is not None


def test_looks_at_many_links_are_as_far_apart_after_a_stop_as_before() -> None:  # trust: T56
    begun = [FIRST, FIRST + 0.25, FIRST + 0.5]
    links = [Played(start, 0.0, NEVER, FIRST) for start in begun]
    watches = [_Watch(cast(Link, link), 1.0, 3, start) for link, start in zip(links, begun, strict=True)]
    for watch in watches:
        assert watch.look(FIRST + 10.625)
    assert sorted(watch.due - FIRST for watch in watches) == [11, 11.25, 11.5]
