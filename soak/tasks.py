# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A planned play in Ansible's words, and what it has to come to. Nothing is run here."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from .ledger import Expected
from .plan import COMMANDS, Kind, PlayPlan, TaskPlan

#: For a job that is left alone, and for a host that is waited for, in seconds.
PATIENCE = 30


@dataclass(frozen=True)
class Place:
    """A host, as its commands and files are found.

    :param address: that commands see as the server's.
    """

    address: str
    ledger: Path
    files: Path


@dataclass(frozen=True)
class Store:
    """The files that are moved, and where they come to on the controller.

    :param digests: size -> SHA-256 of the file of that size.
    """

    sources: Path
    fetched: Path
    digests: Mapping[int, str]

    def source(self, size: int) -> Path:
        """The file of that size; it is on the controller and on every host."""
        return self.sources / str(size)


def digest(*texts: str) -> str:
    """SHA-256."""
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()


def play(plan: PlayPlan, places: Mapping[str, Place], store: Store) -> dict[str, Any]:
    """The play; it goes on whatever happens to its tasks."""
    return {
        "name": f"Play {plan.number}",
        "hosts": ",".join(plan.hosts),
        "gather_facts": False,
        "ignore_errors": True,
        "ignore_unreachable": True,
        "strategy": plan.strategy,
        "tasks": [_task(plan, task, places, store) for task in plan.tasks],
    }


def variables(plan: PlayPlan) -> dict[str, Any]:
    """What holds for all hosts of the play."""
    told: dict[str, Any] = {
        "ansible_ssh_retries": plan.retries,
        "ansible_pipelining": plan.pipelining,
        "ansible_ssh_transfer_method": plan.method,
    }
    return told if plan.shared else told | {"ansible_ssh_persist": 0}


def expected(plan: PlayPlan, places: Mapping[str, Place], store: Store) -> Iterator[Expected]:
    """Of every task on every host."""
    for task in plan.tasks:
        for host in plan.hosts:
            address = places[task.delegate or host].address if task.kind in COMMANDS else ""
            content = _digest(plan, task, store)
            yield Expected(plan.number, task.number, task.kind, host, task.rc, address, content)


def arrived(plan: PlayPlan, task: TaskPlan, host: str, places: Mapping[str, Place], store: Store) -> Path | None:
    """Where the file of a task is when it is done; None if it brings none."""
    name = f"{plan.number}.{task.number}"
    if task.kind is Kind.COPY:
        return places[host].files / name
    return store.fetched / f"{name}.{host}" if task.kind is Kind.FETCH else None


def output(kind: Kind, result: Mapping[str, Any]) -> str:
    """The digest of what a command has written, as :func:`expected` has it."""
    if kind is Kind.OUTPUT:
        return digest(str(result.get("stdout", "")).strip(), str(result.get("stderr", "")).strip())
    if kind is Kind.STDIN:
        return str(result.get("stdout", "")).partition(" ")[0]
    return ""


def _digest(plan: PlayPlan, task: TaskPlan, store: Store) -> str:
    if task.kind is Kind.OUTPUT:
        return digest(_numbers(1, task.size), _numbers(2, task.size + 1))
    if task.kind is Kind.STDIN:
        return digest(_input(plan, task))
    return store.digests[task.size] if task.kind in (Kind.COPY, Kind.FETCH) else ""


def _numbers(first: int, last: int) -> str:
    return "\n".join(map(str, range(first, last + 1)))


def _input(plan: PlayPlan, task: TaskPlan) -> str:
    return Random(f"{plan.number} {task.number}").randbytes(task.size // 2 + 1).hex()


def _task(plan: PlayPlan, task: TaskPlan, places: Mapping[str, Place], store: Store) -> dict[str, Any]:
    keywords = _keywords(plan, task, places, store)
    return keywords if task.kind is Kind.RESET else {"name": str(task.number), **keywords}


def _keywords(plan: PlayPlan, task: TaskPlan, places: Mapping[str, Place], store: Store) -> dict[str, Any]:
    name = f"{plan.number}.{task.number}"
    own = "{{ soak_ledger }}"
    source = str(store.source(task.size))
    match task.kind:
        case Kind.RAW:
            return {"ansible.builtin.raw": _command(name, task, own)}
        case Kind.DELEGATED:
            ledger = str(places[task.delegate].ledger)
            return {"ansible.builtin.raw": _command(name, task, ledger), "delegate_to": task.delegate}
        case Kind.OUTPUT:
            numbers = f"seq 1 {task.size} & seq 2 {task.size + 1} >&2; wait"
            return {"ansible.builtin.raw": _command(name, task, own, numbers)}
        case Kind.SHELL:
            return {"ansible.builtin.shell": {"cmd": _command(name, task, own)}}
        case Kind.STDIN:
            command = _command(name, task, own, "sha256sum")
            return {"ansible.builtin.shell": {"cmd": command, "stdin": _input(plan, task), "stdin_add_newline": False}}
        case Kind.ASYNC:
            return {"ansible.builtin.shell": {"cmd": _command(name, task, own)}, "async": PATIENCE, "poll": 1}
        case Kind.COPY:
            return {"ansible.builtin.copy": {"src": source, "dest": "{{ soak_files }}/" + name}}
        case Kind.FETCH:
            dest = f"{store.fetched}/{name}." + "{{ inventory_hostname }}"
            return {"ansible.builtin.fetch": {"src": source, "dest": dest, "flat": True}}
        case Kind.RESET:
            return {"ansible.builtin.meta": "reset_connection"}
        case Kind.WAIT:
            return {"ansible.builtin.wait_for_connection": {"timeout": PATIENCE, "connect_timeout": 5}}


def _command(name: str, task: TaskPlan, ledger: str, work: str = "true") -> str:
    """Half of the time is before the line in the ledger, half after it."""
    token = name + ".{{ inventory_hostname }}"
    nap = f"sleep {task.pause / 2:g}" if task.pause else "true"
    return f"set -- $SSH_CONNECTION; {nap}; echo {token} $3 >>{ledger}; {work}; {nap}; exit {task.rc}"
