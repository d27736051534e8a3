# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a controller may lack: programs, algorithms."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from .lab import Lab

#: A directory for PYTHONPATH, with which Python has only what it has in FIPS mode.
FIPS = Path(__file__).with_name("fips")


def path_without(lab: Lab, *names: str) -> str:
    """A PATH with all programs that there are but these."""
    folder = lab.path / f"without-{'-'.join(names)}"
    if not folder.exists():
        folder.mkdir()
        # What comes first on a PATH counts.
        for directory in reversed(lab.environment()["PATH"].split(":")):
            for program in os.scandir(directory) if os.path.isdir(directory) else ():
                link = folder / program.name
                link.unlink(missing_ok=True)
                link.symlink_to(program.path)
        for name in names:
            (folder / name).unlink()
    return f"{Path(sys.executable).parent}:{folder}"
