# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the broker at limits: of servers, of the controller, and of peers that do not read."""

from __future__ import annotations

import fcntl
import itertools
import resource
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from lab import TRUE, Chain3, Lab, blackhole, play, playbook, processes, raw, wait_until
from lab.brokers import WITHOUT, brokers, forget_peak, kill, open_files, peak_memory, status, the_broker, the_socket
from lab.chains import chain_of_three
from sessions import opened, options_of

from ansible_collections.bastion.ssh.plugins.plugin_utils.client.interface import Exited, Output, Process
from ansible_collections.bastion.ssh.plugins.plugin_utils.client.wire import FrameStream

MEBIBYTE = 1024 * 1024


# Servers


def test_bastions_that_let_one_at_a_time_log_in_carry_100_forks(lab: Lab) -> None:  # trust: T39
    chain = chain_of_three(lab, targets=100, MaxStartups=400)
    for bastion in (chain.a, chain.b):
        bastion.options["MaxStartups"] = "1:100:1"
        bastion.reload()
    run = playbook(lab, chain.inventory(), play(TRUE), args=["--forks", "100"], timeout=280).check()
    assert len(run.results) == 100
    chain.settle()
    assert chain.login_counts() == [1, 1, 100]
    assert [bastion.connections() for bastion in (chain.a, chain.b)] == [1, 1]


@pytest.mark.once
@pytest.mark.timeout(600)
def test_bastions_that_give_no_session_carry_1500_targets_at_once(lab: Lab) -> None:  # trust: T40, T41
    """Without Ansible, which would need minutes; sshd logs logins only, as its debug log is slow."""
    count = 1500
    chain = chain_of_three(lab, targets=count, MaxStartups=4 * count, LogLevel="VERBOSE")
    for bastion in (chain.a, chain.b):
        bastion.options["MaxSessions"] = 0
        bastion.reload()
    inventory = chain.inventory(ansible_ssh_persist=600)

    def answer(name: str) -> bytes:
        with opened(lab, inventory[name], first=None) as session:
            return session.run(f"echo {name}").stdout

    with ThreadPoolExecutor(20) as pool:
        assert list(pool.map(answer, inventory)) == [f"{name}\n".encode() for name in inventory]
    transports = status(lab)["transports"]
    assert [transport["state"] for transport in transports] == ["open"] * (count + 2)
    assert processes.descriptors(the_broker(lab)) < 50
    chain.settle()
    assert chain.login_counts() == [1, 1, count]


def test_a_target_that_gives_one_session_at_a_time_serves_20_tasks_at_once(lab: Lab) -> None:  # trust: T40
    chain = chain_of_three(lab, MaxStartups=100, MaxSessions=1)
    source, home = lab.path / "source", chain.users[2].home
    source.write_text("copied\n")
    inventory = {f"host{number}": {"ansible_connection": "local"} for number in range(20)}
    tasks = [
        raw("echo here; sleep 0.3", delegate_to="target"),
        {
            "name": "Copy",
            "ansible.builtin.copy": {"src": str(source), "dest": f"{home}/{{{{ inventory_hostname }}}}"},
            "delegate_to": "target",
        },
    ]
    run = playbook(
        lab, inventory | chain.inventory(), play(*tasks, hosts="all:!target"), args=["--forks", "20"]
    ).check()
    assert len(run.all_results) == 40
    assert {result.result["stdout"] for result in run.all_results if result.task == "Raw"} == {"here\n"}
    assert {(home / name).read_text() for name in inventory} == {"copied\n"}
    chain.settle()
    assert chain.login_counts()[:2] == [1, 1]
    assert len(chain.target.logins()) <= 20


