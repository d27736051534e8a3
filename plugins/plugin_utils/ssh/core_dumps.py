# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection.
"""A process that has secrets leaves no core dump, and keeps its memory from other processes of its user."""

from __future__ import annotations

import contextlib
import os
import resource

_PR_SET_DUMPABLE = 4  # linux/prctl.h
# What a process may not read of itself then before Linux 5.14, unless it is root's, and the broker has to.
_OWN_FILE = "/proc/self/fdinfo/0"
# What this process had, for the commands that it runs; empty where nothing was changed.
_limits: list[tuple[int, int]] = []


def forbid_core_dumps() -> None:
    """Forbids core dumps of this process and, since Linux 5.14, reading its memory (prctl(2), PR_SET_DUMPABLE), root excepted.

    A program that it executes can be read again, as any other.
    """
    with contextlib.suppress(ImportError, OSError, AttributeError):  # a Python without ctypes, or no Linux
        import ctypes

        prctl = ctypes.CDLL(None).prctl
        prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
        if not os.access(_OWN_FILE, os.R_OK):
            prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0)
    _limits.append(resource.getrlimit(resource.RLIMIT_CORE))
    resource.setrlimit(resource.RLIMIT_CORE, (0, _limits[0][1]))


def allow_core_dumps(pid: int) -> None:
    """Gives a command the limit that it would have without :func:`forbid_core_dumps`, which it has inherited."""
    if _limits and hasattr(resource, "prlimit"):
        with contextlib.suppress(OSError):  # it has ended
            resource.prlimit(pid, resource.RLIMIT_CORE, _limits[0])
