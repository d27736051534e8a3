# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection.
"""Define the error for what a server may not send or what cannot be parsed, which ends its connection and nothing else."""

from __future__ import annotations

import logging
import os
import threading
import traceback

from .compat import BROKEN, paramiko

log = logging.getLogger("bastion.ssh.broker")


class Violation(paramiko.SSHException):
    """Signal that the server violated the protocol or a bound. The text is not the server's, and safe to show."""


def as_broken(error: Exception) -> Exception:
    """Return an error of a broken connection as it is. Turn any other, from handling what a server sent, into a Violation.

    It may be a bug here or in paramiko, so log where in the code it came from.
    """
    if isinstance(error, BROKEN):
        return error
    kind = type(error).__name__
    # Log lines of code only, as the error's text may be the server's.
    log.error("%s: %s while reading what a server sent, at %s", threading.current_thread().name, kind, where(error))
    broken = Violation(f"what it sent cannot be read ({kind})")
    broken.__cause__ = error
    return broken


def where(error: BaseException) -> str:
    """Return the files and lines that an error passed through, innermost first."""
    frames = traceback.extract_tb(error.__traceback__)
    return " < ".join(f"{os.path.basename(frame.filename)}:{frame.lineno}" for frame in reversed(frames))
