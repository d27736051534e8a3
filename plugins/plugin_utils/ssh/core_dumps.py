# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection.
"""Keep the secrets of a process out of core dumps and from other processes of its user."""

from __future__ import annotations

import contextlib
import os
import resource

_PR_SET_DUMPABLE = 4  # linux/prctl.h
# The broker must be able to read this; before Linux 5.14 a non-dumpable process cannot, unless it runs as root.
_OWN_FILE = "/proc/self/fdinfo/0"
# The limit before it was changed, for child processes; empty if it was not.
_limits: list[tuple[int, int]] = []


def forbid_core_dumps() -> None:
    """Forbid core dumps of this process and, since Linux 5.14, reading its memory except by root (prctl(2), PR_SET_DUMPABLE).

    The memory of programs that it executes stays readable.
    """
    with contextlib.suppress(ImportError, OSError, AttributeError):  # a Python without ctypes, or not Linux
        import ctypes

        prctl = ctypes.CDLL(None).prctl
        prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
        if not os.access(_OWN_FILE, os.R_OK):
            prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0)
    _limits.append(resource.getrlimit(resource.RLIMIT_CORE))
    resource.setrlimit(resource.RLIMIT_CORE, (0, _limits[0][1]))


def allow_core_dumps(pid: int) -> None:
    """Restore the core limit of a child process, which has inherited that of :func:`forbid_core_dumps`."""
    if _limits and hasattr(resource, "prlimit"):
        with contextlib.suppress(OSError):  # it has ended
            resource.prlimit(pid, resource.RLIMIT_CORE, _limits[0])