def test_dead_targets_do_not_hold_up_the_others(lab: Lab, marker: Path) -> None:  # trust: T37
    chain = chain_of_three(lab, targets=20, MaxStartups=100)
    dead: dict[str, Any] = {"unanswering": lab.unanswering(), "blackhole": lab.sink(blackhole)}
    chain.b.options["PermitOpen"] = " ".join([*chain.target.endpoints, *(each.endpoint for each in dead.values())])
    chain.b.reload()
    good = chain.inventory(ansible_ssh_timeout=12)
    inventory = {
        name: good["target1"] | {"ansible_host": each.address, "ansible_port": each.port} for name, each in dead.items()
    }
    tasks = [raw("true"), raw(f"echo x >> {marker}", "Mark")]
    with ThreadPoolExecutor(1) as pool:
        plays = play(*tasks, strategy="free")
        running = pool.submit(playbook, lab, inventory | good, plays, args=["--forks", "22"])
        asked = [f"target {each.address} port {each.port}" for each in dead.values()]
        wait_until(lambda: all(map(chain.b.count, asked)) or running.done(), 60, "the dials of the dead ones")
        started = time.monotonic()
        wait_until(lambda: marker.read_text() == "x\n" * 20 or running.done(), 60, "the end of the good ones")
        assert time.monotonic() - started < 12
        run = running.result()
    assert run.statuses() == {name: ["unreachable"] for name in dead} | {name: ["ok", "ok"] for name in good}
    assert "the hop before it opened no connection in " in run.result("unanswering").result["msg"]
    assert "connected, but no SSH answer within " in run.result("blackhole").result["msg"]


# The controller


def test_few_descriptors_let_tasks_wait_and_all_end_well(lab: Lab) -> None:  # trust: T41
    chain = chain_of_three(lab, targets=60, MaxStartups=240)
    inventory = chain.inventory()
    one = {"target1": inventory["target1"]}
    playbook(lab, one, play(TRUE)).check()
    kill(the_broker(lab))
    path = the_socket(lab)
    path.unlink()
    playbook(lab, one, play(TRUE), shell='ulimit -n 128; exec "$@"').check()
    the_socket(lab).rename(path)  # so that it serves processes without the limit, as only those can have so many forks
    broker = the_broker(lab)
    begun, door = lab.path / "begun", lab.path / "door"
    for path in (begun, door):
        path.touch()
        path.chmod(0o666)
    wait = raw(f"echo x >> {begun}; exec flock --shared {door} true", "Wait")
    with ThreadPoolExecutor(1) as pool, door.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)  # so that no command ends before the others start
        run = pool.submit(playbook, lab, inventory, play(wait), args=["-v", "--forks", "60"])
        wait_until(lambda: run.done() or has_to_wait(lab, chain), 60, "the last of the descriptors")
        assert 0 < begun.read_text().count("x") < 60
        fcntl.flock(held, fcntl.LOCK_UN)
        assert WITHOUT not in run.result().check().text
    assert begun.read_text() == "x\n" * 60
    assert brokers(lab) == [broker]
    assert processes.cpu_seconds(broker) < 10
    chain.settle()
    assert chain.login_counts()[:2] == [2, 2]


