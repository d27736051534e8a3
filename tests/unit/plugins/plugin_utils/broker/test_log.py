# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The log that several brokers write to."""

from __future__ import annotations

import fcntl
import logging
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from ansible_collections.bastion.ssh.plugins.plugin_utils.broker.log import LogFile
from ansible_collections.bastion.ssh.plugins.plugin_utils.client.address import Directory

LIMIT = 2000


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "place"


@pytest.fixture
def directory(place: Path) -> Iterator[Directory]:
    with Directory(str(place)) as opened:
        yield opened


def say(log: LogFile, number: int) -> None:
    log.handle(logging.makeLogRecord({"msg": f"line {number:04}"}))


def lines(place: Path) -> list[str]:
    return "".join((place / name).read_text() for name in sorted(os.listdir(place), reverse=True)).splitlines()


def test_it_is_bounded_and_what_two_write_is_not_lost(place: Path, directory: Directory) -> None:
    logs = [LogFile(directory, "broker.log", LIMIT) for _broker in range(2)]
    for number in range(60):
        for log in logs:
            say(log, number)
        written = [f"line {before:04}" for before in range(number + 1) for _log in logs]
        assert lines(place) == written[-len(lines(place)) :]
    for number in range(1000):
        say(logs[number % 2], number)
        assert sum(file.stat().st_size for file in place.iterdir()) <= 2 * LIMIT
    assert sorted(path.name for path in place.iterdir()) == ["broker.log", "broker.log.1"]
    assert {stat.S_IMODE(path.stat().st_mode) for path in place.iterdir()} == {0o600}
    for log in logs:
        log.close()
        log.close()


# trust: T27
def test_it_stays_in_its_directory_when_that_is_moved_and_a_symlink_has_its_name(
    place: Path, directory: Directory
) -> None:
    log = LogFile(directory, "broker.log", LIMIT)
    victim = place.with_name("victim")
    victim.write_text("not ours\n")
    place.rename(place.with_name("aside"))
    place.mkdir()
    for name in ("broker.log", "broker.log.1"):
        (place / name).symlink_to(victim)
    for number in range(2 * LIMIT // len("line 0000\n")):
        say(log, number)
    log.close()
    assert victim.read_text() == "not ours\n"
    assert all(path.is_symlink() for path in place.iterdir())
    assert lines(place.with_name("aside"))[-1] == f"line {number:04}"


# trust: T27
def test_a_symlink_is_never_written_to(place: Path, directory: Directory) -> None:
    victim = place.with_name("victim")
    victim.touch()
    log = LogFile(directory, "broker.log", LIMIT)
    (place / "broker.log").unlink()
    (place / "broker.log").symlink_to(victim)
    say(log, 0)
    (place / "broker.log").unlink()
    say(log, 1)
    assert (place / "broker.log").read_text() == "line 0001\n"
    (place / "broker.log").unlink()
    (place / "broker.log").symlink_to(victim)
    with pytest.raises(OSError, match="symbolic"):
        LogFile(directory, "broker.log", LIMIT)
    assert victim.read_text() == ""
    log.close()


def test_a_line_that_cannot_be_written_is_lost_and_no_error(place: Path, directory: Directory) -> None:
    log = LogFile(directory, "broker.log", LIMIT)
    (place / "broker.log").unlink()
    place.rmdir()
    say(log, 0)
    log.close()
    say(log, 1)


def test_a_broker_that_was_stopped_while_it_moved_the_file_holds_up_none(place: Path, directory: Directory) -> None:
    log = LogFile(directory, "broker.log", LIMIT)
    with (place / "broker.log").open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        for number in range(300):
            say(log, number)
        assert (place / "broker.log").stat().st_size == 3000
    say(log, 300)
    assert (place / "broker.log").read_text() == "line 0300\n"
    log.close()
