# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One run of ansible-playbook with a contender, and what it cost."""

from __future__ import annotations

import contextlib
import json
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from lab import environment, processes

from .contenders import Contender
from .network import Network

STOPWATCH = Path(__file__).with_name("stopwatch.py")
RECAP = re.compile(r"^\S+ +: ok=(\d+) +changed=", re.MULTILINE)
TIMEOUT = 600


@dataclass(frozen=True)
class Cost:
    """Of one run. Seconds and MiB; background is what it leaves behind; logins are those on each bastion; lost is the
    number of hosts that did not do every task.
    """

    wall: float
    cpu: float
    peak: float
    background: int
    background_cpu: float
    background_peak: float
    logins: tuple[int, int]
    lost: int


@contextlib.contextmanager
def fresh_home(network: Network, *, alone: bool = True) -> Iterator[Path]:
    """A home directory; what was started with it ends with it. Alone: the bastions are idle then, which is waited for."""
    home = network.home(secrets.token_hex(3))  # short, as paths of sockets have to be
    try:
        yield home
    finally:
        processes.end(processes.marked(f"{home}/"))
        if alone:
            network.settle()
        shutil.rmtree(home)


def run_environment(network: Network, contender: Contender, home: Path) -> dict[str, str]:
    """The environment of a run: a clean one, with this home and what the contender needs."""
    env = environment(network.lab) | {"HOME": str(home), "ANSIBLE_HOME": str(home / ".ansible")}
    # As in production: no callback of the tests, and compiled files are kept.
    for name in ("ANSIBLE_CALLBACK_PLUGINS", "ANSIBLE_CALLBACKS_ENABLED", "PYTHONDONTWRITEBYTECODE"):
        env.pop(name)
    return {**env, "ANSIBLE_PIPELINING": "1", **contender.env}


def inventory(network: Network, contender: Contender, hosts: int) -> dict[str, Any]:
    """The first targets of the network, and the bastions where a contender wants them as hosts."""
    places = network.places[:hosts]
    targets = {
        f"target{number}": {"ansible_host": address, "ansible_port": port}
        for number, (address, port) in enumerate(places, start=1)
    }
    bastions = {name: dict(variables) for name, variables in contender.bastions.items()}
    return {
        "all": {
            "children": {
                "targets": {"hosts": targets, "vars": dict(contender.variables)},
                "bastions": {"hosts": bastions},
            }
        }
    }


def run_tasks(network: Network, contender: Contender, home: Path, hosts: int, forks: int, tasks: int) -> Cost:
    """Run so many raw tasks on so many hosts."""
    path = Path(tempfile.mkdtemp(prefix="run-", dir=network.lab.path))
    play = {
        "hosts": "targets",
        "gather_facts": False,
        "tasks": [{"ansible.builtin.raw": "true"} for _task in range(tasks)],
    }
    (path / "inventory.yml").write_text(yaml.safe_dump(inventory(network, contender, hosts), sort_keys=False))
    (path / "play.yml").write_text(yaml.safe_dump([play]))
    tool = str(Path(sys.executable).with_name("ansible-playbook"))
    before = network.logins()
    with (path / "output").open("wb") as output:
        subprocess.run(
            [sys.executable, str(STOPWATCH), f"{home}/", "cost.json",
             tool, "--inventory", "inventory.yml", "--forks", str(forks), "play.yml"],
            cwd=path, env=run_environment(network, contender, home), stdin=subprocess.DEVNULL,
            stdout=output, stderr=subprocess.STDOUT, timeout=TIMEOUT, check=True,
        )  # fmt: skip
    logins = tuple(now - then for now, then in zip(network.logins(), before, strict=True))
    return _cost(path, (logins[0], logins[1]), hosts, tasks)


def _cost(path: Path, logins: tuple[int, int], hosts: int, tasks: int) -> Cost:
    output = (path / "output").read_text(errors="replace")
    recap = [int(ok) for ok in RECAP.findall(output)]
    if len(recap) != hosts:
        raise RuntimeError(f"a run told of {len(recap)} hosts in place of {hosts}:\n{output[-4000:]}")
    told = json.loads((path / "cost.json").read_text())
    told.pop("status")
    return Cost(**told, logins=logins, lost=sum(ok < tasks for ok in recap))
