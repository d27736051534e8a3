# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which clock goes on when: its machine is suspended, its process is stopped."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from ansible_collections.bastion.ssh.plugins.plugin_utils import clock
from ansible_collections.bastion.ssh.plugins.plugin_utils.clock import Running
from ansible_collections.bastion.ssh.plugins.plugin_utils.deadline import Deadline


@pytest.fixture
def passed(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time that has passed, which is played."""
    played = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: played[0])
    return played


# trust: T56
def test_the_running_clock_stands_still_while_its_process_is_stopped(passed: list[float]) -> None:
    running = Running()

    def after(seconds: float) -> float:
        passed[0] += seconds
        return running.now() - 1000

    assert after(600) == 600  # nothing beats it
    running.beat()
    assert after(1) == 601
    running.beat()
    assert after(3600) == 603  # the first look after a stop
    assert after(1) == 603
    running.beat()
    assert after(1) == 604
    assert after(0.5) == 604.5
    running.rest()
    assert after(3600) == 604.5 + 3600
    running.beat()
    assert after(3600) == 604.5 + 3600 + 2


# trust: T56
def test_a_deadline_stands_still_while_the_broker_is_stopped(
    passed: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    running = Running()
    monkeypatch.setattr(sys.modules[Deadline.__module__], "running", running.now)
    running.beat()
    deadline = Deadline(10)
    passed[0] += 3600
    assert not deadline.expired
    assert deadline.remaining() == 8
    running.beat()
    for _second in range(8):
        assert not deadline.expired
        passed[0] += 1
        running.beat()
    assert deadline.expired


def test_a_deadline_waits_for_an_event() -> None:
    event = threading.Event()
    assert not Deadline(0.05).wait(event)
    event.set()
    assert Deadline(0).wait(event)


# No machine is suspended here. A new process gets a clock that is ahead, as after a suspend.  trust: T56
def test_lifetimes_go_on_in_suspend() -> None:
    ahead = ["unshare", "--time", "--boottime", "100000", "--fork"]
    if subprocess.run([*ahead, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no time namespaces here")
    root = Path(clock.__file__).parents[5]
    program = f"""
import sys, time
sys.path.insert(0, {str(root)!r})
from ansible_collections.bastion.ssh.plugins.plugin_utils import clock
print(clock.lifetime() - time.clock_gettime(time.CLOCK_MONOTONIC), clock.running() - time.monotonic())
"""
    here, there = (
        subprocess.run([*way, sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
        for way in ([], ahead)
    )
    assert 99_990 < float(there[0]) - float(here[0]) < 100_010
    assert abs(float(there[1])) < 1
