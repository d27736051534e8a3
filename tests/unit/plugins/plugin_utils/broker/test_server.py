# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the broker keeps of the settings that it has read, and for how long."""

from __future__ import annotations

import contextlib
import errno
import gc
import json
import math
import os
import socket
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.bastion.ssh.plugins.plugin_utils import loading
from ansible_collections.bastion.ssh.plugins.plugin_utils.broker import server
from ansible_collections.bastion.ssh.plugins.plugin_utils.broker.server import Broker
from ansible_collections.bastion.ssh.plugins.plugin_utils.chain.model import Chain
from ansible_collections.bastion.ssh.plugins.plugin_utils.client.address import Directory
from ansible_collections.bastion.ssh.plugins.plugin_utils.pool.identity import hop_identities

DEFINITIONS = json.loads(Path(loading.__file__).with_name("definitions.json").read_text())
AROUND = {"login_name": "me", "directory": "/", "config_file": "none", "environment": {}, "remote_addr": "target"}
OPTIONS = {name: option.get("default") for name, option in DEFINITIONS.items()} | AROUND


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    """One that serves no workers."""
    (tmp_path / "broker").mkdir(0o700)
    with Directory(str(tmp_path / "broker")) as directory, socket.socket(socket.AF_UNIX) as listening:
        listening.bind(directory.address("x.new"))
        made = Broker(directory, "x", listening)
        yield made
        with contextlib.closing(made._waker), contextlib.closing(made._woken):
            made.transports.close()
            os.close(made._spare)


def read(broker: Broker, **options: Any) -> weakref.ref[Chain]:
    """Reads the options of a request, as far as the steps of its chain, and lets go of what it has got."""
    chain = broker.settings(OPTIONS | {"task": "a", "run_directory": "b", "run_key": "c"} | options).chain
    hop_identities(chain)
    return weakref.ref(chain)


def let_time_pass(broker: Broker, monkeypatch: pytest.MonkeyPatch, quiet: float, busy: float) -> None:
    monkeypatch.setattr(server, "_QUIET", quiet)
    monkeypatch.setattr(server, "_BUSY", busy)
    broker._forget_runs()


# trust: T57
def test_what_was_read_is_found_again_by_requests_of_the_same_options(broker: Broker) -> None:
    first = broker.settings(OPTIONS | {"password": "SECRET", "task": "a"})
    again = broker.settings(OPTIONS | {"password": "SECRET", "task": "b", "run_key": "c"})
    assert again.chain is first.chain
    assert (first.task, again.task, again.run_key) == ("a", "b", "c")
    other = broker.settings(OPTIONS | {"password": "ANOTHER"}).chain
    assert other.target.credentials.password == "ANOTHER"
    assert not any(secret in repr(vars(broker._settings).values()) for secret in ("SECRET", "ANOTHER"))


# trust: T57
def test_what_was_read_is_gone_when_nothing_was_asked_for_a_while(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    chain = read(broker, password="SECRET")
    let_time_pass(broker, monkeypatch, math.inf, math.inf)
    assert chain() is not None
    let_time_pass(broker, monkeypatch, 0, math.inf)
    assert chain() is None


# trust: T57
def test_links_wait_for_a_collection_only_when_something_was_read(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    collected: list[int] = []
    monkeypatch.setattr(gc, "collect", lambda: collected.append(1))

    def collections_in_a_pause() -> int:
        collected.clear()
        let_time_pass(broker, monkeypatch, 0, math.inf)
        return len(collected)

    read(broker)
    assert [collections_in_a_pause(), collections_in_a_pause()] == [1, 0]
    broker.admission.enter()  # one that asks for something else, such as what there is
    broker._gone()
    assert collections_in_a_pause() == 0
    broker.admission.enter()
    read(broker)
    assert collections_in_a_pause() == 1
    broker._gone()  # which lets go of what was read for it no sooner
    assert collections_in_a_pause() == 1
    broker.admission.enter()
    broker._gone()
    assert collections_in_a_pause() == 0


# trust: T57
def test_what_one_run_has_read_is_gone_while_another_goes_on(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    ended, goes_on = read(broker, password="SECRET"), read(broker, password="ANOTHER")
    for _time in range(2):
        let_time_pass(broker, monkeypatch, math.inf, -math.inf)
        assert read(broker, password="ANOTHER")() is goes_on() is not None
    assert ended() is None


# trust: T58
@pytest.mark.parametrize(
    ("found", "lasting"),
    [
        ({"Uid": "another"}, True),
        (PermissionError(errno.EACCES, "denied"), True),
        (FileNotFoundError(errno.ENOENT, "gone"), False),
        (OSError(errno.ENOMEM, "no memory"), False),
    ],
)
def test_a_worker_hears_whether_it_is_refused_for_good(
    found: Any, lasting: bool, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def look(*_peer: object) -> Any:
        if isinstance(found, OSError):
            raise found
        return found

    monkeypatch.setattr(server, "rights_of_peer", look)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        refusal = broker._refusal(ours)
    assert refusal is not None
    assert (refusal["event"], refusal["lasting"]) == ("refused", lasting)
