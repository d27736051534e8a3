# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test hops that fall silent or die, and a library that is stuck: waiting tasks get an error, and the next task works."""

from __future__ import annotations

import re
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import paramiko
import pytest
from lab import TRUE, Chain3, Lab, Run, chain_of_three, play, playbook, processes, raw, wait_until
from lab.chains import hop_name
from sessions import OpenSession, fill, opened

from ansible_collections.bastion.ssh.plugins.plugin_utils.client.interface import Output
from ansible_collections.bastion.ssh.plugins.plugin_utils.errors import LinkLost

#: Seconds until a silent link is closed.
PATIENCE = 2.0
ALIVE = {"ansible_ssh_server_alive_interval": PATIENCE / 2, "ansible_ssh_server_alive_count_max": 2}


@pytest.mark.ways("broker", "own process")
@pytest.mark.parametrize("index", [0, 1, 2])
def test_a_silent_link_is_given_up_with_all_that_it_carries(
    lab: Lab, chain3: Chain3, index: int, marker: Path
) -> None:  # trust: T34
    links, variables = chain3.over_links(lab)
    wait = raw(f"echo x >> {marker}; exec sleep 60", "Wait")
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(playbook, lab, {"target": variables | ALIVE}, play(wait))
        wait_until(lambda: marker.read_text() or running.done(), 60, "the command has started")
        links[index].stall()
        stalled = time.monotonic()
        run = running.result()
    assert time.monotonic() - stalled < PATIENCE + 10  # of which Ansible itself needs some
    result = run.result("target")
    assert result.status == "unreachable"
    place = f"{hop_name(index, 3)} {chain3.users[index].name}@{links[index].endpoint}"
    assert place in result.result["msg"]
    assert f"no answer to keepalives for {PATIENCE:g} seconds" in result.result["msg"]
    links[index].cut()  # what it still holds back
    links[index].resume()
    playbook(lab, {"target": variables | ALIVE}, play(TRUE)).check()
    assert [link.connections for link in links] == [1 if lab.broker and other < index else 2 for other in range(3)]


@pytest.mark.parametrize("how", ["its sessions", "the server"])
def test_a_bastion_that_dies_ends_all_that_it_carries(lab: Lab, how: str, marker: Path) -> None:  # trust: T35
    chain = chain_of_three(lab, targets=20, MaxStartups=100)
    wait = raw(f"echo x >> {marker}; exec sleep 60", "Wait")
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(playbook, lab, chain.inventory(), play(wait), args=["--forks", "20"])
        wait_until(lambda: marker.read_text() == "x\n" * 20 or running.done(), 60, "all commands have started")
        if how == "its sessions":
            chain.a.kill_sessions()
        else:
            chain.a.restart()
        died = time.monotonic()
        run: Run = running.result()
    assert time.monotonic() - died < 10
    assert run.statuses() == {f"target{number}": ["unreachable"] for number in range(1, 21)}
    messages = [result.result["msg"] for result in run.all_results]
    place = f"jump host 1 of 2 {chain.users[0].name}@{chain.a.endpoint}: the connection was lost"
    assert [text for text in messages if place not in text] == []
    assert marker.read_text() == "x\n" * 20
    playbook(lab, chain.inventory(), play(TRUE), args=["--forks", "20"]).check()
    chain.settle()
    assert chain.login_counts() == [2, 2, 40]


# A library that is stuck: a lock that is never released simulates paramiko's known deadlocks, which cannot be provoked at will
# (paramiko#247, #2534, #2685).


class Running:
    """Run a command that has reported its process id."""

    def __init__(self, session: OpenSession) -> None:
        self.process = cast(Any, session.session.start("echo $$; exec sleep 60"))
        started = self.process.read(10)
        assert isinstance(started, Output)
        self.pid = int(started.data)
        self.channel = self.process._process._channel
        self.transport = self.process._lease.session._target.transport

    def end(self) -> None:
        """Kill the command, so that the server reports its end."""
        processes.send(self.pid, signal.SIGKILL)


@pytest.mark.ways("own process")
def test_a_stuck_thread_is_noticed_and_replaced(lab: Lab, chain3: Chain3) -> None:  # trust: T42
    with opened(lab, chain3.variables | ALIVE) as session:
        running = Running(session)
        running.channel.lock.acquire()  # for which the thread waits at the end of the command
        running.end()
        with pytest.raises(LinkLost, match=r"target.* no answer to keepalives"):
            running.process.read(None)
        running.process.close()
        wait_until(lambda: not running.transport.is_alive(), 30, "the end of the thread")
        assert session.run("echo here").stdout == b"here\n"
    chain3.settle()
    assert chain3.login_counts() == [1, 1, 2]


@pytest.mark.ways("own process")
def test_who_sends_is_not_stuck_with_the_library(lab: Lab, chain3: Chain3) -> None:  # trust: T42
    with opened(lab, chain3.variables | ALIVE) as session, ThreadPoolExecutor(2) as pool:
        running = Running(session)
        writing = pool.submit(fill, running.process)
        wait_until(lambda: not running.channel.out_window_size, 30, "a full window")
        running.transport.clear_to_send_lock.acquire()
        reading = pool.submit(running.process.read, None)
        with pytest.raises(LinkLost, match=r"target.* no answer to keepalives"):
            reading.result(30)
        writing.result(30)
        asked = "keepalive-probe"
        wait_until(lambda: asked not in [thread.name for thread in threading.enumerate()], 30, "the end of who asked")
        running.process.close()
        assert session.run("echo here").stdout == b"here\n"


@pytest.mark.ways("own process")
def test_a_session_is_not_waited_for_with_the_library(
    lab: Lab, chain3: Chain3, monkeypatch: pytest.MonkeyPatch
) -> None:  # trust: T42
    with opened(lab, chain3.variables) as session:
        running = Running(session)
        monkeypatch.setattr(running.transport.lock, "_limit", 1.0)
        running.transport.lock.acquire()
        assert session.run("echo here").stdout == b"here\n"
        running.process.close()


@pytest.mark.ways("own process")
def test_a_channel_is_closed_where_nobody_can_be_told(
    lab: Lab, chain3: Chain3, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For a moment, a connection has ended and its channels do not know; the test simulates that in paramiko."""

    def ended(_data: bytes) -> None:
        raise EOFError

    with opened(lab, chain3.variables) as session:
        running = Running(session)
        monkeypatch.setattr(running.transport.packetizer, "write_all", ended)
        running.channel.close()
        assert running.channel.closed
        monkeypatch.undo()


@pytest.mark.ways("own process")
def test_a_channel_that_is_opened_too_late_is_closed(lab: Lab, chain3: Chain3) -> None:
    links, variables = chain3.over_links(lab)
    with opened(lab, variables) as session:
        running = Running(session)
        nothing_runs = r"session_close_by_channel: channel \d+ child 0$"
        before = len(re.findall(nothing_runs, chain3.target.log(), re.MULTILINE))  # that of a command which has ended
        links[2].stall("down")
        with pytest.raises(paramiko.SSHException, match="Timeout opening channel"):
            running.transport.open("session", timeout=0.5)
        links[2].resume()
        chain3.target.wait_log(nothing_runs, times=before + 1)
        assert session.run("echo here").stdout == b"here\n"
        running.process.close()
