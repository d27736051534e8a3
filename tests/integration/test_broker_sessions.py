# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test how users list and end brokers: the playbook bastion.ssh.sessions."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import yaml
from lab import TRUE, Chain3, Lab, play, playbook, raw, wait_until
from lab.brokers import brokers, status, stopped, the_broker
from lab.playbook import own_playbook


def sessions(lab: Lab, *args: str, expected: int = 0) -> str:
    """Run the playbook bastion.ssh.sessions and return its output."""
    return own_playbook(lab, "bastion.ssh.sessions", *args, expected=expected)


def test_people_see_what_there_is_and_end_it(lab: Lab, chain3: Chain3) -> None:
    assert f"There is no broker in {lab.broker_directory}." in sessions(lab)
    playbook(lab, chain3.inventory(), play(TRUE)).check()
    broker = the_broker(lab)
    shown = sessions(lab, "--check", "-e", "bastion_ssh_stop=true")
    assert f"broker {broker} since " in shown
    assert f"would end broker {broker} and its connections" in shown
    names = [f"{user.name}@{host.endpoint}" for user, host in zip(chain3.users, chain3.hosts, strict=True)]
    assert f"{names[0]}: open for" in shown
    assert f"{names[1]} via {names[0]}: open for" in shown
    assert f"{names[2]} via {names[1]}: open for" in shown
    assert shown.count("used once") == 3
    assert "KiB sent" in shown
    assert brokers(lab) == [broker]
    assert f"ended broker {broker} and its connections" in sessions(lab, "-e", "bastion_ssh_stop=true")
    assert brokers(lab) == []
    assert "There is no broker in " in sessions(lab)


def test_people_see_what_has_become_of_each_hop(lab: Lab, chain3: Chain3) -> None:
    inventory = chain3.inventory(ansible_ssh_server_alive_interval=0.2)
    chain3.b.stop()
    assert playbook(lab, inventory, play(TRUE)).result("target").status == "unreachable"
    chain3.b.start()
    playbook(lab, inventory, play(TRUE, TRUE)).check()  # another run connects at once
    names = [f"{user.name}@{host.endpoint}" for user, host in zip(chain3.users, chain3.hosts, strict=True)]
    wait_until(lambda: all(hop["round_trip"] for hop in status(lab)["hops"]), 30, "an answer to a keepalive")
    hops = {hop["hop"]: hop for hop in status(lab)["hops"]}
    assert [(name, hop["dials"]) for name, hop in hops.items()] == [(names[0], 1), (names[1], 2), (names[2], 1)]
    cause = f"the hop before it cannot connect to {chain3.b.endpoint}: Connection refused"
    assert [hop["failures"] for hop in hops.values()] == [{}, {cause: 1}, {}]
    assert hops[names[0]]["sent"] > hops[names[1]]["sent"] > hops[names[2]]["sent"] > 0
    shown = sessions(lab)
    _now, since = shown.split("  all connections since ")
    assert f"{names[1]} via {names[0]}: connected to 2 times, 1 of them failed (1 x {cause}), used again " in since
    assert "last keepalive answered in " in since
    assert [since.index(f"    {name}") for name in names] == sorted(since.index(f"    {name}") for name in names)
    localhost = {"localhost": {"ansible_connection": "local"}}
    result = playbook(lab, localhost, play({"name": "Sessions", "bastion.ssh.sessions": {}})).result("localhost").result
    (told,) = result["brokers"]
    assert told["pid"] == the_broker(lab)
    assert [(hop["hop"], hop["dials"], hop["failures"]) for hop in told["hops"]] == [
        (names[0], 1, {}), (names[1], 2, {cause: 1}), (names[2], 1, {})
    ]  # fmt: skip
    for part, contents in (("hops", told["hops"]), ("transports", told["transports"])):
        assert {frozenset(each) for each in contents} == {documented(part)}


def documented(part: str) -> frozenset[str]:
    """Return the fields of a broker's hops or transports that the module's documentation lists."""
    module = Path(__file__).parents[2] / "plugins/modules/sessions.py"
    returned = yaml.safe_load(re.findall(r'^RETURN = r?"""(.*?)^"""', module.read_text(), re.DOTALL | re.MULTILINE)[0])
    return frozenset(returned["brokers"]["contains"][part]["contains"])


def test_people_see_what_is_in_use(lab: Lab, chain3: Chain3) -> None:
    wait = raw("exec sleep 60")
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(playbook, lab, chain3.inventory(), play(wait))
        wait_until(lambda: chain3.target.count("Starting session") or running.done(), 60, "the command has started")
        shown = sessions(lab, "-e", "bastion_ssh_stop=true")
        assert shown.count("in use by 1") == 3
        assert "1 tasks at work" in shown
        result = running.result().result("target")
        assert result.status == "unreachable"
        assert "the connection was lost: the broker on the controller was stopped" in result.result["msg"]


def test_people_see_a_broker_that_is_silent(lab: Lab, chain3: Chain3) -> None:
    playbook(lab, chain3.inventory(), play(TRUE)).check()
    broker = the_broker(lab)
    with stopped(broker):
        words = f"no answer; if ps shows that process {broker} is a broker, end it with kill -9 {broker}"
        assert words in sessions(lab)
        assert words in sessions(lab, "-e", "bastion_ssh_stop=true", expected=2)


def test_people_may_only_say_yes_or_no(lab: Lab) -> None:
    sessions(lab, "-e", "bastion_ssh_stop=maybe", expected=2)
