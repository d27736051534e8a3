# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Processes that want to log in to the same hop meet in a directory."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from lab import wait_until

from ansible_collections.bastion.ssh.plugins.plugin_utils.chain.model import Credentials, Hop
from ansible_collections.bastion.ssh.plugins.plugin_utils.deadline import Deadline
from ansible_collections.bastion.ssh.plugins.plugin_utils.errors import HopUnreachable, LoginRefused
from ansible_collections.bastion.ssh.plugins.plugin_utils.ssh.login_lock import LoginLock

WAY = (Hop("bastion", 22, Credentials("u", "SENTINEL")),)

PREAMBLE = """
import os, pathlib, time
from ansible_collections.bastion.ssh.plugins.plugin_utils.chain.model import Credentials, Hop
from ansible_collections.bastion.ssh.plugins.plugin_utils.errors import HopUnreachable, LoginRefused
from ansible_collections.bastion.ssh.plugins.plugin_utils.deadline import Deadline
from ansible_collections.bastion.ssh.plugins.plugin_utils.ssh.login_lock import LoginLock

directory = pathlib.Path(sys.argv[1])
way = (Hop("bastion", 22, Credentials("u", "SENTINEL")),)
turns = LoginLock(str(directory), "the run's")

def meet(name, count):
    (directory / name).mkdir(exist_ok=True)
    (directory / name / str(os.getpid())).touch()
    end = time.monotonic() + 10
    while len(os.listdir(directory / name)) < count:
        if time.monotonic() > end:
            return False
        time.sleep(0.005)
    return True

go()
"""

REFUSED = f"""{PREAMBLE}
try:
    with turns.hold(way, "the place", Deadline(30)):
        with open(directory / "attempts", "a") as stream:
            stream.write("x")
        raise LoginRefused("the place", "wrong password", "Check it.")
except LoginRefused as error:
    print(error)
"""


def files(directory: Path) -> list[Path]:
    """One for each login that was begun."""
    return list((directory / "bastion-ssh-logins").iterdir())


def hold(turns: LoginLock, seconds: float = 5, way: tuple[Hop, ...] = WAY) -> None:
    with turns.hold(way, "the place", Deadline(seconds)):
        pass


def refuse(turns: LoginLock, way: tuple[Hop, ...] = WAY, why: str = "wrong") -> None:
    with pytest.raises(LoginRefused, match=why), turns.hold(way, "the place", Deadline(5)):
        raise LoginRefused("the place", why, "Check it.")


# trust: T19
def test_one_wrong_password_is_one_failed_login_for_20_processes(
    outputs: Callable[..., list[str]], tmp_path: Path
) -> None:
    said = sorted(outputs(REFUSED, *[[str(tmp_path)]] * 20))
    assert (tmp_path / "attempts").read_text() == "x"
    later = "the place: not tried again, since this login was refused before in this run: wrong password."
    assert said.count("the place: wrong password. Check it.") == 1
    assert sum(line.startswith(later) for line in said) == 19
    assert "Check ansible_user, ansible_password and ansible_ssh_private_key_file." in said[0]


# trust: T39
def test_once_a_login_is_proven_those_who_waited_log_in_side_by_side(
    start: Callable[..., list[subprocess.Popen[str]]], tmp_path: Path
) -> None:
    script = f"""{PREAMBLE}
with turns.hold(way, "the place", Deadline(30)):
    print(meet("inside", 4))
"""
    turns = LoginLock(str(tmp_path), "the run's")
    with turns.hold(WAY, "the place", Deadline(5)):
        processes = start(script, *[[str(tmp_path)]] * 4)
        (path,) = files(tmp_path)
        wait_until(lambda: all(is_open(process.pid, path) for process in processes), 10, "they wait for their turns")
        assert not (tmp_path / "inside").exists()
    assert [process.communicate(timeout=30)[0] for process in processes] == ["True\n"] * 4


def is_open(pid: int, path: Path) -> bool:
    links = (os.path.join(f"/proc/{pid}/fd", name) for name in os.listdir(f"/proc/{pid}/fd"))
    return any(os.path.islink(link) and os.readlink(link) == str(path) for link in links)


# trust: T19
def test_a_turn_passes_on_when_its_holder_is_killed(
    start: Callable[..., list[subprocess.Popen[str]]], tmp_path: Path
) -> None:
    script = f"""{PREAMBLE}
with turns.hold(way, "the place", Deadline(30)):
    print("inside", flush=True)
    time.sleep(60)
"""
    (process,) = start(script, [str(tmp_path)])
    assert process.stdout is not None
    assert process.stdout.readline() == "inside\n"
    turns = LoginLock(str(tmp_path), "the run's")
    with pytest.raises(HopUnreachable, match=r"^the place: another worker is logging in .* within 0.1 seconds"):
        hold(turns, 0.1)
    process.kill()
    hold(turns)


# trust: T19
def test_what_a_login_did_is_remembered_until_it_is_forgotten(tmp_path: Path) -> None:
    turns = LoginLock(str(tmp_path), "the run's")
    refuse(turns)
    for other in (turns, LoginLock(str(tmp_path), "the run's")):
        with pytest.raises(LoginRefused, match="refused before in this run: wrong"):
            hold(other)
    turns.forget(WAY)
    hold(turns)
    turns.forget(WAY)
    hold(LoginLock(str(tmp_path), "the run's"))


