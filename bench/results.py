# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What one run of the bench has found: every single value, and the questions that are asked about them."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from .contenders import FLOOR, KEEP

Row = dict[str, Any]
STATES = ("cold", "warm")


@dataclass
class Results:
    """A list of rows for each measurement."""

    machine: dict[str, str]
    date: str
    collection: str
    seconds: float = 0
    missing: dict[str, str] = field(default_factory=dict)
    plays: list[Row] = field(default_factory=list)
    transfers: list[Row] = field(default_factory=list)
    execs: list[Row] = field(default_factory=list)
    scaling: list[Row] = field(default_factory=list)

    def save(self, path: Path) -> None:
        """As JSON."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(self), indent=1) + "\n")

    @classmethod
    def load(cls, path: Path) -> Results:
        """What save() wrote."""
        return cls(**json.loads(path.read_text()))

    # Plays

    def host_counts(self) -> list[int]:
        """Of the plays."""
        return sorted({row["hosts"] for row in self.plays})

    def play_rows(self, contender: str, hosts: int, state: str) -> list[Row]:
        """The rounds; for who keeps nothing, every run is cold and warm alike."""
        state = state if contender in KEEP else "cold"
        wanted = {"contender": contender, "hosts": hosts, "state": state}
        return [row for row in self.plays if wanted.items() <= row.items()]

    def play(self, contender: str, hosts: int, state: str, what: str) -> float | None:
        """The median over the rounds."""
        return median(self.play_rows(contender, hosts, state), lambda row: row[what])

    def logins(self, contender: str, hosts: int, state: str) -> tuple[int, int] | None:
        """On each bastion, the most of all rounds."""
        rows = self.play_rows(contender, hosts, state)
        return (max(row["logins"][0] for row in rows), max(row["logins"][1] for row in rows)) if rows else None

    def lost(self, contender: str, hosts: int, state: str) -> int | None:
        """Hosts that were unreachable or failed, the most of all rounds."""
        return max((row["lost"] for row in self.play_rows(contender, hosts, state)), default=None)

    def overhead(self, contender: str, hosts: int, state: str) -> float | None:
        """Seconds over the floor."""
        wall, floor = self.play(contender, hosts, state, "wall"), self.play(FLOOR, hosts, state, "wall")
        return None if wall is None or floor is None else wall - floor

    # The others

    def transfer_rate(self, contender: str, direction: str) -> float | None:
        """MiB per second."""
        rows = [row for row in self.transfers if (row["contender"], row["direction"]) == (contender, direction)]
        return median(rows, lambda row: row["mib"] / row["wall"])

    def exec_times(self, client: str) -> list[float]:
        """Seconds of every command, sorted."""
        return sorted(wall for row in self.execs if row["client"] == client for wall in row["wall"])

    def exec_time(self, client: str) -> float | None:
        """Seconds."""
        return statistics.median(self.exec_times(client)) if self.exec_times(client) else None

    def scaled(self, hosts: int) -> Row | None:
        """The row with so many targets."""
        return next((row for row in self.scaling if row["hosts"] == hosts), None)


def median(rows: list[Row], value: Callable[[Mapping[str, Any]], float]) -> float | None:
    """None without rows."""
    return statistics.median(map(value, rows)) if rows else None


def ratio(ours: float | None, theirs: float | None) -> float | None:
    """None where either is not known, or theirs is lost in noise."""
    return None if ours is None or theirs is None or theirs <= 0 else ours / theirs
