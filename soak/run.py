# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One run: a play that nothing disturbs, plays among faults, and again one that nothing disturbs."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from lab import Lab

from .account import Account
from .controller import Held, Watched, leftovers, stacks, when_idle
from .faults import Injector
from .fuzz import Fuzz
from .ledger import Violation
from .machine import versions
from .network import build
from .plan import PlayPlan, faults, plays, whole_play
from .plays import Player
from .summary import MIB, Footprint, Summary

#: Plays at the same time.
LANES = 3
#: By how much the memory of an idle broker may have grown, in bytes: what Python's and libc's heaps keep.
MARGIN = 15 * MIB

#: Numbers of plays that are not of the plan.
WARM_UP, SETTLING, CLOSING = 10**6, 2 * 10**6, 3 * 10**6


# trust: T29, T35, T42, T47, T48, T54
class Soak:
    """Keeps what is known so far, so that an interrupted run has a summary, too.

    :param hostile: the lab of the hostile servers, which have nothing to do with the plays.
    """

    def __init__(self, lab: Lab, hostile: Lab, seed: int, seconds: float, evidence: Path) -> None:
        self._seed = seed
        self._seconds = seconds
        self._lab = lab
        self._hostile = hostile
        self._network = build(lab, seed)
        self._player = Player(self._network)
        self._watched = Watched(lab)
        links, servers = list(self._network.links), list(self._network.servers)
        self._injector = Injector(self._network, faults(seed, seconds, links, servers), self._player.wounded)
        self._account = Account(evidence)
        evidence.mkdir(parents=True, exist_ok=True)
        self._fuzz = Fuzz(hostile, seed, self._account.report, grown)
        self._begun = time.monotonic()
        self._held: list[Held] = []
        self._ended = False

    def run(self) -> None:
        """Everything, to the end."""
        with self._watched.running():
            try:
                self._run(list(self._network.places))
            except TimeoutError as error:
                self._account.report(Violation(CLOSING, "", "", str(error)))
        self._ended = True

    def _run(self, hosts: list[str]) -> None:
        # As much at once as later, since heaps keep what they once had.
        self._at_once([partial(self._one, whole_play(WARM_UP + lane, hosts)) for lane in range(LANES)])
        self._held.append(when_idle(self._lab))
        with self._fuzz.running(), self._injector.running():
            self._play(plays(self._seed, hosts))
        error = self._injector.error or self._fuzz.error
        if error:
            raise error
        # What is broken without anybody having noticed is noticed now.
        self._one(whole_play(SETTLING, hosts))
        when_idle(self._lab)
        self._calm(whole_play(CLOSING, hosts))
        self._held.append(when_idle(self._lab, like=self._held[0]))
        self._compare(*self._held)

    def _compare(self, before: Held, after: Held) -> None:
        found = list(grown(before, after))
        if found:
            (self._account.evidence / "stacks").write_text(stacks(after.pid))
        for what in [*found, *(f"left behind: {line}" for line in leftovers(self._lab))]:
            self._account.report(Violation(CLOSING, "", "", what))

    def _one(self, plan: PlayPlan) -> None:
        played = self._player.run(plan)
        self._account.add(played)
        self._player.forget(played)

    def _calm(self, plan: PlayPlan) -> None:
        """A play of which everything is ok."""
        played = self._player.run(plan)
        for expected, seen in played.found.values():
            if seen.status != "ok":
                words = f"nothing disturbs it, and it is {seen.status or 'without result'}: {seen.words[:600]}"
                played.violations.append(Violation(plan.number, expected.host, f"task {expected.task}", words))
        self._account.add(played)
        self._player.forget(played)

    def _play(self, plans: Iterator[PlayPlan]) -> None:
        end = time.monotonic() + self._seconds
        lock = threading.Lock()

        def lane() -> None:
            while time.monotonic() < end and not self._player.stopped.is_set() and not self._injector.error:
                with lock:
                    plan = next(plans)
                self._one(plan)

        self._at_once([lane] * LANES)

    def _at_once(self, work: Sequence[Callable[[], None]]) -> None:
        """Do all of it; where one cannot go on, nor can the others."""
        with ThreadPoolExecutor(len(work)) as pool:
            running = [pool.submit(each) for each in work]
            try:
                for each in running:
                    each.result()
            except BaseException:
                self._player.stopped.set()
                raise

    def keep(self) -> None:
        """Keep what tells of causes."""
        for name, lines in (("faults", self._injector.history), ("broker", self._watched.history)):
            (self._account.evidence / name).write_text("".join(f"{line}\n" for line in lines))
        for lab, prefix in ((self._lab, ""), (self._hostile, "hostile-")):
            for log in lab.broker_directory.glob("broker.log*"):
                shutil.copy(log, self._account.evidence / f"{prefix}{log.name}")

    def summary(self) -> Summary:
        """Of all until now."""
        count = self._account.close(self._player.ledger())
        feet = [Footprint(held.memory, len(held.files), held.threads) for held in self._held]
        return Summary(
            seed=self._seed,
            seconds=time.monotonic() - self._begun,
            versions=versions(),
            plays=self._account.plays,
            count=count,
            moved=self._network.moved(),
            faults={
                kind.value: number
                for kind, number in sorted(self._injector.done.items(), key=lambda item: item[0].value)
            },
            logins=self._network.logins(),
            sessions=self._network.sessions(),
            brokers=len(self._watched.pids),
            before=feet[0] if feet else None,
            after=feet[1] if len(feet) > 1 else None,
            most=self._watched.most_memory,
            hostile=self._fuzz.fuzzed.rows(),
            violations=len(self._account.violations),
            ended=self._ended,
        )


def grown(before: Held, after: Held) -> Iterator[str]:
    """What an idle broker holds that it did not hold before."""
    if after.memory > before.memory + MARGIN:
        yield f"the broker's memory has grown from {before.memory / MIB:.1f} to {after.memory / MIB:.1f} MiB"
    if after.files != before.files:
        yield f"the broker's descriptors were {before.files}, and are {after.files}"
    if after.threads != before.threads:
        yield f"the broker had {before.threads} threads, and has {after.threads}"
