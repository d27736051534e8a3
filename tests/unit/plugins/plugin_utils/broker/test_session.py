# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long it takes to try again."""

from __future__ import annotations

import pytest

from ansible_collections.bastion.ssh.plugins.plugin_utils.broker.session import pause, pauses


@pytest.mark.parametrize(
    ("failures", "seconds"), [(1, 0.0), (2, 1.0), (3, 3.0), (4, 7.0), (5, 15.0), (6, 30.0), (7, 30.0), (10**9, 30.0)]
)
def test_pauses_grow_to_half_a_minute(failures: int, seconds: float) -> None:
    assert pause(failures) == seconds


@pytest.mark.parametrize("count", [0, 1, 4, 5, 6, 7, 100])
def test_all_pauses_together(count: int) -> None:
    assert pauses(count) == sum(map(pause, range(1, count + 1)))


def test_very_many_pauses_are_counted_at_once() -> None:
    assert pauses(10**9) == 30.0 * 10**9 - 124.0
