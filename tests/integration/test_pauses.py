# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test a controller that is stopped for a while: afterwards it probes the hops before it closes any."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from lab import Chain3, Lab, chain_of_three, play, playbook, processes, raw, wait_until
from lab.brokers import brokers, playbooks, status, stopped, the_broker
from lab.client import start_ssh
from sessions import opened

from ansible_collections.bastion.ssh.plugins.plugin_utils.client import spawn

INTERVAL = 0.5
COUNT = 2
#: Seconds of silence after which a connection is ended.
LIMIT = INTERVAL * COUNT
PAUSE = 3 * LIMIT
ALIVE: dict[str, Any] = {"ansible_ssh_server_alive_interval": INTERVAL, "ansible_ssh_server_alive_count_max": COUNT}


@contextlib.contextmanager
def paused(lab: Lab, who: str) -> Iterator[None]:
    """Stop the broker, or all of the controller's processes, for the duration of the context."""
    found = [the_broker(lab)] if lab.broker else []
    if who == "the controller":
        (run,) = playbooks(lab)
        found += [run, *processes.descendants(run)]
    with contextlib.ExitStack() as stack:
        for pid in found:
            stack.enter_context(stopped(pid))
        yield


def waiting(marker: Path, go: Path) -> str:
    """Return a command that adds a line to the marker when it starts, and ends when the file exists."""
    return f"echo x >> {marker}; until test -e {go}; do sleep 0.1; done; echo done"


@pytest.mark.parametrize(("who", "targets"), [("the broker", 20), ("the controller", 3)])
def test_commands_go_on_after_a_pause(lab: Lab, who: str, targets: int, marker: Path) -> None:  # trust: T56
    check_that_commands_go_on(lab, who, targets, marker)


@pytest.mark.ways("own process")
def test_commands_go_on_after_a_pause_without_a_broker(lab: Lab, marker: Path) -> None:  # trust: T56
    check_that_commands_go_on(lab, "the controller", 2, marker)


def check_that_commands_go_on(lab: Lab, who: str, targets: int, marker: Path) -> None:
    """Assert that commands survive a pause, as does one of ssh(1), which is stopped for as long."""
    go = lab.path / "go"
    chain = chain_of_three(lab, targets=targets, MaxStartups=100)
    command = waiting(marker, go)
    ssh = ("ServerAliveInterval=1", "ServerAliveCountMax=1")
    with (
        ThreadPoolExecutor(1) as pool,
        start_ssh(lab, chain.target, chain.users[2], command, key=chain.keys[2], options=ssh) as theirs,
    ):
        running = pool.submit(
            playbook, lab, chain.inventory(**ALIVE), play(raw(command)), args=["--forks", str(targets)]
        )
        try:
            started = "x\n" * (targets + 1)
            wait_until(lambda: marker.read_text() == started or running.done(), 60, "all commands have started")
            with paused(lab, who), stopped(theirs.pid):
                time.sleep(PAUSE)
            time.sleep(2 * LIMIT)  # in which a silent connection would be closed
        finally:
            go.touch()
        run = running.result()
        assert theirs.communicate(timeout=30)[0] == "done\n"
    run.check()
    assert {result.result["stdout"] for result in run.all_results} == {"done\n"}
    assert marker.read_text() == started
    if lab.broker:
        assert chain.login_counts() == [1, 1, targets + 1]


@pytest.mark.ways("broker", "own process")
def test_a_link_that_dies_in_a_pause_is_given_up_after_it(
    lab: Lab, chain3: Chain3, marker: Path
) -> None:  # trust: T56, T34
    links, variables = chain3.over_links(lab)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(
            playbook, lab, {"target": variables | ALIVE}, play(raw(waiting(marker, lab.path / "never")))
        )
        wait_until(lambda: marker.read_text() or running.done(), 60, "the command has started")
        with paused(lab, "the controller"):
            links[1].stall()
            time.sleep(PAUSE)
        resumed = time.monotonic()
        run = running.result()
    assert time.monotonic() - resumed < LIMIT + 5  # of which Ansible itself needs some
    result = run.result("target")
    assert result.status == "unreachable"
    assert f"jump host 2 of 2 {chain3.users[1].name}@{links[1].endpoint} (via " in result.result["msg"]
    assert f"): the connection was lost: no answer to keepalives for {LIMIT:g} seconds" in result.result["msg"]
    links[1].cut()


