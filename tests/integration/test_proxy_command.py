# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test a local command that carries the connection: recipes that work, and errors where it fails."""

from __future__ import annotations

import gc
import os
import re
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from lab import TRUE, Chain3, Lab, Run, Sshd, User, play, playbook, processes, raw, wait_until
from lab.chains import CONNECT
from lab.client import ssh_config
from sessions import opened

from ansible_collections.bastion.ssh.plugins.plugin_utils.errors import HopUnreachable, LinkLost


@pytest.fixture
def user(lab: Lab) -> User:
    return lab.user("jump1")


@pytest.fixture
def host(lab: Lab, user: User) -> Sshd:
    key = lab.key("key")
    server = lab.sshd("host", users=[user], keys=[key])
    lab.trust(server)
    return server


def variables(lab: Lab, host: Sshd, user: User, command: str, **more: Any) -> dict[str, Any]:
    return {
        "ansible_connection": "bastion.ssh.jump",
        "ansible_host": host.address,
        "ansible_port": host.port,
        "ansible_user": user.name,
        "ansible_ssh_private_key_file": str(lab.path / "keys/key"),
        "ansible_proxy_command": command,
        **more,
    }


def run(lab: Lab, inventory: dict[str, Any], **more: Any) -> Run:
    return playbook(lab, {"host": inventory}, play(TRUE), **more)


RECIPES = [
    "{connect} %h %p",
    "{connect} %h %p 2>/dev/null",
    "sh -c '{connect} %h %p' | cat",
    'sh -c "exec {connect} %h %p"',
]


def test_recipes_work_as_in_a_shell(lab: Lab, host: Sshd, user: User) -> None:  # trust: T24
    commands = [recipe.replace("{connect}", CONNECT) for recipe in RECIPES]
    inventory = {f"recipe{number}": variables(lab, host, user, command) for number, command in enumerate(commands)}
    assert playbook(lab, inventory, play(TRUE)).check().statuses() == {name: ["ok"] for name in inventory}
    assert len(host.logins()) == len(RECIPES)


def test_tokens_stand_for_the_hop(lab: Lab, host: Sshd, user: User) -> None:  # trust: T24
    told = lab.path / "told"
    command = f"sh -c 'echo %r %n %h %p 100%% > {told}; exec {CONNECT} %h %p'"
    run(lab, variables(lab, host, user, command)).check()
    assert told.read_text() == f"{user.name} {host.address} {host.address} {host.port} 100%\n"


def test_ssh_w_carries_the_connection(lab: Lab, chain3_same_key: Chain3) -> None:
    chain3 = chain3_same_key
    config = ssh_config(lab, {"*": {"IdentityFile": chain3.keys[0].path, "IdentitiesOnly": "yes"}})
    first, second = chain3.jump_string.split(",")
    command = f"ssh -F {config} -W %h:%p -J {first} -p {chain3.b.port} {second.rpartition(':')[0]}"
    inventory = chain3.inventory(ansible_ssh_jump=None, ansible_proxy_command=command)
    assert playbook(lab, inventory, play(TRUE)).check().statuses() == {"target": ["ok"]}
    chain3.settle()
    assert chain3.login_counts() == [1, 1, 1]


def test_a_chain_begins_behind_the_command_of_its_first_hop(lab: Lab, chain3: Chain3) -> None:
    first, second = chain3.jump_list
    jump = [first | {"proxy_command": f"{CONNECT} %h %p"}, second]
    assert playbook(lab, chain3.inventory(ansible_ssh_jump=jump), play(TRUE)).check()
    assert [forward.port for forward in chain3.a.forwards()] == [chain3.b.port]


def test_none_is_no_command(lab: Lab, host: Sshd, user: User) -> None:
    run(lab, variables(lab, host, user, "None")).check()


def test_names_never_reach_the_shell_unchecked(lab: Lab, host: Sshd, user: User) -> None:  # trust: T24, T04
    canary = lab.path / "canary"
    values = [f"x touch {canary}", f"$(touch {canary})", f"`touch {canary}`", f"a;touch {canary}"]
    told = variables(lab, host, user, "echo %h %r")
    inventory = {
        f"{name}-{number}": told | {name: value}
        for name in ("ansible_host", "ansible_user")
        for number, value in enumerate(values)
    }
    done = playbook(lab, inventory, play(TRUE))
    assert done.statuses() == {name: ["failed"] for name in inventory}
    for name in inventory:
        text = done.result(name).result["msg"]
        assert name.partition("-")[0] in text or "ansible_proxy_command" in text
    assert not canary.exists()
    assert host.connections() == 0


