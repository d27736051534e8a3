# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What people are told of brokers that cannot be asked."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from ansible_collections.bastion.ssh.plugins.plugin_utils.broker import control
from ansible_collections.bastion.ssh.plugins.plugin_utils.broker.control import ask, described


@pytest.fixture
def place(tmp_path: Path) -> Path:
    tmp_path.chmod(0o700)
    return tmp_path


@pytest.fixture
def silent(place: Path) -> Iterator[Path]:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(place / "name.sock"))
        sock.listen()
        yield place


def test_a_directory_that_is_not_there_has_no_broker(place: Path) -> None:
    assert list(ask([f"{place}/none"], "status")) == []


def test_a_directory_that_is_open_to_others_is_told_and_the_next_one_is_asked(silent: Path) -> None:
    other = silent / "open"
    other.mkdir()
    other.chmod(0o755)
    (silent / "name.sock").unlink()
    (silent / "name.sock").touch()
    first, second = ask([str(other), str(silent)], "status")
    assert "open to others" in first["problem"]
    assert described(first) == [first["problem"]]
    assert (second["directory"], second["name"]) == (str(silent), "name")


def test_what_a_killed_broker_has_left_is_told_and_taken_away(silent: Path) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(silent / "killed.sock"))
    (silent / "name.sock").unlink()
    assert [answer["problem"] for answer in ask([str(silent)], "status")] == ["the broker was killed"]
    (answer,) = ask([str(silent)], "stop")
    assert answer["problem"].endswith("its socket is removed")
    assert list(silent.iterdir()) == []


@pytest.mark.parametrize("request_", ["status", "stop"])
def test_one_that_does_not_answer_is_named_with_its_process(
    silent: Path, request_: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "_SECONDS", 0.1)
    (answer,) = ask([str(silent)], request_)
    assert answer["pid"] == os.getpid()
    assert described(answer) == [
        f"{silent}/name.sock: no answer; if ps shows that process {os.getpid()} is a broker, end it with kill -9 {os.getpid()}"
    ]
