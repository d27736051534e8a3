# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the costs of bastion.ssh.jump grow with the number of targets, all of which stay connected."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from .contenders import OURS, Contender, contender
from .network import Network
from .runs import fresh_home, run_tasks

COUNTS = (100, 300, 1000)
FORKS = 50


def scaling_runs(network: Network, counts: Sequence[int]) -> Iterator[dict[str, Any]]:
    """A row for each number of targets: every one is dialled anew, and runs one task."""
    for hosts in counts:
        with fresh_home(network) as home:
            cost = run_tasks(network, _kept(contender(OURS, network)), home, hosts, FORKS, tasks=1)
            yield {"contender": OURS, "hosts": hosts, "open": _open(home)} | asdict(cost)


def _kept(ours: Contender) -> Contender:
    """For longer than a run takes."""
    return replace(ours, variables={**ours.variables, "ansible_ssh_persist": 600})


def _open(home: Path) -> int:
    """How many connections the broker has, those to the bastions included."""
    from ansible_collections.bastion.ssh.plugins.plugin_utils.broker.control import ask

    brokers = ask([str(home / ".ansible/bastion-ssh")], "status")
    return sum(transport["state"] == "open" for broker in brokers for transport in broker.get("transports", ()))
