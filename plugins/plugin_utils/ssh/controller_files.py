# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files of the controller: where the user's are, and whether one has changed."""

from __future__ import annotations

import os
import pwd

Version = tuple[int, ...]


def home() -> str:
    """The user's home directory by the user database, as for ssh(1), whatever $HOME says."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_dir
    except KeyError:  # a container's user without an entry
        return os.path.expanduser("~")


def version_of(path: str | os.PathLike[str]) -> Version:
    """What changes when a file does, its times (ns) last; one that cannot be looked at has no times."""
    try:
        found = os.stat(path)
    except OSError as error:
        return error.errno or 0, 0, 0
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
