# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test runs with different agents: they share only what each agent could have logged in to by itself."""

from __future__ import annotations

import socket
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest
from lab import Key, Lab, Sshd, play, playbook, raw
from lab.agent import Agent
from lab.brokers import the_broker
from lab.client import ssh_config
from lab.playbook import Run


@dataclass(frozen=True)
class Behind:
    """Hold a target behind a bastion, both with one key."""

    lab: Lab
    bastion: Sshd
    target: Sshd
    key: Key
    user: str

    def run(self, agent: Agent | None, command: str = "true", socket: str | None = None, **more: Any) -> Run:
        variables = {
            "ansible_connection": "bastion.ssh.jump",
            "ansible_host": self.target.address,
            "ansible_port": self.target.port,
            "ansible_user": self.user,
            "ansible_ssh_look_for_keys": False,
            "ansible_ssh_persist": 600,
            "ansible_ssh_jump": f"{self.user}@{self.bastion.endpoint}",
            **more,
        }
        return playbook(
            self.lab,
            {"host": variables},
            play(raw(command)),
            agent=agent,
            env={"SSH_AUTH_SOCK": socket} if socket else None,
        )

    def logins(self) -> list[int]:
        return [len(server.logins()) for server in (self.bastion, self.target)]


@pytest.fixture
def behind(lab: Lab) -> Behind:
    key, user = lab.key("shared"), lab.user("target")
    target = lab.sshd("t", users=[user], keys=[key])
    bastion = lab.sshd("a", users=[user], keys=[key], permit_open=[target.endpoint])
    lab.trust(bastion, target)
    return Behind(lab, bastion, target, key, user.name)


def refused(run: Run) -> bool:
    return run.result("host").status == "unreachable" and "login refused" in run.result("host").result["msg"]


# trust: T20, T29
def test_agents_with_the_same_key_share_logins_and_others_do_not(behind: Behind) -> None:
    lab = behind.lab
    first, second = lab.agent(behind.key), lab.agent(lab.key("more"), behind.key)
    behind.run(first).check()
    behind.run(second).check()
    the_broker(lab)
    assert behind.logins() == [1, 1]
    for agent in (lab.agent(lab.key("other")), lab.agent(), None):
        assert refused(behind.run(agent))
    # An agent that was emptied is as one that never had the key, until it has it again.
    first.remove_all()
    assert refused(behind.run(first))
    first.add(behind.key)
    behind.run(first).check()
    assert behind.logins() == [1, 1]


# trust: T20, T29
def test_an_agent_that_no_hop_needs_is_part_of_nothing(behind: Behind) -> None:
    file = {"ansible_ssh_private_key_file": str(behind.key.path)}
    agent = behind.lab.agent(behind.lab.key("other"))
    for each in (agent, None, behind.lab.agent()):
        behind.run(each, **file).check()
    assert behind.logins() == [1, 1]


# trust: T18
def test_the_agent_that_is_forwarded_is_the_runs_own(behind: Behind) -> None:
    lab = behind.lab
    agents = [lab.agent(behind.key, lab.key(name)) for name in ("one", "two")]
    config = str(ssh_config(lab, {behind.target.address: {"ForwardAgent": "yes"}}))
    for agent in agents * 2:
        found = behind.run(agent, "ssh-add -l", ansible_ssh_config_file=config).check().result("host").result["stdout"]
        assert [each in found for each in agent.fingerprints()] == [True, True]
        assert found.count("SHA256:") == 2
    assert behind.logins() == [1, 2]


# trust: T39
def test_a_silent_agent_holds_up_nobody_else(behind: Behind) -> None:
    lab = behind.lab
    path = lab.path / "silent"
    with socket.socket(socket.AF_UNIX) as silent, ThreadPoolExecutor(1) as pool:
        silent.bind(str(path))
        silent.listen(8)
        stuck = pool.submit(behind.run, None, socket=str(path), ansible_ssh_timeout=30)
        connection, _address = silent.accept()  # its login has begun
        with connection:
            behind.run(lab.agent(behind.key), ansible_ssh_timeout=11).check()
            assert not stuck.done()
        silent.close()
        assert stuck.result().result("host").status == "unreachable"
    assert behind.logins() == [1, 1]
