# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hostile servers beside the plays: random inputs, one after the other, against a broker of their own."""

from __future__ import annotations

import contextlib
import itertools
import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from fuzzing.case import Case, to_json
from fuzzing.chance import cases
from fuzzing.request import defects
from fuzzing.trial import Result, Trial
from lab import Lab
from lab.brokers import brokers, log

from .controller import Held, when_idle

#: Inputs at the same time, and how many come before the broker may be idle, when it forgets what it need not know any more.
LANES = 8
BATCH = 400


@dataclass(frozen=True)
class Finding:
    """An input of which something came that is not as it is promised.

    :param number: of the input; -1 for what no single one has done.
    """

    seed: int
    number: int
    what: str
    case: Case | None = None

    def __str__(self) -> str:
        if self.case is None:
            return f"hostile servers: {self.what}"
        again = f"--fuzz-only --seed {self.seed} --from {self.number} --inputs 1"
        return f"hostile server, input {self.number} ({again}): {self.what}\n  {json.dumps(to_json(self.case))}"


@dataclass
class Fuzzed:
    """What was done, and what came of it.

    :param messages: that no healthy server would have said, by step and number.
    :param ends: kind of end -> how often.
    :param asked: how often the healthy hosts were asked meanwhile.
    """

    inputs: int = 0
    messages: Counter[tuple[str, int]] = field(default_factory=Counter)
    ends: Counter[str] = field(default_factory=Counter)
    asked: int = 0

    def add(self, result: Result) -> None:
        """One input more."""
        self.inputs += 1
        self.messages += result.sent
        self.ends[result.outcome.event] += 1

    def rows(self) -> list[tuple[str, str]]:
        """Of a summary."""
        if not self.inputs:
            return []
        states, kinds = ({key[index] for key in self.messages} for index in (0, 1))
        ends = ", ".join(f"{count} {kind}" for kind, count in self.ends.most_common())
        return [
            ("Hostile servers: inputs", str(self.inputs)),
            ("Hostile servers: messages", f"{self.messages.total()} of {len(kinds)} types in {len(states)} states"),
            ("Hostile servers: ends", ends),
            ("Hostile servers: tasks on healthy hosts meanwhile", str(self.asked)),
        ]


class Fuzz:
    """Runs inputs until it is stopped.

    :param lab: of its own, and so with a broker of its own.
    :param report: told of each finding at once.
    :param grown: says what a broker holds that it did not hold before.
    """

    def __init__(
        self,
        lab: Lab,
        seed: int,
        report: Callable[[Finding], None],
        grown: Callable[[Held, Held], Iterator[str]],
        first: int = 0,
        inputs: int | None = None,
    ) -> None:
        self._lab = lab
        self._seed = seed
        self._report = report
        self._grown = grown
        self._cases = itertools.islice(cases(seed, first), inputs)
        self._over = threading.Event()
        self.error: BaseException | None = None
        self.fuzzed = Fuzzed()

    def run(self) -> None:
        """To the end of the inputs, or until it is stopped; then a look at what is left."""
        with Trial(self._lab) as trial:
            held = list(self._batches(trial))
            if held:
                for what in (*trial.problems, *self._grown(held[0], held[-1]), *self._traces(held[0].pid)):
                    self._find(what)

    def _batches(self, trial: Trial) -> Iterator[Held]:
        """What the idle broker holds after each of them; before the first, heaps do not have what they later keep."""
        first: Held | None = None
        while not self._over.is_set() and (batch := list(itertools.islice(self._cases, BATCH))):
            with trial.watching():
                self._meet(trial, batch)
            self.fuzzed.asked = trial.asked
            held = when_idle(self._lab, like=first)
            first = first or held
            yield held

    def _meet(self, trial: Trial, batch: list[tuple[int, Case]]) -> None:
        cases = (case for _number, case in batch if not self._over.is_set())
        for (number, case), result in zip(batch, trial.run_all(cases, LANES), strict=False):
            self.fuzzed.add(result)
            if result.problem:
                self._find(result.problem, number, case)

    def _traces(self, pid: int) -> Iterator[str]:
        if brokers(self._lab) != [pid]:
            yield "the broker is another one"
        for line in defects(log(self._lab)):
            yield f"the broker's log has a defect: {line}"

    def _find(self, what: str, number: int = -1, case: Case | None = None) -> None:
        self._report(Finding(self._seed, number, what, case))

    @contextlib.contextmanager
    def running(self) -> Iterator[Fuzz]:
        """Meanwhile, in a thread."""
        thread = threading.Thread(target=self._run, name="soak hostile servers", daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._over.set()
            thread.join(300)

    def _run(self) -> None:
        try:
            self.run()
        except Exception as error:
            self.error = error