def test_a_login_goes_on_after_a_pause(lab: Lab, chain3: Chain3) -> None:  # trust: T56
    links, variables = chain3.over_links(lab)
    links[1].stall("down")
    seconds = 5
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(
            playbook, lab, {"target": variables | {"ansible_ssh_timeout": seconds}}, play(raw("echo done"))
        )
        wait_until(lambda: links[1].connections or running.done(), 60, "the second hop's turn")
        with paused(lab, "the controller"):
            time.sleep(seconds + 1)
        links[1].resume()
        run = running.result().check()
    assert run.result("target").result["stdout"] == "done\n"
    assert [link.connections for link in links] == [1, 1, 1]


@pytest.mark.ways("own process")
def test_a_clock_that_is_set_ends_no_wait(
    lab: Lab, chain3: Chain3, monkeypatch: pytest.MonkeyPatch
) -> None:  # trust: T56
    """paramiko uses the time of day; the test changes it while a channel is being opened."""
    links, variables = chain3.over_links(lab)
    with opened(lab, variables) as session, ThreadPoolExecutor(1) as pool:
        links[2].stall("down")
        sent = links[2].passed["up"]
        running = pool.submit(session.run, "echo done")
        wait_until(lambda: links[2].passed["up"] > sent, 30, "a request to open a channel")
        real = time.time
        monkeypatch.setattr(time, "time", lambda: real() + 86400)
        with contextlib.suppress(TimeoutError):
            running.result(0.5)  # the library looks ten times in a second
        links[2].resume()
        assert running.result(30).stdout == b"done\n"
    assert chain3.login_counts() == [1, 1, 1]


SLEEPER = """
import runpy, signal, sys, time

asleep, gettime = [0.0], time.clock_gettime
time.clock_gettime = lambda clock: gettime(clock) + (asleep[0] if clock == time.CLOCK_BOOTTIME else 0.0)
signal.signal(signal.SIGUSR2, lambda *_: asleep.__setitem__(0, asleep[0] + 3600))
runpy.run_path({main!r}, run_name="__main__")
"""


@pytest.fixture
def sleeper(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Start a real broker that a signal makes believe in a suspend of one hour, in which only CLOCK_BOOTTIME has advanced.

    No machine is suspended here, and a time namespace cannot change the clock of a process that runs.
    """
    program = lab.path / "broker" / "__main__.py"
    program.parent.mkdir()
    program.write_text(SLEEPER.format(main=spawn._MAIN))
    monkeypatch.setattr(spawn, "_MAIN", str(program))
    return program


@pytest.mark.usefixtures("sleeper")
def test_what_was_to_end_in_a_suspend_ends_after_it(lab: Lab, chain3: Chain3) -> None:  # trust: T56
    with opened(lab, chain3.variables | {"ansible_ssh_persist": 1800}):
        wait_until(lambda: not any(host["leases"] for host in status(lab)["transports"]), 30, "unused connections")
        processes.send(the_broker(lab), signal.SIGUSR2)
        wait_until(lambda: not brokers(lab), 30, "the end of the broker")
    chain3.settle()


@pytest.mark.usefixtures("sleeper")
@pytest.mark.parametrize(("limit", "logins"), [(1800, 2), (7200, 1)])
def test_a_connection_grows_old_in_a_suspend(lab: Lab, chain3: Chain3, limit: int, logins: int) -> None:  # trust: T56
    variables = chain3.variables | {"ansible_ssh_persist": 7200, "ansible_ssh_persist_max": limit}
    with opened(lab, variables) as session:
        processes.send(the_broker(lab), signal.SIGUSR2)
        wait_until(lambda: all(host["age"] > 3600 for host in status(lab)["transports"]), 30, "an hour more")
        assert session.run("echo done").stdout == b"done\n"
    assert chain3.login_counts() == [logins] * 3
