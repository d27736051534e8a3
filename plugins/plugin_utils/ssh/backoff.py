# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection.
"""How long to wait before something is tried again."""

from __future__ import annotations

_LONGEST = 30.0
_DOUBLINGS = 7  # until the longest


def longest_pause(failures: int) -> float:
    """Seconds to wait, at most, after so many failures: 0.5, 1, 2, 4, 8, 16 and then 30."""
    return min(2.0 ** (min(failures, _DOUBLINGS) - 2), _LONGEST)


def pause(failures: int, chance: float) -> float:
    """Seconds to wait after so many failures.

    :param chance: from 0 to 1, at random, so that those who failed together do not all come again together.
    """
    return longest_pause(failures) * (1 + chance) / 2
