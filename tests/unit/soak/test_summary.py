# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A run in a table."""

from __future__ import annotations

import pytest

from soak.ledger import Count
from soak.summary import Footprint, Summary, markdown, rows, text

SUMMARY = Summary(
    seed=42,
    seconds=90,
    versions={"Python": "3.13.0"},
    plays=3,
    count=Count(tasks=9, once=5, never=1, ok=6, failed=1, unreachable=2, whole=4),
    moved=3 * 1024 * 1024,
    faults={"link reset": 2, "one bit flipped": 1},
    logins={"a": 1, "b": 2},
    sessions=7,
    brokers=1,
    before=Footprint(64 * 1024 * 1024, 9, 3),
    hostile=[("Hostile servers: inputs", "12")],
    ended=False,
)
TABLE = rows(SUMMARY)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Seed", "42"),
        ("Minutes", "1.5, interrupted"),
        ("Tasks on hosts", "9: 6 ok, 1 failed, 2 unreachable, 0 without result"),
        ("Commands that ran once", "5"),
        ("Files and outputs that are whole", "4"),
        ("Moved between controller and first hops", "3 MiB"),
        ("Logins", "a 1, b 2"),
        ("Commands and transfers that servers started", "7"),
        ("Faults: link reset", "2"),
        ("Faults", "3"),
        ("Idle broker, before and after", "64.0 MiB, 9 descriptors, 3 threads; not measured"),
        ("Hostile servers: inputs", "12"),
        ("Violations", "0"),
    ],
)
def test_both_tables_tell_it(name: str, value: str) -> None:
    assert f"| {name} | {value} |" in markdown(TABLE).splitlines()
    assert [name, value] in [
        [*line.split("  ", 1)[:1], line.split("  ")[-1].strip()] for line in text(TABLE).splitlines()
    ]
