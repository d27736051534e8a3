# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test hints at mistakes in an inventory that are not errors: shown once, and not at all for a correct one."""

from __future__ import annotations

from typing import Any

import pytest
from lab import TRUE, Chain3, Lab, Sshd, play, playbook
from lab.chains import place


@pytest.fixture
def server(lab: Lab) -> Sshd:
    """Start a server for one user with one key."""
    return lab.sshd("server", users=[lab.user("target")], keys=[lab.key("key")])


def host(lab: Lab, server: Sshd, **more: Any) -> dict[str, Any]:
    lab.trust(server)
    return place(server, lab.user("target"), ansible_ssh_private_key_file=str(lab.path / "keys/key"), **more)


def words(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.ways("broker", "own process")
def test_what_is_set_for_ssh_and_has_no_effect_is_a_warning_once(lab: Lab, chain3: Chain3) -> None:
    more = {
        "ansible_ssh_executable": "/usr/local/bin/ssh",
        "ansible_ssh_common_args": "-J elsewhere",
        "ansible_ssh_jumps": "x",
    }
    hosts = dict.fromkeys(("one", "two"), chain3.variables | more)
    run = playbook(lab, hosts, play(TRUE, TRUE)).check()
    for line in (
        "ansible_ssh_executable has no effect on this connection: no ssh program makes it",
        "-J of ansible_ssh_common_args has no effect, as ansible_ssh_jump is set",
    ):
        assert words(run.text).count(line) == 1, run
    assert "ansible_ssh_jumps is not a variable" not in words(run.text)


@pytest.mark.ways("broker", "own process")
def test_a_misspelt_variable_is_named_once_where_a_connection_fails(lab: Lab) -> None:
    address = lab.address()
    away = {"ansible_connection": "bastion.ssh.jump", "ansible_host": address, "ansible_port": lab.port(address)}
    hosts = dict.fromkeys(("one", "two"), away | {"ansible_ssh_jumps": "edge", "ansible_user": "me"})
    run = playbook(lab, hosts, play(TRUE))
    assert run.statuses() == {"one": ["unreachable"], "two": ["unreachable"]}
    assert (
        words(run.text).count("ansible_ssh_jumps is not a variable of bastion.ssh.jump. Is ansible_ssh_jump meant?")
        == 1
    )


def test_a_jump_host_of_the_inventory_that_has_no_such_address_has_a_next_step(lab: Lab, server: Sshd) -> None:
    hosts: dict[str, Any] = {name: host(lab, server) for name in ("edge.invalid", "core.invalid")}
    key = {"user": lab.user("target").name, "private_key_file": str(lab.path / "keys/key")}
    hop = {"host": server.address, "port": server.port, **key}
    hosts["first"] = host(lab, server, ansible_ssh_jump="edge.invalid")
    hosts["second"] = host(lab, server, ansible_host="web.invalid", ansible_ssh_jump=[hop, "core.invalid"])
    hosts["target"] = host(lab, server, ansible_host="edge.invalid")
    run = playbook(lab, hosts, play(TRUE, hosts="first:second:target"))
    for name, bastion in (("first", "edge.invalid"), ("second", "core.invalid")):
        message = str(run.result(name).result["msg"])
        assert f"{bastion} is a host of the inventory: lookup('bastion.ssh.hops', '{bastion}')" in message
    assert "lookup" not in str(run.result("target").result["msg"])
