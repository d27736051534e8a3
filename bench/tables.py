# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Results as tables: the same ones for the terminal and for the page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .contenders import KEEP, TITLES
from .execs import TITLES as CLIENTS
from .goals import verdicts
from .results import STATES, Results


@dataclass(frozen=True)
class Table:
    """Rows of cells below a head. The first column is text, the others are numbers unless told."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    numbers: bool = True

    def markdown(self) -> str:
        """As in the documentation."""
        rule = ["---", *(["--:" if self.numbers else "---"] * (len(self.head) - 1))]
        lines = [self.head, rule, *self.rows]
        return "\n".join("| " + " | ".join(line) + " |" for line in lines)

    def text(self) -> str:
        """For a terminal."""
        widths = [max(len(row[column]) for row in [self.head, *self.rows]) for column in range(len(self.head))]
        lines = [self.head, ["-" * width for width in widths], *self.rows]
        return "\n".join(
            "  ".join(self._cell(line, n, width) for n, width in enumerate(widths)).rstrip() for line in lines
        )

    def _cell(self, line: Sequence[str], number: int, width: int) -> str:
        return line[number].rjust(width) if number and self.numbers else line[number].ljust(width)


def tables(results: Results) -> list[Table]:
    """All that there is something for."""
    made = [
        _goals(results),
        *(_plays(results, hosts) for hosts in results.host_counts()),
        _transfers(results),
        _execs(results),
        _scaling(results),
    ]
    return [table for table in made if table.rows]


def _number(value: float | None, digits: int = 1) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _goals(results: Results) -> Table:
    rows = [
        [each.what, each.unit, each.show(each.limit), each.show(each.value), each.word] for each in verdicts(results)
    ]
    return Table("Goals", ["goal", "in", "at most", "measured", ""], rows, numbers=False)


def _plays(results: Results, hosts: int) -> Table:
    head = ["", "", "wall s", "over floor s", "CPU s", "peak MiB", "logins a", "logins b", "lost", "rounds"]
    rows = []
    for name in TITLES:
        for state in STATES if name in KEEP else ("cold",):
            runs = results.play_rows(name, hosts, state)
            if not runs:
                continue
            said = state if name in KEEP else "each run"
            numbers = [
                _number(results.play(name, hosts, state, "wall")),
                _number(results.overhead(name, hosts, state)),
                _number(results.play(name, hosts, state, "cpu")),
                _number(results.play(name, hosts, state, "peak"), 0),
            ]
            logins = [str(count) for count in results.logins(name, hosts, state) or ()]
            rows.append([name, said, *numbers, *logins, str(results.lost(name, hosts, state)), str(len(runs))])
    return Table(f"{hosts} {'host' if hosts == 1 else 'hosts'} x 10 raw tasks", head, rows)


def _transfers(results: Results) -> Table:
    rows = []
    for name in TITLES:
        rates = [results.transfer_rate(name, direction) for direction in ("put", "fetch")]
        if any(rates):
            size = next(row["mib"] for row in results.transfers if row["contender"] == name)
            rows.append([name, str(size), *(_number(rate) for rate in rates)])
    return Table("A file to the target and back", ["", "file MiB", "put MiB/s", "fetch MiB/s"], rows)


def _execs(results: Results) -> Table:
    rows = []
    for name, title in CLIENTS.items():
        times = [1000 * each for each in results.exec_times(name)]
        if times:
            values = (results.exec_time(name) or 0) * 1000, sum(times) / len(times), times[int(len(times) * 0.95)]
            rows.append([title, *(_number(value, 2) for value in values), str(len(times))])
    head = ["", "median ms", "mean ms", "95th percentile ms", "commands"]
    return Table("One command through connections that exist, without Ansible", head, rows)


def _scaling(results: Results) -> Table:
    rows = []
    for row in results.scaling:
        per_target = 1000 * row["background_cpu"] / row["hosts"]
        broker = [_number(per_target), _number(row["background_peak"], 0)] if row["background"] else ["-", "-"]
        logins = [str(count) for count in row["logins"]]
        rows.append([str(row["hosts"]), _number(row["wall"]), *broker, *logins, str(row["open"]), str(row["lost"])])
    head = [
        "targets",
        "wall s",
        "broker CPU ms/target",
        "broker peak MiB",
        "logins a",
        "logins b",
        "open at the end",
        "lost",
    ]
    return Table("New connections to targets, one raw task each, 50 forks", head, rows)
