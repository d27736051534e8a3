# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection.
"""Which clock is for what.

- ``time.monotonic`` is for single waits, as poll(2), sockets and conditions wait by it. It stands still while the machine
  is suspended, and goes on while this process is stopped (SIGSTOP, a frozen container).
- :func:`lifetime` is for how long something may be kept or used. It goes on in both.
- :func:`running` is for the time that others have to answer. It stands still in both, as no answer can be read meanwhile.

The time of day is for none of them: it can be set.
"""

from __future__ import annotations

import time

#: Seconds between two calls of :func:`beat` from which on this process was not running.
_STOPPED = 2.0


def _goes_on_in_suspend() -> bool:
    try:
        time.clock_gettime(time.CLOCK_BOOTTIME)
    except (AttributeError, OSError):  # not Linux, or a sandbox
        return False
    return True


if _goes_on_in_suspend():

    def lifetime() -> float:
        """Seconds, those in suspend included, as OpenSSH counts them (misc.c, monotime_ts)."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)

else:
    lifetime = time.monotonic


class Running:
    """A clock that stands still while its process is stopped, if something beats it each second or so."""

    def __init__(self) -> None:
        self._state: tuple[float | None, float] = (None, 0.0)  # the last beat, and the seconds stopped before it

    def now(self) -> float:
        """Seconds; while nothing beats it, those of ``time.monotonic`` without earlier stops."""
        beat, stopped = self._state  # at once, as another thread may beat
        now = time.monotonic()
        return (now if beat is None else min(now, beat + _STOPPED)) - stopped

    def beat(self) -> None:
        """Shows that the process runs. For a look between a stop and the next beat, no time has passed in the stop, either."""
        beat, stopped = self._state
        now = time.monotonic()
        self._state = (now, stopped if beat is None else stopped + max(0.0, now - beat - _STOPPED))

    def rest(self) -> None:
        """No more beats come."""
        self.beat()
        self._state = (None, self._state[1])


_running = Running()
running, beat, rest = _running.now, _running.beat, _running.rest
