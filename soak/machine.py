# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""With what it was run."""

from __future__ import annotations

import importlib.metadata
import platform
import subprocess


def versions() -> dict[str, str]:
    """Name -> version."""
    told = subprocess.run(["ssh", "-V"], stderr=subprocess.PIPE, text=True, check=True).stderr.split(",")[0]
    packages = {name: importlib.metadata.version(name) for name in ("ansible-core", "paramiko")}
    return {"Python": platform.python_version(), **packages, "OpenSSH": told.partition("_")[2].split()[0]}
