# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One run of the bench: which measurements it makes, in which networks."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lab import Lab

from .contenders import OURS, SLOW, Contender, contender, why_missing
from .execs import ROUNDS as EXEC_ROUNDS
from .execs import exec_rounds
from .network import Network, build
from .plays import ROUNDS as PLAY_ROUNDS
from .plays import play_rounds
from .results import Results, Row
from .runs import fresh_home, run_tasks
from .scaling import scaling_runs
from .transfers import ROUNDS as TRANSFER_ROUNDS
from .transfers import transfer_rounds

PARTS = ("exec", "transfer", "plays", "scaling")


@dataclass(frozen=True)
class Choice:
    """What to measure; rounds takes the place of each measurement's own number."""

    parts: Sequence[str]
    contenders: Sequence[str]
    hosts: Sequence[int]
    targets: Sequence[int]
    rounds: int | None = None


def measure(choice: Choice, results: Results) -> None:
    """Fill the results."""
    if set(choice.parts) - {"scaling"}:
        with Lab() as lab:
            network = build(lab, max(choice.hosts) if "plays" in choice.parts else 1)
            _side_by_side(choice, network, results)
    if "scaling" in choice.parts and OURS in choice.contenders:
        with Lab() as lab:
            network = build(lab, max(choice.targets), one_server=True)
            results.scaling = _told(scaling_runs(network, choice.targets))


def _side_by_side(choice: Choice, network: Network, results: Results) -> None:
    contenders = _those_that_work(choice.contenders, network, results)
    if "exec" in choice.parts:
        results.execs = _told(exec_rounds(network, choice.rounds or EXEC_ROUNDS, results.missing))
    if "transfer" in choice.parts:
        rounds = choice.rounds or TRANSFER_ROUNDS
        results.transfers = _told(transfer_rounds(network, contenders, rounds, results.missing))
    if "plays" in choice.parts:
        for hosts in choice.hosts:
            rounds = choice.rounds or PLAY_ROUNDS.get(hosts, 1)
            results.plays += _told(play_rounds(network, contenders, hosts, rounds))


def _those_that_work(names: Sequence[str], network: Network, results: Results) -> list[Contender]:
    """The others are told in results.missing. Not ours to repair, so a trial decides."""
    found = []
    for name in names:
        reason = why_missing(name)
        if reason is None:
            one = contender(name, network)
            reason = _trial(network, one) if name in SLOW else None
            found += [] if reason else [one]
        if reason:
            results.missing[name] = reason
            print(f"Left out: {name}: {reason}", file=sys.stderr)
    return found


def _trial(network: Network, one: Contender) -> str | None:
    """Why a contender cannot run a single task here."""
    with fresh_home(network) as home:
        try:
            cost = run_tasks(network, one, home, hosts=1, forks=1, tasks=1)
        except RuntimeError as error:
            return str(error).splitlines()[-1]
    return "a trial with a single task did not succeed" if cost.lost else None


def _told(rows: Iterable[Row]) -> list[Row]:
    """All rows; each is shown when it is there, as the whole takes minutes."""
    kept = []
    for row in rows:
        shown = {name: _short(value) for name, value in row.items() if not name.startswith("background")}
        print("  ".join(f"{name} {value}" for name, value in shown.items()), file=sys.stderr, flush=True)
        kept.append(row)
    return kept


def _short(value: object) -> str:
    if isinstance(value, list):
        return f"{len(value)} x {1000 * sorted(value)[len(value) // 2]:.1f} ms"
    if isinstance(value, tuple):
        return "/".join(map(str, value))
    return f"{value:.2f}" if isinstance(value, float) else str(value)
