# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read processes from /proc, and end them by their ids, with all their descendants."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

PROC = Path("/proc")
SAME = 20


def wait_until(condition: Callable[[], T], timeout: float, what: str) -> T:
    """Return the first true value of a condition; raise TimeoutError after ``timeout`` seconds, with ``what`` did not happen."""
    deadline = time.monotonic() + timeout
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {timeout:g} s: {what}")
        time.sleep(0.005)
    return value


def settled(look: Callable[[], T]) -> T:
    """Return a value once it stays the same for a while; start over when what it is read from vanishes."""
    seen: list[T] = []

    def same() -> bool:
        try:
            seen.append(look())
        except FileNotFoundError:
            seen.clear()
        return len(seen) > SAME and all(each == seen[-1] for each in seen[-SAME:])

    wait_until(same, 30, "nothing changes any more")
    return seen[-1]


def pids() -> Iterator[int]:
    """Return every process id of the machine."""
    return (int(entry) for entry in os.listdir(PROC) if entry.isdigit())


def _stat(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat after the command name; empty if there is no such process."""
    try:
        return (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def started(pid: int) -> int | None:
    """Return when a process started, in clock ticks since boot; with its id, this identifies a process for ever."""
    fields = _stat(pid)
    return int(fields[19]) if fields else None


def parent(pid: int) -> int:
    """Return the parent of a process; 0 if the process is gone."""
    fields = _stat(pid)
    return int(fields[1]) if fields else 0


def owner(pid: int) -> int | None:
    """Return the user id of a process; None if it is gone."""
    try:
        return (PROC / str(pid)).stat().st_uid
    except FileNotFoundError:
        return None


def cpu_seconds(pid: int) -> float:
    """Return the processor time that a process has used, in seconds; 0 if it is gone."""
    fields = _stat(pid)
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK") if fields else 0


def descriptors(pid: int) -> int:
    """Return how many file descriptors a process has open."""
    return len(os.listdir(PROC / str(pid) / "fd"))


def is_alive(pid: int) -> bool:
    """Return whether a process exists and is not a zombie."""
    fields = _stat(pid)
    return bool(fields) and fields[0] not in "ZX"


def zombies(of: int | None = None) -> list[int]:
    """Return the unreaped children of a process, by default of this one."""
    mine = str(of or os.getpid())
    return [pid for pid in pids() if (fields := _stat(pid)) and fields[0] == "Z" and fields[1] == mine]


def descendants(root: int) -> list[int]:
    """Return the children of a process, their children and so on, without zombies."""
    children: dict[int, list[int]] = {}
    for pid in pids():
        fields = _stat(pid)
        if fields and fields[0] not in "ZX":
            children.setdefault(int(fields[1]), []).append(pid)
    found: list[int] = []
    level = [root]
    while level:
        level = [child for pid in level for child in children.get(pid, [])]
        found += level
    return found


def environment(pid: int) -> bytes:
    """Return the environment with which a process was started; empty if it is gone."""
    try:
        return (PROC / str(pid) / "environ").read_bytes()
    except OSError:
        return b""


def command_line(pid: int) -> bytes:
    """Return the arguments of a process, each followed by a NUL; empty if it is gone."""
    try:
        return (PROC / str(pid) / "cmdline").read_bytes()
    except OSError:
        return b""


def marked(mark: str, since: int = 0) -> list[int]:
    """Return the live processes in whose environment or command line a text occurs; since: started then or later, in clock ticks.

    Both are needed, as a process that sets its title, such as sshd or a multiplexing ssh, overwrites its environment.
    """
    text = mark.encode()
    return [
        pid
        for pid in pids()
        if pid != os.getpid()
        and (started(pid) or -1) >= since
        and (text in environment(pid) or text in command_line(pid))
        and is_alive(pid)
    ]


def send(pid: int, number: int) -> None:
    """Send a signal to a process, if it still exists."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def end(processes: Iterable[int], timeout: float = 10) -> None:
    """Kill these processes with all their descendants, and wait until all are gone, at most ``timeout`` seconds."""
    frozen: list[int] = []
    level = list(processes)
    # Stop them first, so that none forks between the search and the kill.
    while level:
        for pid in level:
            send(pid, signal.SIGSTOP)
        frozen += level
        level = [pid for root in frozen for pid in descendants(root)]
        level = [pid for pid in dict.fromkeys(level) if pid not in frozen]
    for pid in frozen:
        send(pid, signal.SIGKILL)
    wait_until(lambda: not any(is_alive(pid) for pid in frozen), timeout, f"end of processes {frozen}")


def end_child(process: subprocess.Popen[bytes] | subprocess.Popen[str]) -> int:
    """Kill a child process with all its descendants, reap it, and return its status."""
    if process.poll() is None:
        end([process.pid])
    return process.wait(10)
