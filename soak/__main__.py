# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plays at random through damaged links and servers, and shows what became of every command and file.

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
from .run import Soak
from .summary import markdown, text

EVIDENCE = ROOT / ".build/soak"


def arguments() -> argparse.Namespace:
    """Of the command line."""
    parser = argparse.ArgumentParser(prog="soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30, help="how long faults and plays go on (default: 30)")
    parser.add_argument("--seed", type=int, help="of all that is random (default: another one each time)")
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
    evidence = EVIDENCE / str(seed)
    shutil.rmtree(evidence, ignore_errors=True)
    with Lab() as lab:
        soak = Soak(lab, seed, 60 * options.minutes, evidence)
        try:
            soak.run()
        except KeyboardInterrupt:
            print("Interrupted", flush=True)
        finally:
            soak.keep()
            summary = soak.summary()
            print((markdown if options.markdown else text)(summary), flush=True)
            print(f"Kept in {evidence.relative_to(ROOT)}")
    return 0 if summary.ended and not summary.violations else 1


if __name__ == "__main__":
    sys.exit(main())
