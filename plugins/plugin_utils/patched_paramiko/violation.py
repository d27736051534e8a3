# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection.
"""What a server sent and may not send, or what could not be read: the end of its connection, and of nothing else."""

from __future__ import annotations

import logging
import os
import threading
import traceback

from .compat import BROKEN, paramiko

log = logging.getLogger("bastion.ssh.broker")


class Violation(paramiko.SSHException):
    """The server broke the protocol, or a bound of ours; the words are ours, and safe to show."""


def as_broken(error: Exception) -> Exception:
    """The same error, if it is one of a broken connection; else one that is, as it came from handling what a server sent.

    It may be a defect of ours, or of the library, so the log says where in the code it came from.
    """
    if isinstance(error, BROKEN):
        return error
    kind = type(error).__name__
    # The error's own words are left out, as they may be the server's; the lines of code are not.
    log.error("%s: %s while reading what a server sent, at %s", threading.current_thread().name, kind, where(error))
    broken = Violation(f"what it sent cannot be read ({kind})")
    broken.__cause__ = error
    return broken


def where(error: BaseException) -> str:
    """The places in the code that an error came through."""
    frames = traceback.extract_tb(error.__traceback__)
    return " < ".join(f"{os.path.basename(frame.filename)}:{frame.lineno}" for frame in reversed(frames))
