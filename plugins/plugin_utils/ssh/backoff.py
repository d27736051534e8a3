# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection.
"""Compute how long to wait before the next attempt."""

from __future__ import annotations

_LONGEST = 30.0
_DOUBLINGS = 7  # failures that lead to _LONGEST


def longest_pause(failures: int) -> float:
    """Return the longest pause in seconds after a number of failures: 0.5, 1, 2, 4, 8, 16 and then 30."""
    return min(2.0 ** (min(failures, _DOUBLINGS) - 2), _LONGEST)


def pause(failures: int, chance: float) -> float:
    """Return the pause in seconds after a number of failures.

    :param chance: a random number from 0 to 1, so that clients that failed together do not retry together.
    """
    return longest_pause(failures) * (1 + chance) / 2
