# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Real commands whose standard streams carry a connection."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from lab import wait_until

from ansible_collections.bastion.ssh.plugins.plugin_utils.chain.model import Credentials, Hop
from ansible_collections.bastion.ssh.plugins.plugin_utils.chain.tokens import expand_command
from ansible_collections.bastion.ssh.plugins.plugin_utils.ssh.proxy_command import ProxyProcess

Run = Callable[[str], ProxyProcess]


@pytest.fixture
def run() -> Iterator[Run]:
    """Starts a command, and ends it at the end of the test."""
    started: list[ProxyProcess] = []

    def starter(command: str) -> ProxyProcess:
        process = ProxyProcess(command)
        process.sock.settimeout(20)
        started.append(process)
        return process

    yield starter
    for process in started:
        process.close()


def everything(process: ProxyProcess) -> bytes:
    """All output up to its end."""
    return b"".join(iter(lambda: process.sock.recv(65536), b""))


def children() -> set[int]:
    """The processes, dead ones included, whose parent is this one."""
    found = set()
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                stat = Path("/proc", name, "stat").read_text()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if int(stat.rpartition(")")[2].split()[1]) == os.getpid():
                found.add(int(name))
    return found


def is_gone(pid: int) -> bool:
    try:
        return Path("/proc", str(pid), "stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


def told_pid(path: Path) -> int:
    return int(wait_until(lambda: path.exists() and path.read_text().strip(), 20, f"a process id in {path}"))


def test_its_input_and_output_are_one_connection(run: Run) -> None:
    process = run("cat")
    for data in (b"SSH-2.0-x\r\n", bytes(range(256))):
        process.sock.sendall(data)
        received = b""
        while len(received) < len(data):
            received += process.sock.recv(65536)
        assert received == data
    process.sock.shutdown(socket.SHUT_WR)
    assert process.sock.recv(1) == b""
    assert process.explain() == "the ProxyCommand exited with status 0"


# trust: T22
@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("true", "the ProxyCommand exited with status 0"),
        ("false", "the ProxyCommand exited with status 1"),
        ("sh -c 'exit 255'", "the ProxyCommand exited with status 255"),
        ("sh -c 'echo no route >&2; exit 7'", "the ProxyCommand exited with status 7: no route"),
        ("sh -c 'echo one >&2; echo; echo two >&2; exit 7'", "the ProxyCommand exited with status 7: one two"),
        ("sh -c 'kill -9 $$'", "the ProxyCommand was ended by signal SIGKILL"),
        ("sh -c 'echo last words >&2; kill -TERM $$'", "the ProxyCommand was ended by signal SIGTERM: last words"),
        ("sh -c 'kill -40 $$'", "the ProxyCommand was ended by signal 40"),
        (r"printf '\033[2J{{ x }}\n' >&2", "the ProxyCommand exited with status 0: [2J{ { x } }"),
    ],
)
def test_its_end_is_the_end_of_the_connection_and_is_explained(command: str, expected: str, run: Run) -> None:
    process = run(command)
    everything(process)
    assert process.explain() == expected
    process.close()
    assert process.explain() == expected


# trust: T22
def test_a_command_that_is_not_there_is_explained_by_the_shell(run: Run) -> None:
    process = run("/nonexistent/command")
    assert everything(process) == b""
    words = process.explain()
    assert words.startswith("the ProxyCommand exited with status 127: ")
    assert "/nonexistent/command" in words


# trust: T22
def test_a_command_that_is_killed_ends_the_connection_at_once(run: Run, tmp_path: Path) -> None:
    process = run(f"sh -c 'echo $$ > {tmp_path}/pid; exec sleep 60'")
    os.kill(told_pid(tmp_path / "pid"), signal.SIGKILL)
    started = time.monotonic()
    assert everything(process) == b""
    assert process.explain() == "the ProxyCommand was ended by signal SIGKILL"
    assert time.monotonic() - started < 2


def test_a_command_that_closes_its_output_and_runs_on_is_explained(run: Run) -> None:
    process = run("sh -c 'echo busy >&2; exec sleep 60 <&- >&-'")
    assert everything(process) == b""
    assert process.explain() == "the ProxyCommand is still running: busy"


