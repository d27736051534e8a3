# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plays of raw tasks, cold and warm, all contenders in turn."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from .contenders import FLOOR, KEEP, OURS, RIVAL, SLOW, Contender, in_turn
from .network import Network
from .runs import fresh_home, run_tasks

TASKS = 10
ROUNDS = {1: 3, 20: 3, 100: 3}
OF_MANY = (FLOOR, RIVAL, OURS)  # those that take part in every round with a hundred hosts


def forks(hosts: int) -> int:
    """As many as there are hosts, within what people use."""
    return 50 if hosts >= 100 else min(hosts, 20)


def takes_part(contender: Contender, hosts: int, number: int) -> bool:
    """Whether a contender is in a round; one that takes minutes is not in all, so that the whole ends in time."""
    if hosts < 100:
        return contender.name not in SLOW or number == 0
    return contender.name in OF_MANY or (contender.name not in SLOW and number == 0)


def play_rounds(network: Network, contenders: Sequence[Contender], hosts: int, rounds: int) -> Iterator[dict[str, Any]]:
    """A row for each run."""
    for number in range(rounds):
        for contender in in_turn(contenders, number):
            if not takes_part(contender, hosts, number):
                continue
            with fresh_home(network) as home:
                for state in ("cold", "warm") if contender.name in KEEP else ("cold",):
                    cost = run_tasks(network, contender, home, hosts, forks(hosts), TASKS)
                    yield {"contender": contender.name, "hosts": hosts, "state": state, "round": number} | asdict(cost)
