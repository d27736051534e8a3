# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test behaviour when every processor is busy, and 20 hosts fail at once."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from lab import Chain3, Forwarder, Lab, chain_of_three, play, playbook, processes, raw, stuck, wait_until
from lab.brokers import the_broker
from lab.chains import CONNECT, place, same_addresses
from lab.playbook import TaskResult

LONGEST = 300  # seconds
pytestmark = pytest.mark.timeout(LONGEST)

FORKS = ["--forks", "20"]


@pytest.fixture(autouse=True)
def busy() -> Iterator[None]:
    """Keep every processor busy with two processes each."""
    spin = ["sh", "-c", f"ulimit -t {LONGEST}; while :; do :; done"]  # which ends, too, when these tests are killed
    spinning = [subprocess.Popen(spin) for _each in range(2 * (os.cpu_count() or 1))]
    yield
    for process in spinning:
        processes.end_child(process)


def messages(results: list[TaskResult]) -> list[str]:
    return [result.result["msg"] for result in results]


def test_20_proxy_commands_that_are_killed_are_told(lab: Lab, marker: Path) -> None:  # trust: T22
    user, key = lab.user("target"), lab.key("key")
    host = lab.sshd("host", users=[user], keys=[key], MaxStartups=100)
    lab.trust(host)
    command = f"{CONNECT} %h %p"
    variables = place(host, user, ansible_ssh_private_key_file=str(key.path), ansible_proxy_command=command)
    # Each name of a host is a connection of its own.
    inventory = {f"host{number}": variables | {"ansible_ssh_host_key_alias": f"host{number}"} for number in range(20)}
    lab.trust(*(host.known_hosts_line(f"host{number}") for number in range(20)))
    wait = raw(f"echo x >> {marker}; exec sleep 60", "Wait")
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(playbook, lab, inventory, play(wait), args=FORKS, timeout=200)
        wait_until(lambda: marker.read_text() == "x\n" * 20 or running.done(), 150, "all commands have started")
        broker = the_broker(lab)
        for pid in processes.descendants(broker):
            processes.send(pid, signal.SIGKILL)
        run = running.result()
    ended = "the connection was lost: the connection through the ProxyCommand ended: the ProxyCommand was ended by signal SIGKILL"
    assert [text for text in messages(run.all_results) if ended not in text] == []
    assert run.statuses() == {name: ["unreachable"] for name in inventory}
    wait_until(
        lambda: not processes.descendants(broker) and not processes.zombies(broker), 30, "the end of all commands"
    )


def test_stuck_servers_end_in_time_and_hold_up_nobody(lab: Lab, chain3: Chain3, marker: Path) -> None:  # trust: T25
    sinks = [lab.sink(stuck) for _each in range(10)]
    chain3.b.options["PermitOpen"] = " ".join([chain3.target.endpoint, *(sink.endpoint for sink in sinks)])
    chain3.b.reload()
    inventory = {f"good{number}": chain3.variables for number in range(10)}
    for number, sink in enumerate(sinks):
        inventory[f"stuck{number}"] = chain3.variables | {"ansible_host": sink.address, "ansible_port": sink.port}
    tasks, started = play(raw(f"echo x >> {marker}"), vars={"ansible_ssh_timeout": 20}), time.monotonic()
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(playbook, lab, inventory, tasks, args=FORKS, timeout=200)
        wait_until(lambda: marker.read_text() == "x\n" * 10 or running.done(), 150, "the ten that are good")
        assert not running.done()
        run = running.result()
    assert time.monotonic() - started < 90  # a fraction of which Ansible itself needs here
    stuck_ones = [result for result in run.all_results if result.host.startswith("stuck")]
    assert [result.status for result in run.all_results if result not in stuck_ones] == ["ok"] * 10
    assert [result.status for result in stuck_ones] == ["unreachable"] * 10
    told = [text for text in messages(stuck_ones) if "target " in text and "no SSH answer within 20 s" in text]
    assert len(told) == 10


