# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Finds out whom a task of the demo can become on this machine, without a password."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys

# method, user, flags for Ansible; the command's last word is a command line of the other user's
_Way = tuple[str, str, str, list[str]]
_AS_ROOT: list[_Way] = [
    ("sudo", "nobody", "-H -n", ["sudo", "-H", "-n", "-u", "nobody", "/bin/sh", "-c"]),
    ("su", "nobody", "-s /bin/sh", ["su", "-s", "/bin/sh", "nobody", "-c"]),
]
_AS_USER: list[_Way] = [("sudo", "root", "-H -n", ["sudo", "-H", "-n", "-u", "root", "/bin/sh", "-c"])]


def find() -> dict[str, str]:
    """What tasks/tour.yml has to know; no ``user`` where there is no way."""
    root = os.geteuid() == 0
    for method, user, flags, command in _AS_ROOT if root else _AS_USER:
        # A user like nobody may not be able to read the project folder, and the virtual environment there.
        for python in (sys.executable, "/usr/bin/python3", "/usr/local/bin/python3"):
            check = f'{shlex.quote(python)} -B -c "import json, sys; sys.exit(sys.version_info < (3, 9))"'
            if _runs([*command, check]):
                says = f"became {user} with {method}"
                return {"method": method, "user": user, "flags": flags, "python": python, "says": says}
    missing = "neither sudo nor su leads to nobody" if root else "not root, and no sudo without a password"
    return {"says": f"skipped ({missing}, or no Python there)"}


def _runs(command: list[str]) -> bool:
    """Without a terminal, so that nobody is asked anything."""
    quiet = subprocess.DEVNULL
    try:
        done = subprocess.run(
            command, stdin=quiet, stdout=quiet, stderr=quiet, timeout=10, check=False, start_new_session=True
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0
