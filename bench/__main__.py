# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measures, prints tables, and keeps results.json and results.svg; of a part of everything: part.json and part.svg."""

from __future__ import annotations

import argparse
import re
import signal
import sys
import time
from datetime import datetime, timezone
from pathlib import Path

from . import ROOT, page
from .contenders import SLOW, TITLES
from .machine import describe
from .measure import PARTS, Choice, measure
from .plays import ROUNDS as PLAY_ROUNDS
from .plot import draw
from .results import Results
from .scaling import COUNTS
from .tables import tables

MADE = ROOT / ".build/bench"
FULL = MADE / "results.json"
PART = MADE / "part.json"


def arguments() -> argparse.Namespace:
    """Of the command line."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__, epilog="Options that choose may be repeated.")
    parser.add_argument("--only", action="append", choices=PARTS, help="measure only this")
    parser.add_argument("--contender", action="append", choices=TITLES, help="compare only this")
    parser.add_argument("--hosts", action="append", type=int, metavar="N", help="plays with N hosts only")
    parser.add_argument("--targets", action="append", type=int, metavar="N", help="scaling to N targets only")
    parser.add_argument("--rounds", type=int, metavar="N", help="in place of each measurement's own number")
    parser.add_argument("--quick", action="store_true", help="1 and 20 hosts, 100 targets, 2 rounds, nobody slow")
    parser.add_argument(
        "--page", action="store_true", help="measure nothing: make docs/performance.* of the last run of everything"
    )
    parser.add_argument("--tables", action="store_true", help="measure nothing: print what the last run has found")
    return parser.parse_args()


def choice(options: argparse.Namespace) -> Choice:
    """What the options say; all that they leave open is everything."""
    quick = options.quick
    return Choice(
        parts=options.only or PARTS,
        contenders=options.contender or [name for name in TITLES if not (quick and name in SLOW)],
        hosts=options.hosts or ([1, 20] if quick else list(PLAY_ROUNDS)),
        targets=options.targets or ([100] if quick else list(COUNTS)),
        rounds=options.rounds or (2 if quick else None),
    )


def run(chosen: Choice, path: Path) -> None:
    """Measure, keep and show."""
    start = time.monotonic()
    version = re.search(r"^version: (\S+)", (ROOT / "galaxy.yml").read_text(), re.MULTILINE)
    assert version
    results = Results(describe(), datetime.now(timezone.utc).date().isoformat(), version[1])
    measure(chosen, results)
    results.seconds = time.monotonic() - start
    results.save(path)
    draw(results, path.with_suffix(".svg"))
    show(results)
    print(f"\nKept in {path.relative_to(ROOT)} and {path.with_suffix('.svg').relative_to(ROOT)}")


def show(results: Results) -> None:
    """Everything, on the terminal."""
    for table in tables(results):
        print(f"\n{table.title}\n\n{table.text()}")
    print()
    for name, title in TITLES.items():
        print(f"{name:9} {title}")
    for name, reason in results.missing.items():
        print(f"not measured: {name}: {reason}")
    told = results.machine | {"bastion.ssh": results.collection, "date": results.date}
    print("\n" + "; ".join(f"{name} {value}" for name, value in told.items()) + f"; took {results.seconds:.0f} s")


def stop(number: int, _frame: object) -> None:
    """Let a signal end the run as an error does, so that the lab is taken down."""
    raise SystemExit(128 + number)


def main() -> int:
    """The exit status."""
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, stop)
    options = arguments()
    if options.page:
        print(page.write(Results.load(FULL), ROOT / "docs").relative_to(ROOT))
    elif options.tables:
        show(Results.load(max((path for path in (FULL, PART) if path.exists()), key=lambda path: path.stat().st_mtime)))
    else:
        chosen = choice(options)
        everything = not any((options.only, options.contender, options.hosts, options.targets, options.rounds))
        run(chosen, FULL if everything and not options.quick else PART)
    return 0


if __name__ == "__main__":
    sys.exit(main())
