# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plays at random through damaged links and servers, and shows what became of every command and file; beside that, it meets
servers that say anything at any moment.

The exit status is 1 if something is not as it is promised, or if it was interrupted.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
from random import SystemRandom

from lab import Lab

from . import ROOT
from .account import Account
from .fuzz import Fuzz
from .run import Soak, grown
from .summary import Row, markdown, rows, text

EVIDENCE = ROOT / ".build/soak"


def arguments() -> argparse.Namespace:
    """Of the command line."""
    parser = argparse.ArgumentParser(prog="soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30, help="how long faults and plays go on (default: 30)")
    parser.add_argument("--seed", type=int, help="of all that is random (default: another one each time)")
    only = parser.add_argument_group("hostile servers alone")
    only.add_argument("--fuzz-only", action="store_true", help="meet hostile servers, and play nothing")
    only.add_argument("--inputs", type=int, default=1000, help="how many of them there are (default: 1000)")
    only.add_argument(
        "--from", type=int, default=0, dest="first", metavar="NUMBER", help="the first of them (default: 0)"
    )
    parser.add_argument("--markdown", action="store_true", help="print the summary as a table for a page")
    return parser.parse_args()


def stop(number: int, _frame: object) -> None:
    """Let a signal end the run as an error does, so that the lab is taken down."""
    raise KeyboardInterrupt(number)


def main() -> int:
    """The exit status."""
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, stop)
    options = arguments()
    seed = SystemRandom().randrange(10**6) if options.seed is None else options.seed
    print(f"Seed {seed}", flush=True)
    return fuzz(options, seed) if options.fuzz_only else soak(options, seed)


def soak(options: argparse.Namespace, seed: int) -> int:
    """Play, and meet hostile servers beside that."""
    evidence = EVIDENCE / str(seed)
    shutil.rmtree(evidence, ignore_errors=True)
    with Lab() as lab, Lab(lab.machine) as hostile:
        run = Soak(lab, hostile, seed, 60 * options.minutes, evidence)
        try:
            run.run()
        except KeyboardInterrupt:
            print("Interrupted", flush=True)
        finally:
            run.keep()
            summary = run.summary()
            show(options, rows(summary))
            print(f"Kept in {evidence.relative_to(ROOT)}")
    return 0 if summary.ended and not summary.violations else 1


def fuzz(options: argparse.Namespace, seed: int) -> int:
    """Meet hostile servers alone."""
    account = Account(EVIDENCE / str(seed))
    with Lab() as lab:
        run = Fuzz(lab, seed, account.report, grown, first=options.first, inputs=options.inputs)
        try:
            run.run()
        except KeyboardInterrupt:
            print("Interrupted", flush=True)
            return 1
        finally:
            show(options, [("Seed", str(seed)), *run.fuzzed.rows(), ("Violations", str(len(account.violations)))])
    return 1 if account.violations else 0


def show(options: argparse.Namespace, table: list[Row]) -> None:
    """As it is wanted."""
    print((markdown if options.markdown else text)(table), flush=True)


if __name__ == "__main__":
    sys.exit(main())
