# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Simulate controllers that lack programs or algorithms."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from .lab import Lab

#: A directory for PYTHONPATH that makes Python behave as in FIPS mode.
FIPS = Path(__file__).with_name("fips")


def path_without(lab: Lab, *names: str) -> str:
    """Return a PATH with all programs but these."""
    folder = lab.path / f"without-{'-'.join(names)}"
    if not folder.exists():
        folder.mkdir()
        # The first directory of a PATH wins.
        for directory in reversed(lab.environment()["PATH"].split(":")):
            for program in os.scandir(directory) if os.path.isdir(directory) else ():
                link = folder / program.name
                link.unlink(missing_ok=True)
                link.symlink_to(program.path)
        for name in names:
            (folder / name).unlink()
    return f"{Path(sys.executable).parent}:{folder}"
