# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Silent links are given up. The links are mocks: what blocks in a real one depends on buffers of two systems."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any, cast

import paramiko
import pytest

from ansible_collections.bastion.ssh.plugins.plugin_utils.ssh.keepalive import Keepalive
from ansible_collections.bastion.ssh.plugins.plugin_utils.ssh.link import Link

INTERVAL = 0.05


class Silent:
    """Answers nothing; what happens when it is given up is for the test to say."""

    is_dead = False

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
