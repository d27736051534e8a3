# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What runs on the controller: the broker, how much it holds, and what a run of Ansible has left behind."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab import Lab, processes
from lab.brokers import brokers

from .network import PERSIST

MIB = 1024 * 1024


def status(lab: Lab) -> dict[str, Any]:
    """What the broker says of itself; ``problem`` if it does not answer, and nothing without a broker."""
    from ansible_collections.bastion.ssh.plugins.plugin_utils.broker.control import ask

    answers = [answer for answer in ask([str(lab.broker_directory)], "status") if "transports" in answer]
    return answers[-1] if answers else {}


@dataclass(frozen=True)
class Held:
    """By an idle broker.

    :param memory: resident, in bytes.
    """

    pid: int
    memory: int
    files: tuple[str, ...]
    threads: int


def held(pid: int) -> Held:
    """By this process now."""
    found = re.search(r"^VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    assert found
    # Sockets and pipes have numbers that are others each time.
    names = []
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            names.append(os.readlink(link))
    files = sorted(re.sub(r":\[\d+\]$", "", name) for name in names)
    return Held(pid, 1024 * int(found[1]), tuple(files), len(os.listdir(f"/proc/{pid}/task")))


def is_idle(lab: Lab) -> bool:
    """Whether there is one broker, without connections and workers."""
    told = status(lab)
    return bool(told) and not told["transports"] and not told["workers"] and len(brokers(lab)) == 1


def when_idle(lab: Lab, like: Held | None = None) -> Held:
    """What the broker holds as soon as nobody uses it and it has closed all connections.

    :param like: what is waited for as well, a while; whoever asked for the status may not be gone yet.
    """
    processes.wait_until(lambda: is_idle(lab), 10 * PERSIST, "a broker without connections")
    (pid,) = brokers(lab)

    def kept() -> tuple[tuple[str, ...], int]:
        found = held(pid)
        return found.files, found.threads

    with contextlib.suppress(TimeoutError):
        if like is None:
            processes.settled(kept)
        else:
            processes.wait_until(lambda: kept() == (like.files, like.threads), 5 * PERSIST, "as many of both")
    return held(pid)


def stacks(pid: int) -> str:
    """What each thread of a process does, if py-spy is installed, which can tell."""
    tool = shutil.which("py-spy")
    if tool is None:
        return "py-spy is not installed\n"
    return subprocess.run([tool, "dump", "--pid", str(pid)], capture_output=True, text=True, check=False).stdout


def leftovers(lab: Lab) -> list[str]:
    """The command lines of what still runs, or is not reaped, beside the servers and the broker."""
    kept = {pid for host in lab.hosts for pid in (host.pid, *host.sessions())} | set(brokers(lab))
    running = [pid for pid in lab.running() if pid not in kept]
    found = [processes.command_line(pid).replace(b"\0", b" ").decode(errors="replace") for pid in running]
    return found + [f"zombie {pid} of broker {broker}" for broker in brokers(lab) for pid in processes.zombies(broker)]


class Watched:
    """Asks the broker how it is, again and again; so it never ends by itself, and what it holds can be compared.

    :ivar history: what it was each time.
    """

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="soak watch", daemon=True)
        self.pids: list[int] = []
        self.most_memory = 0
        self.history: list[str] = []

    def _run(self) -> None:
        while not self._over.wait(1):
            with contextlib.suppress(OSError, AssertionError):
                told = status(self._lab)
                if told:
                    self._look(told)

    def _look(self, told: dict[str, Any]) -> None:
        now = held(told["pid"])
        self.most_memory = max(self.most_memory, now.memory)
        self.pids += [now.pid] if now.pid not in self.pids else []
        self.history.append(
            f"{time.strftime('%H:%M:%S')} broker {now.pid}: {now.memory / MIB:.1f} MiB, {len(now.files)} descriptors,"
            f" {now.threads} threads, {len(told['transports'])} connections, {told['workers']} tasks"
        )

    @contextlib.contextmanager
    def running(self) -> Iterator[Watched]:
        """Meanwhile."""
        self._thread.start()
        try:
            yield self
        finally:
            self._over.set()
            self._thread.join(30)
