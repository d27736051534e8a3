# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs of ansible-playbook, and the account of each."""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml
from lab import environment, processes

from . import tasks
from .ledger import Expected, Seen, Violation, seen, tokens, violations
from .network import Network, file_digest
from .plan import FILES, PlayPlan

#: Seconds without a result after which a play hangs; no single task can take so long.
PATIENCE = 300
#: The same where a worker was killed: with the strategy free, Ansible waits for its result for ever.
PATIENCE_WITH_WOUNDED = 60
#: Of a play that ends as it should: all well, failed hosts, unreachable hosts, both.
_ENDS = {0, 2, 4, 6}
_DEFECTS = ("Traceback (most recent call last)", "Unexpected Exception", "unexpected error", "the broker failed with")


@dataclass(frozen=True)
class Played:
    """A run that has ended."""

    plan: PlayPlan
    path: Path
    found: dict[tuple[int, str], tuple[Expected, Seen]]
    violations: list[Violation]


class Player:
    """Runs plays in a network.

    :ivar wounded: the directories of runs of which a worker was killed, or which were ended early.
    :ivar stopped: no run goes on.
    """

    def __init__(self, network: Network) -> None:
        self._network = network
        self._path = network.lab.path / "soak/plays"
        self._path.mkdir()
        (self._path / "inventory.yml").write_text(yaml.safe_dump(network.inventory, sort_keys=False))
        self.wounded: set[Path] = set()
        self.stopped = threading.Event()

    def run(self, plan: PlayPlan) -> Played:
        """Play it, and look what has become of it."""
        path = self._path / str(plan.number)
        path.mkdir()
        rc = self._ansible(plan, path)
        told = self._told(path, rc)
        complete = path not in self.wounded
        results = _results(path / "results")
        ledger = self.ledger()
        found = {
            (each.task, each.host): (each, self._seen(plan, each, results, ledger))
            for each in tasks.expected(plan, self._network.places, self._network.store)
        }
        wrong = [Violation(plan.number, "", "", words) for words in told if complete]
        for each, was in found.values():
            # What a run that broke off lacks is one defect, told above.
            wrong += violations(each, was, complete=complete and rc in _ENDS)
        return Played(plan, path, found, wrong)

    def ledger(self) -> dict[str, tuple[str, ...]]:
        """Every token of all hosts, and where it was written."""
        return tokens("".join(place.ledger.read_text() for place in self._network.places.values()))

    def forget(self, played: Played) -> None:
        """Delete what a run has made."""
        shutil.rmtree(played.path)
        for task in played.plan.tasks:
            for host in played.plan.hosts if task.kind in FILES else ():
                file = tasks.arrived(played.plan, task, host, self._network.places, self._network.store)
                if file:
                    file.unlink(missing_ok=True)

    def _ansible(self, plan: PlayPlan, path: Path) -> int | None:
        """The exit status; None if it had to be ended."""
        lab = self._network.lab
        (path / "play.yml").write_text(
            yaml.safe_dump([tasks.play(plan, self._network.places, self._network.store)], sort_keys=False)
        )
        (path / "variables.json").write_text(json.dumps(tasks.variables(plan)))
        tool = str(Path(sys.executable).parent / "ansible-playbook")
        env = environment(lab) | {"LAB_RESULTS": str(path / "results"), "PYTHONFAULTHANDLER": "1"}
        with (path / "output").open("wb") as output:
            process = subprocess.Popen(
                [tool, "-i", "../inventory.yml", "-e", "@variables.json", "-f", str(plan.forks), "play.yml"],
                cwd=path, env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
            )  # fmt: skip
            try:
                return self._wait(process, path)
            finally:
                if process.poll() is None:
                    _end(process)

    def _wait(self, process: subprocess.Popen[bytes], path: Path) -> int | None:
        """The exit status; None when there was no result for too long."""
        results = path / "results"
        size, since = -1, time.monotonic()
        while time.monotonic() - since < (PATIENCE_WITH_WOUNDED if path in self.wounded else PATIENCE):
            with contextlib.suppress(subprocess.TimeoutExpired):
                return process.wait(1)
            if self.stopped.is_set():
                self.wounded.add(path)
                break
            now = results.stat().st_size if results.exists() else 0
            if now != size:
                size, since = now, time.monotonic()
        return None

    def _told(self, path: Path, rc: int | None) -> list[str]:
        """What is wrong with the whole run."""
        output = (path / "output").read_text(errors="replace")
        if rc is None:
            return [f"it hung: no result for {PATIENCE} s"]
        problems = [f"it ended with {rc}: {output[-2000:]}"] if rc not in _ENDS else []
        lines = [line for line in output.splitlines() if any(defect in line for defect in _DEFECTS)]
        return problems + [f"it said: {line[:2000]}" for line in lines[:3]]

    def _seen(
        self,
        plan: PlayPlan,
        each: Expected,
        results: dict[tuple[int, str], tuple[str, dict[str, Any]]],
        ledger: dict[str, tuple[str, ...]],
    ) -> Seen:
        status, result = results.get((each.task, each.host), ("", {}))
        task = plan.tasks[each.task - 1]
        file = tasks.arrived(plan, task, each.host, self._network.places, self._network.store)
        content = file_digest(file) if file else tasks.output(each.kind, result) if status == "ok" else ""
        return replace(seen(status, result), ran=ledger.get(each.token, ()), digest=content)


def _results(path: Path) -> dict[tuple[int, str], tuple[str, dict[str, Any]]]:
    """(task, host) -> status and result."""
    found = {}
    for line in path.read_text().splitlines() if path.exists() else []:
        with contextlib.suppress(json.JSONDecodeError):  # the last one of a run that was killed
            event = json.loads(line)
            if "task" in event and event["task"].isdigit():
                found[int(event["task"]), event["host"]] = (event["status"], event["result"])
    return found


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a run that hangs; Python's fault handler writes first what each of its processes was doing."""
    family = [*reversed(processes.descendants(process.pid)), process.pid]
    for pid in family:
        if b"ansible" in processes.command_line(pid):
            processes.send(pid, signal.SIGABRT)
    processes.end([pid for pid in family if processes.is_alive(pid)])
    process.wait(10)
