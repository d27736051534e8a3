# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection.
"""Locate the user's files on the controller, and detect changes of files."""

from __future__ import annotations

import os
import pwd

Version = tuple[int, ...]

_NO_HOME = "/"  # as container runtimes set it


def home() -> str:
    """Return the home directory of the user database, as ssh(1) does, regardless of $HOME."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_dir
    except KeyError:  # a container's user without an entry
        found = os.path.expanduser("~")
        return _NO_HOME if found == "~" else found


def login_name() -> str:
    """Return the login name of the user database, as ssh(1) does: su(1) and sudo(8) may keep the caller's in the environment.

    Without an entry there, it is that of the environment, or empty.
    """
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return os.environ.get("LOGNAME") or os.environ.get("USER") or ""


def set_missing_home() -> None:
    """Set $HOME for this process if neither the environment nor the user database has a home directory, so that ``~`` expands."""
    if os.path.expanduser("~") == "~":
        os.environ["HOME"] = _NO_HOME


def version_of(path: str | os.PathLike[str]) -> Version:
    """Return a value that changes with a file; the last two items are its mtime and ctime in ns, or 0 if stat(2) fails."""
    try:
        found = os.stat(path)
    except OSError as error:
        return error.errno or 0, 0, 0
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
