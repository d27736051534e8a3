# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long it takes to try again."""

from __future__ import annotations

import pytest

from ansible_collections.bastion.ssh.plugins.plugin_utils.ssh.backoff import longest_pause, pause


@pytest.mark.parametrize(
    ("failures", "seconds"),
    [(1, 0.5), (2, 1.0), (3, 2.0), (4, 4.0), (5, 8.0), (6, 16.0), (7, 30.0), (8, 30.0), (10**9, 30.0)],
)
def test_pauses_grow_to_half_a_minute(failures: int, seconds: float) -> None:
    assert longest_pause(failures) == seconds


def test_chance_takes_up_to_a_half_away() -> None:
    assert [pause(3, chance) for chance in (0.0, 0.5, 1.0)] == [1.0, 1.5, 2.0]
