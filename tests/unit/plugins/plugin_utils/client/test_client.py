# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Brokers that leave early, to those who ask them."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from ansible_collections.bastion.ssh.plugins.connection import jump
from ansible_collections.bastion.ssh.plugins.plugin_utils.client import client
from ansible_collections.bastion.ssh.plugins.plugin_utils.client.address import BrokerUnavailable, broker_name
from ansible_collections.bastion.ssh.plugins.plugin_utils.client.client import BrokerSession
from ansible_collections.bastion.ssh.plugins.plugin_utils.client.interface import Report
from ansible_collections.bastion.ssh.plugins.plugin_utils.client.wire import FrameStream, PeerClosed
from ansible_collections.bastion.ssh.plugins.plugin_utils.errors import HopUnreachable, LinkLost, to_wire

PATIENCE = 1.0
OPTIONS = {"host": "192.0.2.1"}
Answer = Callable[[FrameStream], None]
Serve = Callable[..., list[Answer]]


@pytest.fixture
def session(tmp_path: Path) -> BrokerSession:
    tmp_path.chmod(0o700)
    return BrokerSession(OPTIONS, str(tmp_path), str(tmp_path), Report(print, print))


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Serve]:
    """Answers requests, one way after the other; the list grows by the answer to each."""
    threads = []
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / f"{broker_name()}.sock"))
        listening.listen()

        def serve(answers: tuple[Answer, ...], given: list[Answer]) -> None:
            with contextlib.suppress(OSError):  # the end of the test
                for answer in answers:
                    connection = FrameStream(listening.accept()[0])
                    given.append(answer)
                    answer(connection)
                    connection.close()

        def started(*answers: Answer) -> list[Answer]:
            given: list[Answer] = []
            threads.append(threading.Thread(target=serve, args=(answers, given)))
            threads[-1].start()
            return given

        yield started
        listening.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join(10)


def leaves(_connection: FrameStream) -> None:
    """Says nothing."""


def refuses_unasked(connection: FrameStream) -> None:
    connection.send({"event": "error", **to_wire(HopUnreachable("the broker", "is full", "Wait."))})


def commits_and_leaves(connection: FrameStream) -> None:
    connection.receive(10)
    connection.send({"event": "accepted", "place": "target", "seconds": 10})
    connection.send({"event": "committed"})


def commits_too_late(connection: FrameStream) -> None:
    """Begins when nobody waits any more."""
    connection.receive(10)
    assert connection.receive(10) is None
    with pytest.raises(PeerClosed):
        connection.send({"event": "committed"})


def keeps_it_waiting(connection: FrameStream) -> None:
    """For several times as long as a worker waits without a word."""
    connection.receive(10)
    for _time in range(4):
        connection.send({"event": "queued"})
        time.sleep(PATIENCE / 2)
    connection.send({"event": "error", **to_wire(HopUnreachable("the broker", "is full", "Wait."))})


def is_done(connection: FrameStream) -> None:
    connection.receive(10)
    connection.send({"event": "done"})


