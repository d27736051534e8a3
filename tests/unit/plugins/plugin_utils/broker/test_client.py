# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Brokers that leave early, to those who ask them."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ansible_collections.bastion.ssh.plugins.plugin_utils.broker.address import NoBroker, broker_name
from ansible_collections.bastion.ssh.plugins.plugin_utils.broker.client import BrokerSession
from ansible_collections.bastion.ssh.plugins.plugin_utils.broker.wire import Connection
from ansible_collections.bastion.ssh.plugins.plugin_utils.errors import HopUnreachable, LinkLost, packed
from ansible_collections.bastion.ssh.plugins.plugin_utils.ssh.interface import Report

OPTIONS = {"host": "192.0.2.1"}
Answer = Callable[[Connection], None]


@pytest.fixture
def session(tmp_path: Path) -> BrokerSession:
    tmp_path.chmod(0o700)
    return BrokerSession(OPTIONS, str(tmp_path), str(tmp_path), Report(print, print))


@pytest.fixture
def listening(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(tmp_path / f"{broker_name()}.sock"))
        sock.listen()
        yield sock


def served(listening: socket.socket, *answers: Answer) -> list[int]:
    """Answers so many requests, as long as the test lasts; grows by one with each."""
    served: list[int] = []

    def serve() -> None:
        for answer in answers:
            connection = Connection(listening.accept()[0])
            served.append(1)
            answer(connection)
            connection.close()

    threading.Thread(target=serve, daemon=True).start()
    return served


def leaves(_connection: Connection) -> None:
    """Says nothing."""


def refuses_unasked(connection: Connection) -> None:
    connection.send({"event": "error", **packed(HopUnreachable("the broker", "is full", "Wait."))})


def commits_and_leaves(connection: Connection) -> None:
    connection.receive(10)
    connection.send({"event": "accepted", "place": "hop 1 of 1", "seconds": 10})
    connection.send({"event": "committed"})


def does_it(connection: Connection) -> None:
    connection.receive(10)
    descriptor = connection.take_descriptor()
    assert descriptor is not None
    os.write(descriptor, b"all")
    os.close(descriptor)
    connection.send({"event": "done"})


def test_who_leaves_before_anything_was_done_is_asked_three_times(
    session: BrokerSession, listening: socket.socket
) -> None:
    asked = served(listening, leaves, leaves, leaves, does_it)
    with pytest.raises(NoBroker, match="ended before it answered"):
        session.start("true")
    assert len(asked) == 3


def test_what_a_broker_says_before_it_is_asked_is_heard(session: BrokerSession, listening: socket.socket) -> None:
    asked = served(listening, refuses_unasked, does_it)
    with pytest.raises(HopUnreachable, match="is full"):
        session.start("true " + "x" * 500_000)
    assert len(asked) == 1


# trust: T48
def test_who_leaves_after_it_began_is_not_asked_again(session: BrokerSession, listening: socket.socket) -> None:
    asked = served(listening, commits_and_leaves, does_it)
    with pytest.raises(LinkLost, match="hop 1 of 1: the broker on the controller ended"):
        session.start("true")
    assert len(asked) == 1


def test_the_next_one_does_what_the_one_before_did_not(
    session: BrokerSession, listening: socket.socket, tmp_path: Path
) -> None:
    asked = served(listening, leaves, does_it)
    session.fetch("/there", f"{tmp_path}/here")
    assert (tmp_path / "here").read_bytes() == b"all"
    assert len(asked) == 2
