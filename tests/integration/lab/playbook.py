# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run a real ansible-playbook, and collect its results for each host and task."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from . import processes
from .agent import Agent
from .lab import Lab

ROOT = Path(__file__).parents[3]
CALLBACKS = Path(__file__).parent / "callback_plugins"

Task = Mapping[str, Any]

#: A task that does nothing but connect.
TRUE: dict[str, Any] = {"name": "True", "ansible.builtin.raw": "true"}

#: A task that does nothing but run a module.
PING: dict[str, Any] = {"name": "Ping", "ansible.builtin.ping": {}}


class TaskResult(NamedTuple):
    """Hold the result of a task on a host."""

    host: str
    task: str
    status: str  # ok, failed, skipped or unreachable
    result: dict[str, Any]


@dataclass(frozen=True)
class Run:
    """Hold the outcome of a finished ansible-playbook."""

    rc: int
    stdout: str
    stderr: str
    all_results: list[TaskResult]
    recap: dict[str, dict[str, int]]
    path: Path

    def __repr__(self) -> str:
        return f"<run rc={self.rc}\n{self.text}>"

    @property
    def text(self) -> str:
        """Return everything that it printed."""
        return self.stdout + self.stderr

    @property
    def results(self) -> dict[str, list[TaskResult]]:
        """Return the results of each host, in order."""
        hosts: dict[str, list[TaskResult]] = {}
        for result in self.all_results:
            hosts.setdefault(result.host, []).append(result)
        return hosts

    def result(self, host: str, task: str | None = None) -> TaskResult:
        """Return the only result of a host, or that of the task with this name."""
        found = [result for result in self.results.get(host, []) if task in (None, result.task)]
        assert len(found) == 1, f"{len(found)} results of {task or 'a task'} on {host}: {self}"
        return found[0]

    def statuses(self) -> dict[str, list[str]]:
        """Return the statuses of each host's tasks, to compare all at once."""
        return {host: [result.status for result in results] for host, results in self.results.items()}

    def check(self) -> Run:
        """Assert that the exit status is 0."""
        assert self.rc == 0, self
        return self


def play(*tasks: Task, hosts: str = "all", **keywords: Any) -> dict[str, Any]:
    """Return a play of these tasks, without gathering facts."""
    return {"hosts": hosts, "gather_facts": False, **keywords, "tasks": list(tasks)}


def raw(command: str, name: str = "Raw", **more: Any) -> dict[str, Any]:
    """Return a task that runs a command line with ansible.builtin.raw; more: other keywords of the task."""
    return {"name": name, "ansible.builtin.raw": command, **more}


def _collections(lab: Lab) -> str:
    """Return the collections path of the environment; else one under the lab that holds this collection."""
    if path := os.environ.get("ANSIBLE_COLLECTIONS_PATH"):
        return path
    link = lab.path / "collections" / "ansible_collections" / "bastion" / "ssh"
    if not link.exists():
        link.parent.mkdir(parents=True)
        link.symlink_to(ROOT, target_is_directory=True)
    return str(lab.path / "collections")


def environment(lab: Lab, agent: Agent | None = None) -> dict[str, str]:
    """Return the environment of a run, with nothing of the caller's but its collections path."""
    remote = lab.path / "remote"
    remote.mkdir(exist_ok=True)
    remote.chmod(0o1777)
    config = lab.path / "ansible.cfg"
    config.touch()
    env = lab.environment(agent)
    return env | {
        "PATH": f"{Path(sys.executable).parent}:{env['PATH']}",
        "PYTHONDONTWRITEBYTECODE": "1",
        "ANSIBLE_SSH_CONFIG_FILE": "none",  # else that of the user who runs the tests
        "ANSIBLE_HOME": str(lab.home / ".ansible"),
        "ANSIBLE_CONFIG": str(config),
        "ANSIBLE_COLLECTIONS_PATH": _collections(lab),
        "ANSIBLE_REMOTE_TEMP": str(remote),
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_LOCALHOST_WARNING": "0",
        "ANSIBLE_INVENTORY_UNPARSED_WARNING": "0",
        "ANSIBLE_RETRY_FILES_ENABLED": "0",
        # Not this Python, which a target's user may not be able to reach.
        "ANSIBLE_PYTHON_INTERPRETER": shutil.which("python3", path=env["PATH"]) or sys.executable,
        "ANSIBLE_CALLBACK_PLUGINS": str(CALLBACKS),
        "ANSIBLE_CALLBACKS_ENABLED": "lab_results",
        **({} if lab.broker else {"ANSIBLE_SSH_PERSIST": "0"}),
    }


