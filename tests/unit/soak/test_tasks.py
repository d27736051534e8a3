# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plans in Ansible's words, and what they have to come to."""

from __future__ import annotations

import hashlib
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from soak.plan import COMMANDS, Kind, PlayPlan, TaskPlan
from soak.tasks import Place, Store, arrived, expected, output, play, variables

ADDRESS = "127.1.2.3"


def places(path: Path) -> dict[str, Place]:
    return {
        "web": Place(ADDRESS, path / "web-ledger", path / "web-files"),
        "db": Place("127.1.2.4", path / "db-ledger", path / "db-files"),
    }


STORE = Store(Path("/sources"), Path("/fetched"), {10: "digest of ten"})


def planned(*tasks: TaskPlan, **more: Any) -> PlayPlan:
    return PlayPlan(8, ("web",), tasks, **more)


def command(task: TaskPlan, path: Path) -> tuple[str, str]:
    """The command line of a task, and its input."""
    (keywords,) = play(planned(task), places(path), STORE)["tasks"]
    line = keywords.get("ansible.builtin.raw") or keywords["ansible.builtin.shell"]["cmd"]
    stdin = keywords.get("ansible.builtin.shell", {}).get("stdin", "")
    ledger = str(path / "web-ledger")
    return line.replace("{{ inventory_hostname }}", "web").replace("{{ soak_ledger }}", ledger), stdin


@pytest.mark.parametrize("kind", [kind for kind in Kind if kind in COMMANDS])
def test_a_command_does_what_is_expected_of_it(kind: Kind, tmp_path: Path) -> None:
    task = TaskPlan(1, kind, rc=3, size=20, pause=0.01, delegate="db" if kind is Kind.DELEGATED else "")
    (meant,) = expected(planned(task), places(tmp_path), STORE)
    line, stdin = command(task, tmp_path)
    env = {"SSH_CONNECTION": f"127.0.0.1 40000 {meant.address} 22", "PATH": "/usr/bin:/bin"}
    done = subprocess.run(["sh", "-c", line], input=stdin, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == meant.rc == 3
    ledger = places(tmp_path)[task.delegate or "web"].ledger
    assert ledger.read_text() == f"{meant.token} {meant.address}\n"
    assert output(kind, {"stdout": done.stdout, "stderr": done.stderr}) == meant.digest


def test_torn_output_has_another_digest() -> None:
    whole = {"stdout": "1\n2\n3\n", "stderr": "4\n"}
    assert output(Kind.OUTPUT, whole) != output(Kind.OUTPUT, whole | {"stdout": "1\n2\n"})
    assert output(Kind.OUTPUT, whole) != output(Kind.OUTPUT, whole | {"stderr": ""})


@pytest.mark.parametrize(
    ("kind", "file"),
    [(Kind.COPY, "web-files/8.1"), (Kind.FETCH, "/fetched/8.1.web"), (Kind.RAW, None)],
)
def test_a_file_is_looked_for_where_its_task_puts_it(kind: Kind, file: str | None, tmp_path: Path) -> None:
    plan = planned(TaskPlan(1, kind, size=10))
    assert arrived(plan, plan.tasks[0], "web", places(tmp_path), STORE) == (tmp_path / file if file else None)
    if file:
        assert [each.digest for each in expected(plan, places(tmp_path), STORE)] == ["digest of ten"]
        assert Path(file).name.partition(".web")[0] in str(play(plan, places(tmp_path), STORE)["tasks"][0])


def test_the_input_of_a_command_is_its_digest(tmp_path: Path) -> None:
    plan = planned(TaskPlan(1, Kind.STDIN, size=1000))
    (each,) = expected(plan, places(tmp_path), STORE)
    _line, stdin = command(plan.tasks[0], tmp_path)
    assert len(stdin) >= 1000
    assert hashlib.sha256(stdin.encode()).hexdigest() == each.digest


def test_only_a_play_that_is_not_shared_goes_without_a_broker() -> None:
    plan = planned(retries=2, method="piped", pipelining=False)
    told = {"ansible_ssh_retries": 2, "ansible_pipelining": False, "ansible_ssh_transfer_method": "piped"}
    assert variables(plan) == told
    assert variables(replace(plan, shared=False)) == told | {"ansible_ssh_persist": 0}


def test_a_play_goes_on_whatever_happens(tmp_path: Path) -> None:
    made = play(planned(TaskPlan(1, Kind.RESET)), places(tmp_path), STORE)
    assert made["ignore_errors"]
    assert made["ignore_unreachable"]
    assert made["tasks"] == [{"ansible.builtin.meta": "reset_connection"}]