def test_a_bastion_that_dies_under_20_sessions_ends_them_all(lab: Lab, marker: Path) -> None:  # trust: T35
    chain = chain_of_three(lab, targets=20, MaxStartups=100)
    inventory = chain.inventory(ansible_ssh_timeout=60)
    wait = raw(f"echo x >> {marker}; exec sleep 120", "Wait")
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(playbook, lab, inventory, play(wait), args=FORKS, timeout=200)
        wait_until(lambda: marker.read_text() == "x\n" * 20 or running.done(), 150, "all commands have started")
        chain.b.kill_sessions()
        killed = time.monotonic()
        run = running.result()
    assert time.monotonic() - killed < 60  # and not when the commands would have ended
    assert [
        text for text in messages(run.all_results) if "jump host 2 of 2" not in text or "was lost" not in text
    ] == []
    assert [result.status for result in run.all_results] == ["unreachable"] * 20
    playbook(lab, inventory, play(raw("true")), args=FORKS, timeout=200).check()


def has_run(count: int, marker: Path, running: Any) -> bool:
    return marker.read_text().count("\n") >= count or running.done()


def cut_again_and_again(links: list[Forwarder], marker: Path, running: Any) -> None:
    """Cut all links each time that 30 more commands have run."""
    for cuts in range(6):
        wait_until(partial(has_run, 20 + 30 * cuts, marker, running), 150, "30 commands more")
        for link in links:
            link.cut()


def test_links_that_are_cut_mix_no_hosts_and_repeat_nothing(
    lab: Lab, marker: Path
) -> None:  # trust: T29, T35, T47, T48
    same = same_addresses(lab)
    inventory = same.inventory(5)
    links, shared = [], lab.address()
    for name in ("east", "west", "high", "low"):
        variables = same.kinds[name]
        bastion = next(
            (each for each in same.bastions if each.endpoint in str(variables.get("ansible_ssh_jump"))), None
        )
        end: Any = bastion or (variables["ansible_host"], variables["ansible_port"])
        # As the servers themselves: two have one address, and differ in the port.
        link = lab.forwarder(end, "" if bastion else shared)
        links.append(link)
        changed: dict[str, Any] = (
            {"ansible_ssh_jump": f"edge@{link.endpoint}"} if bastion else {"ansible_port": link.port}
        )
        changed |= {} if bastion else {"ansible_host": link.address}
        inventory |= {host: kept | changed for host, kept in inventory.items() if host.startswith(name)}
    common = {"ansible_ssh_host_key_checking": False, "ansible_ssh_retries": 3, "ansible_ssh_timeout": 60}
    append = f"echo $ANSWERS {{{{ inventory_hostname }}}} {{{{ item }}}} >> {marker}; sleep 0.2; echo $ANSWERS"
    task = raw(append, "Append", loop=list(range(10)), ignore_unreachable=True)
    end = raw("kill -9 $$", "Die", ignore_errors=True, ignore_unreachable=True)
    with ThreadPoolExecutor(1) as pool:
        plays = play(task, end, strategy="free", vars=common)
        running = pool.submit(playbook, lab, inventory, plays, args=FORKS, timeout=280)
        cut_again_and_again(links, marker, running)
        run = running.result()
    ran = Counter(marker.read_text().splitlines())
    assert [line for line, times in ran.items() if times > 1] == []
    assert [line for line in ran if not re.fullmatch(r"(\w+) \1-\d \d", line)] == []
    items = [
        (result.host, item)
        for result in run.all_results
        if result.task == "Append"
        for item in result.result["results"]
    ]
    assert len(items) == 200
    lost = [(host, item) for host, item in items if item.get("unreachable")]
    assert 0 < len(lost) < 200
    assert [item["msg"] for _host, item in lost if not re.search(r"(jump host \d of \d|target) ", item["msg"])] == []
    answered = [(host, item) for host, item in items if not item.get("unreachable")]
    assert [
        item for host, item in answered if (item["rc"], item["stdout"].strip()) != (0, host.partition("-")[0])
    ] == []
    assert [item for host, item in answered if ran[f"{host.partition('-')[0]} {host} {item['item']}"] != 1] == []
    deaths = [result.result for result in run.all_results if result.task == "Die"]
    assert {result.get("rc") for result in deaths if not result.get("unreachable")} == {137}
