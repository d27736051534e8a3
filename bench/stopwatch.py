# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs a command and tells what it cost: time, processor and memory, the processes that it leaves behind included.

stopwatch MARK REPORT COMMAND...

Processes belong to the command if MARK is in their environment or arguments; so it does not count what servers do for it.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

PROC = Path("/proc")
TICK = os.sysconf("SC_CLK_TCK")
PR_SET_CHILD_SUBREAPER = 36
INTERVAL = 0.3
SHARE = 20  # the pause after a look is at least so many times as long as the look


def cpu_seconds(pid: int) -> float:
    """Of a process and the children that it has reaped; 0 when it is gone."""
    try:
        fields = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return sum(int(field) for field in fields[11:15]) / TICK


def _kib(pid: int, file: str, name: str) -> int:
    with contextlib.suppress(OSError):
        for line in (PROC / str(pid) / file).read_text().splitlines():
            if line.startswith(name):
                return int(line.split()[1])
    return 0


class Marked:
    """The live processes of the command; each is looked at once only, as looking costs what is being measured."""

    def __init__(self, mark: str) -> None:
        self._mark = mark.encode()
        self._ours: dict[int, bool] = {os.getpid(): False}

    def pids(self) -> list[int]:
        """Those of now."""
        present = {int(entry) for entry in os.listdir(PROC) if entry.isdigit()}
        self._ours = {pid: ours for pid, ours in self._ours.items() if pid in present}
        for pid in present - self._ours.keys():
            self._ours[pid] = self._is_ours(pid)
        return [pid for pid, ours in self._ours.items() if ours]

    def _is_ours(self, pid: int) -> bool:
        # Both: a process that sets its title, such as a multiplexing ssh, overwrites its environment.
        for file in ("environ", "cmdline"):
            with contextlib.suppress(OSError):
                if self._mark in (PROC / str(pid) / file).read_bytes():
                    return True
        return False


class Sampler(threading.Thread):
    """Looks a few times per second how much memory the processes have together; shared pages count once (PSS)."""

    def __init__(self, marked: Marked) -> None:
        super().__init__(daemon=True)
        self._marked = marked
        self._end = threading.Event()
        self.peak = 0

    def run(self) -> None:
        pause = INTERVAL
        while not self._end.wait(pause):
            start = time.monotonic()
            total = sum(_kib(pid, "smaps_rollup", "Pss:") for pid in self._marked.pids())
            self.peak = max(self.peak, total)
            pause = max(INTERVAL, SHARE * (time.monotonic() - start))

    def stop(self) -> None:
        """No look is going on afterwards."""
        self._end.set()
        self.join()


def run(mark: str, command: list[str]) -> dict[str, float]:
    """The costs; what is left behind is told apart under the names with background."""
    # Orphans become our children, so that what they used is known when they end.
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")
    marked = Marked(mark)
    before = {pid: cpu_seconds(pid) for pid in marked.pids()}
    sampler = Sampler(Marked(mark))
    sampler.start()
    reaped = 0.0
    start = time.monotonic()
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    pid = 0
    while pid != process.pid:
        pid, status, usage = os.wait4(-1, 0)
        reaped += usage.ru_utime + usage.ru_stime
    wall = time.monotonic() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    sampler.stop()
    left = marked.pids()
    background = sum(cpu_seconds(pid) - before.get(pid, 0) for pid in left)
    return {
        "status": process.returncode,
        "wall": wall,
        "cpu": reaped + background,
        "peak": sampler.peak / 1024,
        "background": len(left),
        "background_cpu": background,
        "background_peak": sum(_kib(pid, "status", "VmHWM:") for pid in left) / 1024,
    }


if __name__ == "__main__":
    Path(sys.argv[2]).write_text(json.dumps(run(sys.argv[1], sys.argv[3:])))
