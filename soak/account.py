# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""All plays together: what is counted, what is wrong, and the evidence that is kept of it."""

from __future__ import annotations

import shutil
import threading
from dataclasses import replace
from pathlib import Path

from .fuzz import Finding
from .ledger import Count, Expected, Seen, Violation, late
from .plays import Played

_KEPT = 30


class Account:
    """Of plays that run at the same time.

    :param evidence: a directory for the runs in which something was wrong.
    """

    def __init__(self, evidence: Path) -> None:
        self._lock = threading.Lock()
        self._found: list[tuple[Expected, Seen]] = []
        self._kept = 0
        self.evidence = evidence
        self.plays = 0
        self.violations: list[Violation | Finding] = []

    def add(self, played: Played) -> None:
        """Take in a run that has ended."""
        with self._lock:
            self.plays += 1
            # Not the words, which are long.
            self._found += [(expected, replace(seen, words="")) for expected, seen in played.found.values()]
            if played.violations and self._kept < _KEPT:
                self._kept += 1
                shutil.copytree(played.path, self.evidence / f"play-{played.plan.number}", dirs_exist_ok=True)
        for violation in played.violations:
            self.report(violation)

    def report(self, violation: Violation | Finding) -> None:
        """Something is wrong; it is told at once."""
        with self._lock:
            self.violations.append(violation)
            print(f"VIOLATION: {violation}", flush=True)

    def close(self, ledger: dict[str, tuple[str, ...]]) -> Count:
        """Look at all commands once more, as they may have run again after their play, and count."""
        count = Count()
        for expected, seen in self._found:
            ran = ledger.get(expected.token, ())
            for violation in late(expected, seen, ran):
                self.report(violation)
            count = count.with_one(expected, replace(seen, ran=ran))
        return count
