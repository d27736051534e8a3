# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Turns of workers at a process that may open few files. trust: T41"""

from __future__ import annotations

import threading

import pytest

from ansible_collections.bastion.ssh.plugins.plugin_utils.broker.admission import Admission
from ansible_collections.bastion.ssh.plugins.plugin_utils.pool.transports import TransportPool

FEW, MANY = 3, 10**6


class Counted(TransportPool):
    """Counts how often those that are idle have to go."""

    retired = 0

    def retire_idle(self) -> None:
        self.retired += 1


def admission(limit: int) -> tuple[Admission, Counted]:
    transports = Counted()
    return Admission(transports, limit), transports


def never() -> None:
    raise AssertionError("it has to wait")


def test_where_there_are_many_everybody_comes_in_and_is_served() -> None:
    many, transports = admission(MANY)
    for _worker in range(100):
        assert many.admits()
        many.enter()
    with many.slot(never), many.slot(never), many.slot(never):
        assert many.workers == 100
    assert transports.retired == 0


def test_one_is_always_served_and_idle_connections_make_room() -> None:
    few, transports = admission(FEW)
    assert few.admits()
    few.enter()
    with few.slot(never):
        assert not few.admits()
    few.leave()
    assert few.admits()
    assert transports.retired == 1


def test_the_next_one_waits_and_comes_when_the_one_before_has_ended() -> None:
    few, _transports = admission(FEW)
    waiting, served = threading.Event(), threading.Event()

    def second() -> None:
        with few.slot(waiting.set):
            served.set()

    thread = threading.Thread(target=second)
    with few.slot(never):
        thread.start()
        assert waiting.wait(10)
        assert not served.is_set()
    thread.join(4)  # less than it takes to look by itself
    assert served.is_set()


def test_who_leaves_while_it_waits_is_waited_for_no_more() -> None:
    few, _transports = admission(FEW)

    def gone() -> None:
        raise ConnectionError

    with few.slot(never), pytest.raises(ConnectionError), few.slot(gone):
        raise AssertionError("it was served")
    with few.slot(never):
        pass


def test_whoever_ends_waits_until_all_workers_have_left() -> None:
    many, _transports = admission(MANY)
    assert many.all_gone(0)
    many.enter()
    assert not many.all_gone(0)
    leaving = threading.Timer(0.05, many.leave)
    leaving.start()
    assert many.all_gone(10)
    leaving.join()