def test_a_task_finds_out_the_name_of_its_broker_once(
    session: BrokerSession, served: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Since that takes longer than a request."""
    name, found = broker_name(), list[str]()

    def find() -> str:
        found.append(name)
        return name

    monkeypatch.setattr(client, "broker_name", find)
    given = served(is_done, is_done)
    session.reset()
    session.reset()
    assert (len(given), len(found)) == (2, 1)


def does_it(connection: FrameStream, mode: object = None) -> None:
    connection.receive(10)
    descriptor = connection.take_descriptor()
    assert descriptor is not None
    os.write(descriptor, b"all")
    os.close(descriptor)
    connection.send({"event": "done", "mode": mode})


@pytest.mark.parametrize("lasting", [True, False])
def test_a_refusal_is_for_good_or_for_this_task(lasting: bool, session: BrokerSession, served: Serve) -> None:
    served(lambda connection: connection.send({"event": "refused", "why": "it says so", "lasting": lasting}))
    with pytest.raises(BrokerUnavailable, match=r"^it says so$") as caught:
        session.reset()
    assert caught.value.lasting is lasting


@pytest.mark.parametrize("lasting", [True, False])
def test_what_passes_turns_the_broker_off_for_one_task_only(
    lasting: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection is one that no inventory has made, with sessions that do nothing."""
    said: list[str] = []

    def refuse() -> None:
        raise BrokerUnavailable("it says so", lasting)

    def task() -> str:
        connection = jump.Connection.__new__(jump.Connection)
        connection._session = connection._session_options = connection._steering = None
        return str(connection._use(lambda session: session()))  # type: ignore[operator]

    monkeypatch.setattr(jump.display, "v", lambda words, **_host: said.append(words))
    monkeypatch.setattr(jump.Connection, "get_option", lambda *_name: None)
    options = {"persist": 60.0, "run_directory": str(tmp_path)}
    monkeypatch.setattr(jump.Connection, "session_options", lambda _self: options)
    monkeypatch.setattr(jump.Connection, "_own_session", lambda *_options: lambda: "own")
    with monkeypatch.context() as patched:
        patched.setattr(jump.Connection, "_broker_session", lambda *_options: refuse)
        assert task() == "own"
    monkeypatch.setattr(jump.Connection, "_broker_session", lambda *_options: lambda: "broker")
    assert task() == ("own" if lasting else "broker")
    which = ", so each task connects by itself" if lasting else " for this task, which connects by itself"
    assert said == [f"No broker{which}: it says so"]


def test_who_leaves_before_anything_was_done_is_asked_three_times(session: BrokerSession, served: Serve) -> None:
    asked = served(leaves, leaves, leaves, does_it)
    with pytest.raises(HopUnreachable, match="ended before it did anything"):
        session.start("true")
    assert len(asked) == 3


def test_what_a_broker_says_before_it_is_asked_is_heard(session: BrokerSession, served: Serve) -> None:
    asked = served(refuses_unasked, does_it)
    with pytest.raises(HopUnreachable, match="is full"):
        session.start("true " + "x" * 500_000)
    assert len(asked) == 1


# trust: T48
def test_who_leaves_after_it_began_is_not_asked_again(session: BrokerSession, served: Serve) -> None:
    asked = served(commits_and_leaves, does_it)
    with pytest.raises(LinkLost, match="target: the broker on the controller ended"):
        session.start("true")
    assert len(asked) == 1


@pytest.fixture
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "_ANSWER_SECONDS", PATIENCE)


# trust: T48
@pytest.mark.usefixtures("_impatient")
def test_who_is_silent_is_given_up_and_cannot_begin_any_more(session: BrokerSession, served: Serve) -> None:
    asked = served(commits_too_late, does_it)
    with pytest.raises(HopUnreachable, match="gave no answer in time; nothing was done"):
        session.start("true")
    assert len(asked) == 1


# trust: T48
def test_who_began_when_it_was_given_up_may_have_done_it() -> None:
    ours, theirs = socket.socketpair()
    request = client._Request(Report(print, print), {"op": "start"})
    request.send(ours)
    broker = FrameStream(theirs)
    broker.send({"event": "accepted", "place": "target", "seconds": 10})
    broker.send({"event": "committed"})
    request._give_up()
    with pytest.raises(LinkLost, match="gave no answer in time"):
        request.first_result()
    request.close()
    broker.close()


@pytest.mark.usefixtures("_impatient")
def test_who_says_that_others_come_first_is_not_given_up(session: BrokerSession, served: Serve) -> None:
    served(keeps_it_waiting)
    with pytest.raises(HopUnreachable, match="is full"):
        session.start("true")


def test_the_next_one_does_what_the_one_before_did_not(session: BrokerSession, served: Serve, tmp_path: Path) -> None:
    asked = served(leaves, does_it)
    session.fetch("/there", f"{tmp_path}/here")
    assert (tmp_path / "here").read_bytes() == b"all"
    assert len(asked) == 2


# trust: T55
@pytest.mark.parametrize(
    ("said", "mode"), [(0o700, 0o700), (2**40 | 0o7700, 0o700), (None, 0o600), ("700", 0o600), ([], 0o600)]
)
def test_a_new_file_has_the_permissions_that_the_broker_found(
    session: BrokerSession, served: Serve, tmp_path: Path, said: object, mode: int
) -> None:
    served(partial(does_it, mode=said))
    session.fetch("/there", f"{tmp_path}/here")
    assert stat.S_IMODE((tmp_path / "here").stat().st_mode) == mode