def has_to_wait(lab: Lab, chain: Chain3) -> bool:
    """Return whether the broker queues a worker that connects now."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(the_socket(lab)))
        worker = FrameStream(sock)
        worker.send({"op": "reset", "options": options_of(lab, chain.variables | {"ansible_host": "nowhere"})})
        frame = worker.receive(10)
        worker.close()
    assert frame
    return bool(frame.header["event"] == "queued")


def test_no_descriptor_at_all_is_a_clear_error_without_a_spin(lab: Lab, chain3: Chain3) -> None:  # trust: T41
    playbook(lab, chain3.inventory(), play(TRUE)).check()
    broker = the_broker(lab)
    wait_until(lambda: not status(lab)["workers"], 30, "the end of the last conversation")
    files = processes.settled(lambda: open_files(broker))  # once the status request has ended, too
    limits = resource.prlimit(broker, resource.RLIMIT_NOFILE)
    free = next(number for number in itertools.count() if number not in files)
    resource.prlimit(broker, resource.RLIMIT_NOFILE, (free, limits[1]))
    before = processes.cpu_seconds(broker)
    result = playbook(lab, chain3.inventory(), play(TRUE)).result("target")
    assert result.status == "unreachable"
    assert "on the controller: the broker cannot serve this task: no file descriptor is left (" in result.result["msg"]
    assert "ulimit -n" in result.result["msg"]
    assert processes.cpu_seconds(broker) - before < 0.2
    assert open_files(broker) == files
    resource.prlimit(broker, resource.RLIMIT_NOFILE, limits)
    playbook(lab, chain3.inventory(), play(TRUE)).check()
    assert brokers(lab) == [broker]
    chain3.settle()
    assert chain3.login_counts() == [1, 1, 1]


# Memory


@pytest.mark.once
@pytest.mark.parametrize("direction", ["down", "up"])
def test_who_takes_slowly_costs_no_memory(lab: Lab, chain3: Chain3, direction: str) -> None:
    total = (1024 if direction == "down" else 128) * MEBIBYTE
    door = lab.path / "door"
    door.touch()
    with opened(lab, chain3.variables) as session, door.open() as held:
        broker = the_broker(lab)
        fcntl.flock(held, fcntl.LOCK_EX)  # so that the command takes no input
        forget_peak(broker)
        before = peak_memory(broker)
        line = f"head -c {total} /dev/zero" if direction == "down" else f"flock --shared {door} wc -c"
        process = session.session.start(line)
        if direction == "up":
            threading.Thread(target=feed, args=(process, total), daemon=True).start()
        until_still(lab)
        fcntl.flock(held, fcntl.LOCK_UN)
        taken, last = 0, b""
        while not isinstance(event := process.read(60), Exited):
            assert isinstance(event, Output)
            taken, last = taken + len(event.data), event.data
        process.close()
        assert (taken if direction == "down" else int(last)) == total
        assert peak_memory(broker) - before < 32 * MEBIBYTE


@pytest.mark.once
@pytest.mark.parametrize("what", ["put", "fetch"])
def test_50_transfers_at_once_cost_little_memory(lab: Lab, what: str) -> None:
    """Of 800 MiB, the broker has no more than what is on its way."""
    chain = chain_of_three(lab, MaxStartups=100, MaxSessions=100)
    remote = chain.users[2].home
    source = lab.path / "source"
    with source.open("wb") as file:
        file.truncate(16 * MEBIBYTE)
    remote_source = remote / "source"
    remote_source.write_bytes(source.read_bytes())

    def transfer(number: int) -> None:
        if what == "put":
            session.session.put(str(source), f"{remote}/there{number}")
        else:
            session.session.fetch(str(remote_source), f"{lab.path}/here{number}")

    with opened(lab, chain.variables) as session, ThreadPoolExecutor(50) as pool:
        broker = the_broker(lab)
        forget_peak(broker)
        before = peak_memory(broker)
        list(pool.map(transfer, range(50)))
        grown = peak_memory(broker) - before
    arrived = [*remote.glob("there*"), *lab.path.glob("here*")]
    assert [path.stat().st_size for path in arrived] == [16 * MEBIBYTE] * 50
    assert grown < 160 * MEBIBYTE


def until_still(lab: Lab) -> None:
    """Wait until data has begun to flow and then stopped for half a second, as no process reads it."""
    carried, since = 0, time.monotonic()

    def is_still() -> bool:
        nonlocal carried, since
        seen = sum(transport["sent"] + transport["received"] for transport in status(lab)["transports"])
        if seen != carried:
            carried, since = seen, time.monotonic()
        return carried > MEBIBYTE and time.monotonic() - since > 0.5

    wait_until(is_still, 30, "the buffers on the way are full")


def feed(process: Process, total: int) -> None:
    """Write ``total`` zero bytes to a command's stdin, and close it."""
    for _piece in range(total // MEBIBYTE):
        process.write(bytes(MEBIBYTE))
    process.close_stdin()
