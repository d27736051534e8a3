# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A run in a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .ledger import Count

MIB = 1024 * 1024

Row = tuple[str, str]


@dataclass(frozen=True)
class Footprint:
    """Of the idle broker; memory in bytes."""

    memory: int
    files: int
    threads: int


@dataclass(frozen=True)
class Summary:
    """What a run came to.

    :param seconds: that it took, from the first play to the last.
    :param moved: bytes over the controller's links.
    :param sessions: that servers started.
    :param brokers: how many there were.
    :param hostile: what is told of hostile servers.
    :param most: bytes of memory that a broker had at work.
    :param ended: whether it came to its end; else it was interrupted.
    """

    seed: int
    seconds: float
    versions: Mapping[str, str]
    plays: int
    count: Count
    moved: int
    faults: Mapping[str, int]
    logins: Mapping[str, int]
    sessions: int
    brokers: int
    before: Footprint | None = None
    after: Footprint | None = None
    most: int = 0
    hostile: Sequence[Row] = ()
    violations: int = 0
    ended: bool = True


def rows(summary: Summary) -> list[Row]:
    """What is told, and its value."""
    count = summary.count
    return [
        ("Seed", str(summary.seed)),
        ("Versions", ", ".join(f"{name} {version}" for name, version in summary.versions.items())),
        ("Minutes", f"{summary.seconds / 60:.1f}" + ("" if summary.ended else ", interrupted")),
        ("Plays", str(summary.plays)),
        ("Tasks on hosts", f"{count.tasks}: {count.ok} ok, {count.failed} failed, {count.unreachable} unreachable,"
                           f" {count.lost} without result"),
        ("Commands that ran once", str(count.once)),
        ("Commands that never ran, and are reported so", str(count.never)),
        ("Files and outputs that are whole", str(count.whole)),
        ("Moved between controller and first hops", f"{summary.moved / MIB:.0f} MiB"),
        ("Logins", ", ".join(f"{name} {number}" for name, number in summary.logins.items())),
        ("Commands and transfers that servers started", str(summary.sessions)),
        *((f"Faults: {kind}", str(number)) for kind, number in summary.faults.items()),
        ("Faults", str(sum(summary.faults.values()))),
        ("Brokers, one after the other", str(summary.brokers)),
        ("Idle broker, before and after", f"{_footprint(summary.before)}; {_footprint(summary.after)}"),
        ("Broker at work, at most", f"{summary.most / MIB:.0f} MiB"),
        *summary.hostile,
        ("Violations", str(summary.violations)),
    ]  # fmt: skip


def _footprint(footprint: Footprint | None) -> str:
    if footprint is None:
        return "not measured"
    return f"{footprint.memory / MIB:.1f} MiB, {footprint.files} descriptors, {footprint.threads} threads"


def text(table: Sequence[Row]) -> str:
    """For a terminal."""
    width = max(len(name) for name, _value in table)
    return "\n".join(f"{name:{width}}  {value}" for name, value in table)


def markdown(table: Sequence[Row]) -> str:
    """For a page."""
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in table)])