def test_a_command_that_fails_says_why(lab: Lab, host: Sshd, user: User) -> None:
    result = run(lab, variables(lab, host, user, "sh -c 'echo no route to %h >&2; exit 7'")).result("host")
    assert result.status == "unreachable"
    message = result.result["msg"]
    assert f"target {user.name}@{host.endpoint}" in message
    assert f"the ProxyCommand exited with status 7: no route to {host.address}" in message


@pytest.mark.ways("broker", "own process")
def test_a_command_that_is_killed_in_mid_command_is_unreachable(
    lab: Lab, host: Sshd, user: User, marker: Path
) -> None:  # trust: T22
    pid = lab.path / "pid"
    command = f"echo $$ > {pid}; echo last words >&2; exec {CONNECT} %h %p"
    inventory = variables(lab, host, user, f"sh -c '{command}'")
    task = raw(f"echo x >> {marker}; exec sleep 60", "Wait")
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(playbook, lab, {"host": inventory}, play(task))
        wait_until(lambda: marker.read_text() or running.done(), 30, "the command has started")
        killed, used = time.monotonic(), os.times()
        os.kill(int(pid.read_text()), signal.SIGKILL)
        result = running.result().result("host")
    assert time.monotonic() - killed < 2 + 1  # and Ansible's own end
    assert os.times().children_user - used.children_user < 2
    assert result.status == "unreachable"
    assert re.search("the ProxyCommand was ended by signal (SIG)?KILL: last words", result.result["msg"])


def test_a_command_that_is_killed_is_noticed_without_a_spin(lab: Lab, host: Sshd, user: User) -> None:  # trust: T22
    pid = lab.path / "pid"
    command = f"sh -c 'echo $$ > {pid}; echo last words >&2; exec {CONNECT} %h %p'"
    with opened(lab, variables(lab, host, user, command)) as session:
        process = session.session.start("sleep 60")
        killed, used = time.monotonic(), time.process_time()
        os.kill(int(pid.read_text()), signal.SIGKILL)
        with pytest.raises(LinkLost, match=r"ended by signal (SIG)?KILL: last words"):
            process.read(None)
        assert time.monotonic() - killed < 2
        assert time.process_time() - used < 0.1  # 5 % of those two seconds
        process.close()


def test_a_mebibyte_of_stderr_does_not_block(lab: Lab, host: Sshd, user: User) -> None:  # trust: T23
    command = f"sh -c 'head -c 1048576 /dev/zero >&2; exec {CONNECT} %h %p'"
    run(lab, variables(lab, host, user, command)).check()


@pytest.mark.ways("broker", "own process")
@pytest.mark.timeout(300)
def test_200_sessions_leave_no_process_and_no_descriptor(lab: Lab, host: Sshd, user: User) -> None:  # trust: T23
    inventory = variables(lab, host, user, f"{CONNECT} %h %p")
    failing = variables(lab, host, user, "sh -c 'echo no >&2; exit 1'")

    def once() -> None:
        with opened(lab, inventory) as session:
            assert session.run("echo here").stdout == b"here\n"
        with pytest.raises(HopUnreachable, match="status 1: no"), opened(lab, failing):
            pass

    def descriptors() -> int:
        gc.collect()
        return processes.descriptors(os.getpid())

    once()
    before = descriptors()
    for _time in range(100):
        once()
    wait_until(lambda: descriptors() <= before, 30, "the end of what the last session had open")
    assert processes.zombies(os.getpid()) == []


@pytest.mark.ways("broker", "own process")
def test_both_kinds_at_once_is_an_error_that_names_both(lab: Lab, chain3: Chain3) -> None:
    inventory = chain3.inventory(ansible_proxy_command=f"touch {lab.path}/canary")
    result = playbook(lab, inventory, play(TRUE)).result("target")
    assert result.status == "failed"
    assert "ansible_ssh_jump" in result.result["msg"]
    assert "ansible_proxy_command" in result.result["msg"]
    assert not (lab.path / "canary").exists()
    assert [host.connections() for host in chain3.hosts] == [0, 0, 0]
