# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a seed plans."""

from __future__ import annotations

from itertools import islice, pairwise

import pytest

from soak.plan import OF_LINKS, OF_SERVERS, Fault, Kind, faults, plays, whole_play

HOSTS = [f"host{number}" for number in range(17)]
LINKS = ["a", "a-b", "host:1"]
SERVERS = ["a", "b", "t"]
HALF_AN_HOUR = 1800


def test_a_seed_always_plans_the_same() -> None:
    assert list(islice(plays(7, HOSTS), 50)) == list(islice(plays(7, HOSTS), 50))
    assert list(faults(7, 300, LINKS, SERVERS)) == list(faults(7, 300, LINKS, SERVERS))


def test_another_seed_plans_something_else() -> None:
    assert list(islice(plays(7, HOSTS), 5)) != list(islice(plays(8, HOSTS), 5))
    assert list(faults(7, 300, LINKS, SERVERS)) != list(faults(8, 300, LINKS, SERVERS))


def test_every_kind_of_task_and_every_way_to_play_occur() -> None:
    planned = list(islice(plays(1, HOSTS), 200))
    assert {task.kind for play in planned for task in play.tasks} == set(Kind)
    assert {play.retries for play in planned} == {0, 1, 2, 3}
    assert {play.method for play in planned} == {"smart", "sftp", "piped"}
    assert {(play.shared, play.pipelining) for play in planned} == {
        (a, b) for a in (True, False) for b in (True, False)
    }
    assert {task.rc for play in planned for task in play.tasks} == {0, 1, 3, 255}


def test_hosts_go_together_where_a_connection_is_reset() -> None:
    planned = [play for play in islice(plays(1, HOSTS), 200) if any(task.kind is Kind.RESET for task in play.tasks)]
    assert planned
    assert {play.strategy for play in planned} == {"linear"}


def test_a_delegated_task_runs_on_a_host_of_its_play() -> None:
    for play in islice(plays(1, HOSTS), 200):
        assert {task.delegate for task in play.tasks if task.kind is Kind.DELEGATED} <= set(play.hosts)


def test_every_kind_of_fault_occurs_at_a_place_that_there_is() -> None:
    planned = list(faults(1, HALF_AN_HOUR, LINKS, SERVERS))
    assert {fault.kind for fault in planned} == set(Fault)
    for fault in planned:
        places = LINKS if fault.kind in OF_LINKS else SERVERS if fault.kind in OF_SERVERS else [""]
        assert fault.place in places


def test_a_fault_comes_one_to_six_seconds_after_another() -> None:
    times = [0.0, *(fault.at for fault in faults(1, HALF_AN_HOUR, LINKS, SERVERS))]
    gaps = [after - before for before, after in pairwise(times)]
    assert min(gaps) >= 1
    assert max(gaps) <= 6
    assert times[-1] < HALF_AN_HOUR


@pytest.mark.parametrize("seed", range(20))
def test_the_broker_that_is_there_at_the_end_has_lived_for_more_than_half_of_the_time(seed: int) -> None:
    kills = [fault.at for fault in faults(seed, HALF_AN_HOUR, LINKS, SERVERS) if fault.kind is Fault.KILL_BROKER]
    assert all(at < HALF_AN_HOUR / 2 for at in kills)


def test_the_whole_play_is_of_all_hosts() -> None:
    assert whole_play(0, HOSTS).hosts == tuple(HOSTS)
