# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the costs of bastion.ssh.jump grow with the number of targets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from .contenders import OURS, contender
from .network import Network
from .runs import fresh_home, run_tasks

COUNTS = (100, 300, 1000)
FORKS = 50


def scaling_runs(network: Network, counts: Sequence[int]) -> Iterator[dict[str, Any]]:
    """A row for each number of targets: every one is dialled anew, and runs one task."""
    for hosts in counts:
        with fresh_home(network) as home:
            cost = run_tasks(network, contender(OURS, network), home, hosts, FORKS, tasks=1)
            yield {"contender": OURS, "hosts": hosts} | asdict(cost)
