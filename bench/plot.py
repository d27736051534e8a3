# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Results as a picture."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .contenders import FLOOR, OURS, TITLES
from .goals import HOSTS
from .results import STATES, Results

COLOURS = ("#9bb3c9", "#3b6a94")
OUR_COLOURS = ("#f0b27a", "#d35400")
LICENSE = """<!--
SPDX-FileCopyrightText: bastion.ssh contributors
SPDX-License-Identifier: GPL-3.0-or-later
-->
"""


@dataclass(frozen=True)
class Panel:
    """Bars, up to two for each name; None is no bar."""

    title: str
    series: Sequence[str]
    bars: dict[str, Sequence[float | None]]


def panels(results: Results) -> list[Panel]:
    """Those that there is something for."""
    names = [name for name in TITLES if name != FLOOR]
    kinds = ("put", "fetch")
    made = [
        Panel(
            f"Seconds over the floor, {HOSTS} hosts x 10 tasks",
            STATES,
            {name: [results.overhead(name, HOSTS, state) for state in STATES] for name in names},
        ),
        Panel(
            f"CPU seconds of the controller, {HOSTS} hosts x 10 tasks",
            STATES,
            {name: [results.play(name, HOSTS, state, "cpu") for state in STATES] for name in TITLES},
        ),
        Panel(
            "Transfer of a file, MiB/s (more is better)",
            kinds,
            {name: [results.transfer_rate(name, kind) for kind in kinds] for name in names},
        ),
        Panel("Logins on a bastion, 20 hosts x 10 tasks", STATES, {name: _logins(results, name) for name in names}),
    ]
    kept = [
        Panel(each.title, each.series, {name: bars for name, bars in each.bars.items() if any(bars)}) for each in made
    ]
    return [panel for panel in kept if panel.bars]


def _logins(results: Results, name: str) -> list[float | None]:
    counts = [results.logins(name, HOSTS, state) for state in STATES]
    return [float(max(count)) if count else None for count in counts]


def draw(results: Results, path: Path) -> None:
    """Write an SVG file."""
    shown = panels(results)
    if not shown:
        return
    # Text stays text, and the same results give the same file.
    matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "bastion.ssh", "font.size": 9})
    rows = (len(shown) + 1) // 2
    figure = Figure(figsize=(10, 2.6 * rows), layout="constrained")
    figure.patch.set_facecolor("white")
    for number, panel in enumerate(shown, start=1):
        _draw_panel(figure.add_subplot(rows, 2, number), panel)
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None})
    head, _doctype, rest = text.getvalue().partition("<!DOCTYPE")
    path.write_text(f"{head}{LICENSE}<!DOCTYPE{rest}")


def _draw_panel(axes: Axes, panel: Panel) -> None:
    height = 0.38
    for row, (name, values) in enumerate(panel.bars.items()):
        for number, value in enumerate(values):
            if value is None:
                continue
            colour = (OUR_COLOURS if name == OURS else COLOURS)[number]
            label = f" {value:.0f}" if value >= 100 else f" {value:.3g}"
            drawn = axes.barh(row + (number - 0.5) * height, value, height, color=colour)
            axes.bar_label(drawn, [f"{label} {panel.series[number]}"], fontsize=7)
    axes.set_yticks(range(len(panel.bars)), list(panel.bars))
    axes.invert_yaxis()
    axes.margins(x=0.2)
    axes.set_title(panel.title, loc="left")
    axes.spines[["top", "right"]].set_visible(False)