# trust: T19
def test_a_login_that_was_proven_and_is_refused_later_is_not_tried_again(tmp_path: Path) -> None:
    turns = LoginLock(str(tmp_path), "the run's")
    hold(turns)
    refuse(turns, why="changed")
    with pytest.raises(LoginRefused, match="refused before in this run: changed"):
        hold(turns)


def test_a_login_that_nobody_answered_is_tried_again(tmp_path: Path) -> None:
    turns = LoginLock(str(tmp_path), "the run's")
    for _attempt in range(2):
        with pytest.raises(HopUnreachable), turns.hold(WAY, "the place", Deadline(5)):
            raise HopUnreachable("the place", "it is down", "Start it.")
    hold(turns)


BASTION = WAY[0]
NEXT = Hop("target", 22, Credentials("u"))


# trust: T19, T20
@pytest.mark.parametrize(
    ("other", "same"),
    [
        ((BASTION,), True),
        ((replace(BASTION, setting="ansible_ssh_jump[0]"),), True),
        ((replace(BASTION, timeout=99.0),), True),
        ((replace(BASTION, credentials=Credentials("u", "another")),), False),
        ((replace(BASTION, credentials=Credentials("v", "SENTINEL")),), False),
        ((replace(BASTION, host="other"),), False),
        ((replace(BASTION, port=2222),), False),
        ((NEXT, BASTION), False),
        ((BASTION, NEXT), False),
    ],
)
def test_a_refusal_counts_for_the_same_login_over_the_same_way(
    other: tuple[Hop, ...], same: bool, tmp_path: Path
) -> None:
    turns = LoginLock(str(tmp_path), "the run's")
    refuse(turns)
    if same:
        with pytest.raises(LoginRefused, match="refused before"):
            hold(turns, way=other)
    else:
        hold(turns, way=other)


# trust: T21, T57
def test_no_secret_and_nothing_that_others_can_read_is_in_the_directory(tmp_path: Path) -> None:
    names = set()
    for run in ("one", "two"):
        (tmp_path / run).mkdir()
        refuse(LoginLock(str(tmp_path / run), f"of {run}"))
        (path,) = files(tmp_path / run)
        names.add(path.name)
        for each in (path, path.parent):
            assert each.stat().st_mode & 0o077 == 0
        assert path.read_bytes() == b"wrong"
        assert re.fullmatch("[0-9a-f]{64}", path.name)
    assert len(names) == 2


FULL = """
import errno, fcntl, os, pathlib, subprocess
from ansible_collections.bastion.ssh.plugins.plugin_utils.chain.model import Credentials, Hop
from ansible_collections.bastion.ssh.plugins.plugin_utils.errors import LoginRefused
from ansible_collections.bastion.ssh.plugins.plugin_utils.deadline import Deadline
from ansible_collections.bastion.ssh.plugins.plugin_utils.ssh.login_lock import LoginLock

disk, trouble = sys.argv[1:]
os.unshare(os.CLONE_NEWNS)
subprocess.run(["mount", "--make-rprivate", "/"], check=True)
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k,nr_inodes=3", "tmpfs", disk], check=True)
way = (Hop("bastion", 22, Credentials("u", "SENTINEL")),)
turns = LoginLock(disk, "the run's")
go()

def tried():
    for outcome in (None, LoginRefused("the place", "wrong", "Check it."), None):
        try:
            with turns.hold(way, "the place", Deadline(1)):
                if outcome:
                    raise outcome
            yield "in"
        except LoginRefused as error:
            yield error.problem.split(",")[0]

if trouble == "no inode for the directory":
    pathlib.Path(disk, "a").touch()
    pathlib.Path(disk, "b").touch()
elif trouble == "no inode for a file":
    pathlib.Path(disk, "a").touch()
elif trouble == "no block":
    with open(os.path.join(disk, "a"), "wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            pass
elif trouble.startswith("read-only"):
    if trouble.endswith("refused"):
        list(tried())
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
elif trouble == "gone":
    subprocess.run(["umount", disk], check=True)
    os.rmdir(disk)
elif trouble == "no locks":  # as of some network file systems, which there are none of here
    def flock(_file, _operation):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))
    fcntl.flock = flock
print(list(tried()))
turns.forget(way)
"""


# trust: T19
@pytest.mark.skipif(not hasattr(os, "unshare") or os.geteuid() != 0, reason="mounts a disk that is full")
@pytest.mark.parametrize(
    ("trouble", "expected"),
    [
        ("none", ["in", "wrong", "not tried again"]),
        ("no inode for the directory", ["in", "wrong", "in"]),
        ("no inode for a file", ["in", "wrong", "in"]),
        ("no block", ["in", "wrong", "in"]),
        ("read-only", ["in", "wrong", "in"]),
        ("read-only, and refused", ["not tried again"] * 3),
        ("gone", ["in", "wrong", "in"]),
        ("no locks", ["in", "wrong", "not tried again"]),
    ],
)
def test_what_cannot_be_remembered_is_no_reason_to_fail(
    trouble: str, expected: list[str], outputs: Callable[..., list[str]], tmp_path: Path
) -> None:
    assert outputs(FULL, [str(tmp_path), trouble]) == [str(expected)]


@pytest.mark.parametrize(("directory", "key"), [(None, None), (None, "the run's"), ("{}", None)])
def test_without_a_directory_or_a_key_everyone_may_log_in_at_any_time(
    directory: str | None, key: str | None, tmp_path: Path
) -> None:
    turns = LoginLock(directory and directory.format(tmp_path), key)
    refuse(turns)
    assert list(tmp_path.iterdir()) == []
    hold(turns)
    turns.forget(WAY)
