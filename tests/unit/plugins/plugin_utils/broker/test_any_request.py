# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever a worker asks for: one answer, no word of a secret, no file but the worker's own. No transport is opened: the
transports are ones that refuse every login."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest
import yaml
from corpora import replaying, values
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.bastion.ssh.plugins.connection.jump import DOCUMENTATION
from ansible_collections.bastion.ssh.plugins.plugin_utils.broker.admission import Admission
from ansible_collections.bastion.ssh.plugins.plugin_utils.broker.requests import Broker, RequestHandler
from ansible_collections.bastion.ssh.plugins.plugin_utils.client.wire import FrameStream
from ansible_collections.bastion.ssh.plugins.plugin_utils.errors import JumpError, LoginRefused, from_wire
from ansible_collections.bastion.ssh.plugins.plugin_utils.pool.transports import TransportPool
from ansible_collections.bastion.ssh.plugins.plugin_utils.settings import SessionConfig, read_settings

SECONDS = 10.0
OPTIONS = {name: option.get("default") for name, option in yaml.safe_load(DOCUMENTATION)["options"].items()}
USUAL = OPTIONS | {
    "remote_addr": "target",
    "login_name": "me",
    "directory": "/",
    "environment": {},
    "password": "S3CRET",
}


class Refusing:
    """Transports that nobody gets."""

    count = 0

    def lease(self, *_arguments: object) -> None:
        raise LoginRefused("the hop", "it refused the login", "")

    reset = lease


class Served:
    """What a conversation needs of the broker, and what it asked of it."""

    def __init__(self) -> None:
        self.transports = cast(TransportPool, Refusing())
        self.admission = Admission(self.transports, 4096)
        self.stopped = False

    def settings(self, options: dict[str, Any]) -> SessionConfig:
        return read_settings(json.loads(json.dumps(options)))

    def status(self) -> dict[str, Any]:
        return {}

    def stop(self) -> None:
        self.stopped = True


Answers = list[dict[str, Any]]
ConfigLookup = Callable[[bytes, int | None], tuple[Answers, Served]]


def said(header: dict[str, Any]) -> bytes:
    """A worker's frame; options are those of the documentation, but for what it changes."""
    if isinstance(header.get("options"), dict):
        header = header | {"options": USUAL | header["options"]}
    return framed(json.dumps(header).encode())


def framed(head: bytes) -> bytes:
    return len(head).to_bytes(4, "big") + bytes(4) + head


def ask(data: bytes, descriptor: int | None = None) -> tuple[Answers, Served]:
    """All that a worker hears until its conversation is over."""
    broker = Served()
    near, far = socket.socketpair()
    answers: Answers = []
    with near, contextlib.closing(FrameStream(far)) as connection:
        socket.send_fds(near, [data], [] if descriptor is None else [descriptor])
        near.shutdown(socket.SHUT_WR)
        RequestHandler(connection, cast(Broker, broker)).run()
        connection.close()
        with contextlib.closing(FrameStream(near)) as worker:
            while (frame := worker.receive(SECONDS)) is not None:
                answers.append(frame.header)
    return answers, broker


LOG: list[str] = []


@pytest.fixture(autouse=True, scope="module")
def log() -> Iterator[None]:
    """What the broker notes."""
    handler = logging.Handler()
    handler.emit = lambda record: LOG.append(record.getMessage())  # type: ignore[method-assign]
    broker = logging.getLogger("bastion.ssh.broker")
    broker.addHandler(handler)
    yield
    broker.removeHandler(handler)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats() | st.sampled_from(["", "a", "u@a:22", "\ud800", "-J a", "%h", "\0"])
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["host", "user", "a"]), inner, max_size=2),
    max_leaves=4,
)  # fmt: skip
CHANGES = st.dictionaries(st.sampled_from(sorted(OPTIONS)), JSON, max_size=3)
OPERATIONS = st.sampled_from(["start", "put", "fetch", "reset", "survey", "status", "stop", "exec", ""])
HEADERS = st.builds(
    lambda operation, options, rest: {"op": operation, "options": options, "command": "x", "source": "/s", "target": "/t"} | rest,
    OPERATIONS | JSON, CHANGES | JSON, st.dictionaries(st.sampled_from(["command", "source", "target", "pty", "accept", "fingerprints"]), JSON, max_size=2),
)  # fmt: skip


# trust: T21, T28, T31
@replaying({why: (header, True) for why, header in values("requests").items()})
@replaying({why: (header, False) for why, header in values("requests").items()})
@given(st.tuples(HEADERS, st.booleans()))
def test_any_request_has_one_answer_without_a_secret(asked: tuple[dict[str, Any], bool]) -> None:
    header, with_file = asked
    LOG.clear()
    before = os.listdir("/proc/self/fd")
    with open(os.devnull, "r+b", buffering=0) as null:
        answers, broker = ask(said(header), null.fileno() if with_file else None)
    assert len(os.listdir("/proc/self/fd")) == len(before)
    assert [each["event"] in ("done", "error") for each in answers] == [False] * (len(answers) - 1) + [True]
    assert broker.stopped == (header.get("op") == "stop")
    assert "S3CRET" not in json.dumps(answers) + "".join(LOG)
    if answers[-1]["event"] == "error":
        error = from_wire(answers[-1])
        assert isinstance(error, JumpError)
        assert "the broker failed" not in str(error), LOG
    else:
        assert header["op"] in ("status", "stop", "survey")


# trust: T28
@given(st.binary(max_size=60) | st.binary(max_size=60).map(framed))
def test_what_is_no_request_is_told_so(data: bytes) -> None:
    answers, broker = ask(data)
    assert not broker.stopped
    assert [each["event"] for each in answers] == ["error"] * bool(data)
    for each in answers:
        assert "the broker cannot read the request" in str(from_wire(each))