def playbook(
    lab: Lab,
    inventory: Mapping[str, Any],
    plays: Sequence[Mapping[str, Any]] | Mapping[str, Any],
    *,
    args: Sequence[str] = (),
    env: Mapping[str, str | None] | None = None,
    agent: Agent | None = None,
    timeout: float = 200,
    replace: Mapping[str, str] | None = None,
    beside: Path | None = None,
    shell: str = "",
) -> Run:
    """Run ansible-playbook to its end.

    inventory: host -> variables, or a whole YAML inventory (one that has "all");
    plays: one play or several (see play()); env: added to the clean environment, None removes a variable;
    replace: texts to replace in the inventory file, for what is not plain YAML; beside: the directory to link as collections/ beside
    the playbook; shell: a line of sh that runs it, in which "$@" is its command line.
    A run that does not end within ``timeout`` seconds is killed and fails the test.
    """
    path = Path(tempfile.mkdtemp(prefix="run-", dir=lab.path))
    whole = inventory if "all" in inventory else {"all": {"hosts": dict(inventory)}}
    text = yaml.safe_dump(whole, sort_keys=False)
    for old, new in (replace or {}).items():
        text = text.replace(old, new)
    (path / "inventory.yml").write_text(text)
    if beside:
        (path / "collections").symlink_to(beside)
    (path / "play.yml").write_text(yaml.safe_dump([plays] if isinstance(plays, Mapping) else list(plays)))
    full = environment(lab, agent) | {"LAB_RESULTS": str(path / "results")}
    full |= {name: value for name, value in (env or {}).items() if value is not None}
    for name in [name for name, value in (env or {}).items() if value is None]:
        full.pop(name, None)
    command = [str(Path(sys.executable).parent / "ansible-playbook"), "-i", "inventory.yml", *args, "play.yml"]
    if shell:
        command = ["sh", "-c", shell, "sh", *command]
    rc, stdout, stderr = run_command(command, path, full, timeout)
    results, recap = _read(path / "results")
    return Run(rc, stdout, stderr, results, recap, path)


def run_command(command: Sequence[str], path: Path, env: Mapping[str, str], timeout: float) -> tuple[int, str, str]:
    """Run a command in a directory; raise AssertionError if it, or a process that holds its output, does not end in time."""
    process = subprocess.Popen(
        command,
        cwd=path,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    try:
        stdout, stderr = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        ended = process.poll() is not None
        processes.end([process.pid, *processes.marked(str(path))])
        stdout, stderr = process.communicate()
        why = "ended, but left a process that holds its output" if ended else "did not end"
        raise AssertionError(f"{Path(command[0]).name} {why} within {timeout:g} s\n{stdout}{stderr}") from None
    return process.returncode, stdout, stderr


def _read(results: Path) -> tuple[list[TaskResult], dict[str, dict[str, int]]]:
    found: list[TaskResult] = []
    recap: dict[str, dict[str, int]] = {}
    for line in results.read_text().splitlines() if results.exists() else []:
        event = json.loads(line)
        if "recap" in event:
            recap = event["recap"]
        else:
            found.append(TaskResult(**event))
    return found, recap


def own_playbook(lab: Lab, name: str, *args: str, expected: int = 0, env: Mapping[str, str] | None = None) -> str:
    """Run a playbook of this collection, assert its exit status, and return what it prints."""
    command = [str(Path(sys.executable).parent / "ansible-playbook"), name, *args]
    rc, stdout, stderr = run_command(command, lab.path, environment(lab) | dict(env or {}), 60)
    assert rc == expected, stdout + stderr
    return stdout