# trust: T23
def test_much_stderr_blocks_nothing_and_its_last_words_are_kept(run: Run) -> None:
    process = run("sh -c 'head -c 1048576 /dev/zero | tr \"\\0\" x >&2; echo out; echo the reason >&2; exit 3'")
    assert everything(process) == b"out\n"
    words = process.explain()
    assert words.startswith("the ProxyCommand exited with status 3: ...xxx")
    assert words.endswith("xxxthe reason")
    assert len(words) < 400


# trust: T23
def test_200_runs_leave_no_process_thread_or_descriptor() -> None:
    ProxyProcess("true").close()
    before = children(), threading.active_count(), sorted(os.listdir("/proc/self/fd"))
    for number in range(200):
        process = ProxyProcess(("true", "cat", "sh -c 'echo x >&2; exit 1'", "sleep 60")[number % 4])
        if number % 8 in (0, 2):
            process.explain()
        process.close()
        process.close()
    assert (children(), threading.active_count(), sorted(os.listdir("/proc/self/fd"))) == before


def test_a_shell_that_cannot_be_started_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    before = children(), sorted(os.listdir("/proc/self/fd"))
    monkeypatch.setenv("SHELL", "/nonexistent/shell")
    with pytest.raises(FileNotFoundError):
        ProxyProcess("true")
    assert (children(), sorted(os.listdir("/proc/self/fd"))) == before


HOP = Hop("target", 2222, Credentials("me"))


# trust: T24
@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("echo %h %p %r %n %%", b"target 2222 me target %\n"),
        ("echo out; echo never", b"out\n"),
        ("echo out 2>/dev/null", b"out\n"),
        ("sh -c 'echo err >&2; echo out' 2>/dev/null", b"out\n"),
        ("echo abc | tr a-z A-Z", b"ABC\n"),
        ('sh -c "echo %h %p | tr a-z A-Z"', b"TARGET 2222\n"),
        ("sh -c 'exec echo \"$0\" \"$1\"' %h '%p x'", b"target 2222 x\n"),
        ("env A=$((1+1)) sh -c 'echo $A'", b"2\n"),
        ("echo \\$HOME '$HOME'", b"$HOME $HOME\n"),
        ("echo a\necho b", b"a\n"),
    ],
)
def test_published_recipes_mean_what_they_mean_to_ssh(
    command: str, expected: bytes, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHELL", "/bin/sh")
    assert everything(run(expand_command(command, HOP))) == expected


# trust: T24
def test_it_is_the_users_shell_that_runs_it(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shell = tmp_path / "shell"
    shell.write_text('#!/bin/sh\nprintf "%s|" "$@"\n')
    shell.chmod(0o700)
    monkeypatch.setenv("SHELL", str(shell))
    assert everything(run("nc h 22")) == b"-c|exec nc h 22|"
    monkeypatch.setenv("SHELL", "")
    assert everything(run("echo sh")) == b"sh\n"


def test_it_takes_the_place_of_its_shell(run: Run, tmp_path: Path) -> None:
    run(f"sh -c 'echo $PPID > {tmp_path}/parent; exec sleep 60'")
    assert told_pid(tmp_path / "parent") == os.getpid()


# trust: T21
def test_it_has_no_terminal_and_no_descriptor_of_ours(run: Run) -> None:
    with open("/dev/null", "rb") as inheritable:
        os.set_inheritable(inheritable.fileno(), True)
        process = run("sh -c '(: </dev/tty); ls /proc/self/fd; cut -d\" \" -f6 /proc/$$/stat; echo $$'")
        words = everything(process).decode().split()
    assert words[:-2] == ["0", "1", "2", "3"]  # the last is the directory that ls reads
    assert words[-1] == words[-2]
    assert "/dev/tty" in process.explain()


# trust: T33
@pytest.mark.parametrize("begin", ["", 'trap "" HUP; '], ids=["", "nohup"])
@pytest.mark.parametrize("end", ["sleep 60", "wait", "exit 1", 'trap "" HUP; while :; do sleep 1; done'])
def test_what_it_started_is_ended_with_it(begin: str, end: str, run: Run, tmp_path: Path) -> None:
    before = children()
    process = run(f"sh -c '{begin}sleep 60 & echo $! > {tmp_path}/pid; {end}'")
    pid = told_pid(tmp_path / "pid")
    if end == "exit 1":
        assert process.explain().startswith("the ProxyCommand exited with status 1")
    assert not is_gone(pid)
    started = time.monotonic()
    process.close()
    assert time.monotonic() - started < 5
    assert children() == before
    wait_until(lambda: is_gone(pid), 5, "the sleep has ended")
