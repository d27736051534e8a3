# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection.
"""Provide the clocks for lifetimes and for timeouts.

- ``time.monotonic`` is for single waits, as poll(2), sockets and conditions use it. It pauses while the machine
  is suspended, but not while this process is stopped (SIGSTOP, a frozen container).
- :func:`lifetime` is for how long something may be kept or used. It pauses in neither case.
- :func:`running` is for the time that a peer has to answer. It pauses in both cases, as no answer can be read meanwhile.

The time of day serves none of these purposes, as it can be set.
"""

from __future__ import annotations

import time

#: Seconds between two calls of :func:`beat` beyond which the process counts as stopped.
_STOPPED = 2.0


def _goes_on_in_suspend() -> bool:
    try:
        time.clock_gettime(time.CLOCK_BOOTTIME)
    except (AttributeError, OSError):  # not Linux, or a sandbox
        return False
    return True


if _goes_on_in_suspend():

    def lifetime() -> float:
        """Return seconds, including suspended time, as OpenSSH does (misc.c, monotime_ts)."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)

else:
    lifetime = time.monotonic


class Running:
    """Measure time without the stops of this process, if :meth:`beat` is called about once a second."""

    def __init__(self) -> None:
        self._state: tuple[float | None, float] = (None, 0.0)  # the last beat, and the seconds stopped before it

    def now(self) -> float:
        """Return seconds. Without beats, they are those of ``time.monotonic`` less the earlier stops."""
        beat, stopped = self._state  # one read, as another thread may call beat()
        now = time.monotonic()
        return (now if beat is None else min(now, beat + _STOPPED)) - stopped

    def beat(self) -> None:
        """Record that the process is running. Until the next beat, :meth:`now` advances by at most ``_STOPPED`` seconds."""
        beat, stopped = self._state
        now = time.monotonic()
        self._state = (now, stopped if beat is None else stopped + max(0.0, now - beat - _STOPPED))

    def rest(self) -> None:
        """Expect no more beats."""
        self.beat()
        self._state = (None, self._state[1])


_running = Running()
running, beat, rest = _running.now, _running.beat, _running.rest
