# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How fast it is meant to be, and what a run of the bench says about that."""

from __future__ import annotations

from dataclasses import dataclass

from .contenders import OURS, RIVAL
from .results import STATES, Results, ratio

HOSTS = 20
MANY = 100
TARGETS = 1000


@dataclass(frozen=True)
class Verdict:
    """A goal beside what was reached; None was not measured."""

    what: str
    limit: float
    value: float | None
    unit: str

    @property
    def word(self) -> str:
        """Reached, missed or not measured."""
        if self.value is None:
            return "not measured"
        return "reached" if round(self.value, 2) <= self.limit else "missed"

    def show(self, number: float | None) -> str:
        """A limit or a value."""
        if number is None:
            return "-"
        return f"{number:.2f}" if self.unit.startswith("x ") else f"{number:.3g}"


def verdicts(results: Results) -> list[Verdict]:
    """For every goal."""
    return [*_plays(results), *_exec(results), *_transfers(results), *_counts(results), *_scaling(results)]


def _plays(results: Results) -> list[Verdict]:
    limits = {"cold": 0.25, "warm": 0.40}
    return [
        Verdict(
            f"overhead over the floor, {HOSTS} hosts x 10 raw tasks, {state}",
            limits[state],
            ratio(results.overhead(OURS, HOSTS, state), results.overhead(RIVAL, HOSTS, state)),
            "x ansible.builtin.ssh",
        )
        for state in STATES
    ]


def _exec(results: Results) -> list[Verdict]:
    value = ratio(results.exec_time("broker"), results.exec_time("ssh"))
    return [Verdict("one exec through a warm chain, client to client, no Ansible", 1.0, value, "x ssh -S")]


def _transfers(results: Results) -> list[Verdict]:
    """Beside both settings of ssh: by default it compresses, which costs more than it saves with such a file."""
    names = {RIVAL: "x ansible.builtin.ssh", "ssh-hops": "x ansible.builtin.ssh without compression"}
    return [
        Verdict(
            f"{direction} of 256 MiB, wall time",
            1.0,
            ratio(results.transfer_rate(rival, direction), results.transfer_rate(OURS, direction)),
            unit,
        )
        for direction in ("put", "fetch")
        for rival, unit in names.items()
    ]


def _counts(results: Results) -> list[Verdict]:
    runs = [results.logins(OURS, hosts, state) for hosts in results.host_counts() for state in STATES]
    runs += [tuple(row["logins"]) for row in results.scaling]
    logins = max((max(run) for run in runs if run), default=None)
    lost = [results.lost(OURS, MANY, state) for state in STATES]
    return [
        Verdict("on each bastion, the most of all runs", 1, logins, "logins"),
        Verdict(
            f"unreachable of {MANY} hosts, 50 forks, default MaxStartups",
            0,
            max((count for count in lost if count is not None), default=None),
            "hosts",
        ),
    ]


def _scaling(results: Results) -> list[Verdict]:
    row = results.scaled(TARGETS)
    known = row is not None and row["background"] > 0 and not row["lost"] and row["open"] == TARGETS + 2
    memory = row["background_peak"] if row and known else None
    cpu = 1000 * row["background_cpu"] / TARGETS if row and known else None
    return [
        Verdict(f"memory of the broker, {TARGETS} targets connected", 150, memory, "MiB"),
        Verdict(f"processor time of the broker for each of {TARGETS} targets", 8, cpu, "ms"),
    ]
