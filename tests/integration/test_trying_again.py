# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test hops that accept no connection for a while: which tasks wait for them, and which fail."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor

import pytest
from lab import TRUE, Chain3, Lab, chain_of_three, play, playbook, raw, stuck, wait_until
from lab.chains import hop_name
from lab.sinks import connect
from sessions import opened

pytestmark = pytest.mark.ways("broker", "own process")

HERE = raw("echo here")


@pytest.mark.parametrize("index", [0, 1])
def test_a_bastion_that_restarts_is_waited_for(lab: Lab, chain3: Chain3, index: int) -> None:
    links, variables = chain3.over_links(lab)
    link = links[index]
    link.refuse()
    notes: list[str] = []

    def command() -> bytes:
        with opened(lab, variables | {"ansible_ssh_timeout": 30}, notes=notes) as session:
            return session.run("echo here").stdout

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(command)
        refused = f"{hop_name(index, 3)} .*Connection refused.* Trying again in "
        wait_until(lambda: sum(map(bool, (re.search(refused, note) for note in notes))) > 1, 30, "two dials")
        link.listen()
        assert running.result() == b"here\n"


@pytest.mark.parametrize("where", ["a bastion", "the target"])
def test_a_server_that_lets_nobody_more_log_in_is_waited_for(lab: Lab, chain3: Chain3, where: str) -> None:
    server = chain3.b if where == "a bastion" else chain3.target
    server.options["MaxStartups"] = "1:100:1"
    server.reload()
    with ThreadPoolExecutor(1) as pool, connect((server.address, server.port)) as first:
        assert first.recv(8) == b"SSH-2.0-"  # and now the server waits for this one to log in
        running = pool.submit(playbook, lab, chain3.inventory(ansible_ssh_timeout=30), play(HERE), args=["-vvv"])
        server.wait_log("drop connection", times=2)
        first.close()
        run = running.result().check()
    assert run.result("target").result["stdout"] == "here\n"
    assert "it closed the connection before an SSH conversation began" in run.stdout


def test_a_target_that_refuses_connections_is_told_at_once(lab: Lab, chain3: Chain3) -> None:
    chain3.target.stop()
    run = playbook(lab, chain3.inventory(ansible_ssh_timeout=50), play(TRUE), args=["-vvv"])
    assert "Connection refused" in run.result("target").result["msg"]
    assert "Trying again" not in run.text


@pytest.mark.ways("broker")
def test_a_bastion_in_trouble_is_dialled_once_and_told_once(lab: Lab) -> None:
    chain = chain_of_three(lab, targets=20)
    silent = lab.sink(stuck)
    first, second = chain.jump_list
    way = [first, second | {"host": silent.address, "port": silent.port}]
    chain.a.options["PermitOpen"] = silent.endpoint
    chain.a.reload()
    run = playbook(
        lab, chain.inventory(ansible_ssh_jump=way, ansible_ssh_timeout=8), play(TRUE), args=["--forks", "20"]
    )
    assert run.statuses() == {f"target{number}": ["unreachable"] for number in range(1, 21)}
    place = f"jump host 2 of 2 {chain.users[1].name}@{silent.endpoint} (via {chain.users[0].name}@{chain.a.endpoint}): "
    told = [result.result["msg"].partition(place)[2] for result in run.all_results]
    cause = "connected, but no SSH answer within 8 seconds"
    assert len([text for text in told if text.startswith(cause)]) == 1
    assert len([text for text in told if text.startswith("not tried again: ") and cause in text]) == 19
    assert silent.connections == 1
