# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is counted of each hop."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from ansible_collections.bastion.ssh.plugins.plugin_utils.errors import HopUnreachable
from ansible_collections.bastion.ssh.plugins.plugin_utils.pool import statistics as module
from ansible_collections.bastion.ssh.plugins.plugin_utils.pool.identity import HopIdentity
from ansible_collections.bastion.ssh.plugins.plugin_utils.pool.pool import PooledTransport
from ansible_collections.bastion.ssh.plugins.plugin_utils.pool.statistics import Statistics


def shared(
    label: str, parent: PooledTransport | None = None, sent: int = 0, round_trip: float | None = None
) -> PooledTransport:
    made = PooledTransport(parent, HopIdentity(label, "", ""), f"the place of {label}", label)
    made.link = SimpleNamespace(transport=SimpleNamespace(sent=sent, received=2 * sent), round_trip=round_trip)
    return made


def counted(label: str, via: str | None = None, **counts: Any) -> dict[str, Any]:
    nothing = {"dials": 0, "failures": {}, "reused": 0, "sent": 0, "received": 0, "round_trip": None}
    return {"hop": label, "via": via, **nothing, **counts}


def unreachable(place: str, problem: str) -> HopUnreachable:
    return HopUnreachable(place, problem, "advice")


def test_each_way_to_a_hop_is_counted() -> None:
    statistics = Statistics()
    a, b = shared("a"), shared("b")
    for target in (shared("t", a), shared("t", b), shared("t", a)):
        statistics.attempted(target)
    assert statistics.described() == [counted("t", "b", dials=1), counted("t", "a", dials=2)]


def test_failures_are_counted_by_cause() -> None:
    statistics = Statistics()
    a = shared("a")
    errors = [
        unreachable(a.place, "down"),
        unreachable("another place", "up"),
        KeyError(),
        unreachable(a.place, "down"),
    ]
    for error in errors:
        statistics.failed(a, error)
    failures = {"down": 2, "at a hop before it: up": 1, "KeyError": 1}
    assert statistics.described() == [counted("a", failures=failures)]


def test_very_many_causes_are_one() -> None:
    statistics = Statistics()
    a = shared("a")
    for number in range(100):
        statistics.failed(a, unreachable(a.place, f"cause {number % 50}"))
    ((_hop, _via, failures),) = ((hop["hop"], hop["via"], hop["failures"]) for hop in statistics.described())
    assert (len(failures), failures["cause 0"], failures["other causes"]) == (6, 2, 90)


def test_bytes_are_those_of_connections_that_are_closed_and_of_those_there_are() -> None:
    statistics = Statistics()
    past, present = shared("a", sent=3, round_trip=0.5), shared("a", sent=4)
    for each in (past, present):
        statistics.opened(each)
    statistics.closed(past)
    statistics.reused(present)
    assert statistics.described() == [counted("a", reused=1, sent=7, received=14, round_trip=0.5)]
    present.link.round_trip = 0.25
    assert statistics.described()[0]["round_trip"] == 0.25
    statistics.closed(present)
    present.link.transport.sent = 100  # which nobody counts any more
    assert statistics.described() == [counted("a", reused=1, sent=7, received=14, round_trip=0.25)]


def test_of_very_many_hops_those_are_kept_that_were_used_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_HOPS", 2)
    statistics = Statistics()
    for label in "abac":
        statistics.attempted(shared(label))
    assert statistics.described() == [counted("a", dials=2), counted("c", dials=1)]
