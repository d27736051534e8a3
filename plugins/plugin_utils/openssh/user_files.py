# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection.
"""Files of the controller: where the user's are, and whether one has changed."""

from __future__ import annotations

import os
import pwd

Version = tuple[int, ...]

_NO_HOME = "/"  # as container runtimes have it


def home() -> str:
    """The user's home directory by the user database, as for ssh(1), whatever $HOME says."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_dir
    except KeyError:  # a container's user without an entry
        found = os.path.expanduser("~")
        return _NO_HOME if found == "~" else found


def login_name() -> str:
    """Of the user database, as for ssh(1), as that of the environment may be from before su(1) or sudo(8); empty if nothing tells it."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return os.environ.get("LOGNAME") or os.environ.get("USER") or ""


def set_missing_home() -> None:
    """Give ``~`` a meaning in this process, where neither the environment nor the user database has a home directory."""
    if os.path.expanduser("~") == "~":
        os.environ["HOME"] = _NO_HOME


def version_of(path: str | os.PathLike[str]) -> Version:
    """What changes when a file does, its times (ns) last; one that cannot be looked at has no times."""
    try:
        found = os.stat(path)
    except OSError as error:
        return error.errno or 0, 0, 0
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
