# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the main purpose: plays of many kinds of tasks on a host behind two bastions, for every kind of route."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from lab import TRUE, Chain3, Lab, Run, User, certify, play, playbook
from lab.client import ssh_config
from lab.playbook import PING
from lab.sshd import Sshd

MEBIBYTE = 1024 * 1024


class Site:
    """Run three servers in a row, each with PermitOpen for the next one only.

    The hops want a password, a key and a certificate; `key` opens all of them as well.
    """

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.users: list[User] = [lab.user("jump1"), lab.user("jump2"), lab.user("operator", sudo="password")]
        self.key, self.own, self.certified, ca = (lab.key(name) for name in ("shared", "own", "certified", "ca"))
        certify(ca, self.certified, [self.users[2].name])
        edge, core, operator = self.users
        self.target = lab.sshd("target", users=[operator], keys=[self.key], ca=ca, permit_open=[])
        self.b = lab.sshd("b", users=[core], keys=[self.key, self.own], permit_open=[self.target.endpoint])
        self.a = lab.sshd("a", users=[edge], keys=[self.key], password=True, permit_open=[self.b.endpoint])
        lab.trust(self.a, self.b, self.target)

    def _host(self, server: Sshd, user: User, **more: Any) -> dict[str, Any]:
        return {
            "ansible_connection": "bastion.ssh.jump",
            "ansible_host": server.address,
            "ansible_port": server.port,
            "ansible_user": user.name,
            "ansible_ssh_private_key_file": str(self.key.path),
            **more,
        }

    @property
    def hops(self) -> tuple[str, str]:
        """Return the bastions as arguments of ssh -J."""
        edge, core, _operator = self.users
        return f"{edge.name}@{self.a.endpoint}", f"ssh://{core.name}@{self.b.endpoint}"

    def way(self, kind: str) -> dict[str, Any]:
        """Return the variables of one kind of route to the target."""
        edge, core, _operator = self.users
        if kind == "string":
            return {"ansible_ssh_jump": ",".join(self.hops)}
        if kind == "list":
            first = {"host": self.a.address, "port": self.a.port, "user": edge.name, "password": edge.password}
            second = {"host": self.b.address, "port": self.b.port, "user": core.name}
            return {
                "ansible_ssh_jump": [first, second | {"private_key_file": str(self.own.path)}],
                "ansible_ssh_private_key_file": str(self.certified.path),
            }
        config = ssh_config(self.lab, {"*": {"IdentityFile": self.key.path, "IdentitiesOnly": "yes"}})
        return {"ansible_proxy_command": f"ssh -F {config} -W %h:%p -J {self.hops[0]} {self.hops[1]}"}

    def inventory(self, kind: str) -> dict[str, Any]:
        """Return the target, and the first bastion as another host."""
        edge, _core, operator = self.users
        target = self._host(self.target, operator, ansible_become_password=operator.password)
        return {"target": target | self.way(kind), "edge": self._host(self.a, edge)}


def twenty_tasks(site: Site) -> list[dict[str, Any]]:
    """Return tasks of the usual kinds."""
    home = site.users[2].home
    source = site.lab.path / "five"
    source.write_bytes(bytes(range(256)) * (5 * MEBIBYTE // 256))
    (site.lab.path / "template.j2").write_text("{{ ansible_facts['system'] }} {{ inventory_hostname }}\n")
    (site.lab.path / "script.sh").write_text("#!/bin/sh\necho $1\n")
    become = {"become": True}
    tasks: list[dict[str, Any]] = [
        {"name": "Facts", "ansible.builtin.setup": {"gather_subset": ["min"]}},
        PING,
        {"name": "Command", "ansible.builtin.command": "id -un"},
        {"name": "Raw", "ansible.builtin.raw": "echo out; echo err >&2"},
        {"name": "Shell", "ansible.builtin.shell": "echo a | tr a b"},
        {"name": "Script", "ansible.builtin.script": f"{site.lab.path}/script.sh ünïcødé"},
        {"name": "Copy", "ansible.builtin.copy": {"src": str(source), "dest": f"{home}/five", "mode": "0600"}},
        {"name": "Same", "ansible.builtin.copy": {"src": str(source), "dest": f"{home}/five", "mode": "0600"}},
        {"name": "Stat", "ansible.builtin.stat": {"path": f"{home}/five"}},
        {"name": "Fetch", "ansible.builtin.fetch": {"src": f"{home}/five", "dest": "fetched", "flat": True}},
        {"name": "Template", "ansible.builtin.template": {"src": str(site.lab.path / "template.j2"),
         "dest": f"{home}/with space", "mode": "0600"}},
        {"name": "Slurp", "ansible.builtin.slurp": {"src": f"{home}/with space"}},
        {"name": "Line", "ansible.builtin.lineinfile": {"path": f"{home}/with space", "line": "漢字"}},
        {"name": "Become", "ansible.builtin.command": "id -un", **become},
        {"name": "Become copy", "ansible.builtin.copy": {"content": "root's", "dest": f"{home}/root", "mode": "0600"},
         **become},
        {"name": "Become fetch", "ansible.builtin.fetch": {"src": f"{home}/root", "dest": "root", "flat": True},
         **become},
        {"name": "Async", "ansible.builtin.command": "sleep 1", "async": 30, "poll": 1},
        {"name": "Delegate", "ansible.builtin.command": "id -un", "delegate_to": "edge"},
        {"name": "Loop", "ansible.builtin.command": "echo {{ item }}", "loop": ["x", "y"]},
        {"name": "Reset", "ansible.builtin.meta": "reset_connection"},
        {"name": "Wait", "ansible.builtin.wait_for_connection": {"timeout": 20}},
        {"name": "File", "ansible.builtin.file": {"path": f"{home}/five", "state": "absent"}},
    ]  # fmt: skip
    return tasks


def check_results(site: Site, run: Run) -> None:
    """Assert that the tasks had their effects."""

    def result(task: str) -> dict[str, Any]:
        return run.result("target", task).result

    assert result("Command")["stdout"] == site.users[2].name
    assert (result("Raw")["stdout"], result("Raw")["stderr"]) == ("out\n", "err\n")
    assert result("Shell")["stdout"] == "b"
    assert result("Script")["stdout"] == "ünïcødé\n"
    assert [result("Copy")["changed"], result("Same")["changed"]] == [True, False]
    assert result("Stat")["stat"]["size"] == 5 * MEBIBYTE
    assert (run.path / "fetched").read_bytes() == (site.lab.path / "five").read_bytes()
    assert result("Line")["changed"]
    assert result("Become")["stdout"] == "root"
    assert (run.path / "root").read_text() == "root's"
    assert result("Async")["finished"]
    assert result("Delegate")["stdout"] == site.users[0].name
    assert [item["stdout"] for item in result("Loop")["results"]] == ["x", "y"]


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("kind", "pipelining"), [("list", False), ("proxy_command", True)])
def test_a_playbook_of_twenty_tasks(lab: Lab, kind: str, pipelining: bool) -> None:  # trust: T01, T05
    play_twenty_tasks(lab, kind, pipelining)


@pytest.mark.ways("own process")
@pytest.mark.timeout(300)
def test_a_playbook_of_twenty_tasks_without_a_broker(lab: Lab) -> None:  # trust: T01
    play_twenty_tasks(lab, "string", True)


def play_twenty_tasks(lab: Lab, kind: str, pipelining: bool) -> None:
    site = Site(lab)
    run = playbook(
        lab, site.inventory(kind), play(*twenty_tasks(site), hosts="target"), timeout=200,
        env={"ANSIBLE_PIPELINING": str(pipelining)},
    )  # fmt: skip
    check_results(site, run.check())
    statuses = run.statuses()["target"]
    assert len(statuses) >= 20
    assert set(statuses) == {"ok"}
    for server in (site.a, site.b, site.target):
        server.settle()
    assert {forward.port for forward in site.a.forwards()} == {site.b.port}
    assert {forward.port for forward in site.b.forwards()} == {site.target.port}


def test_check_mode_and_diff_change_nothing(lab: Lab, chain3: Chain3) -> None:
    path = chain3.users[2].home / "file"
    path.write_text("old\n")
    path.chmod(0o666)
    task = {"name": "Copy", "ansible.builtin.copy": {"content": "new\n", "dest": str(path), "mode": "0666"}}
    run = playbook(lab, chain3.inventory(), play(task), args=["--check", "--diff"]).check()
    assert run.result("target").result["changed"]
    assert "-old" in run.text
    assert "+new" in run.text
    assert path.read_text() == "old\n"


@pytest.mark.ways("broker", "own process")
@pytest.mark.parametrize("keywords", [{"strategy": "free"}, {"serial": 2}])
def test_many_hosts_behind_the_same_bastions(lab: Lab, chain3: Chain3, keywords: dict[str, Any]) -> None:
    inventory = {f"host{number}": chain3.variables for number in range(6)}
    tasks = [{"name": f"Who {number}", "ansible.builtin.raw": "id -un"} for number in range(2)]
    run = playbook(lab, inventory, play(*tasks, **keywords)).check()
    assert {result.result["stdout"] for result in run.all_results} == {f"{chain3.users[2].name}\n"}
    assert len(run.all_results) == 12


@pytest.mark.ways("broker", "own process")
def test_each_item_of_a_loop_goes_its_own_way(lab: Lab, chain3: Chain3) -> None:
    """The items share a connection plugin, but not the route of the first item."""
    task = {
        "name": "Way",
        "ansible.builtin.raw": "echo $SSH_CONNECTION",
        "loop": ["none", chain3.jump_list],
        "vars": {"ansible_ssh_jump": "{{ item }}"},
    }
    run = playbook(lab, chain3.inventory(), play(task)).check()
    chain3.settle()
    assert len(run.result("target").result["results"]) == 2
    assert chain3.login_counts() == [1, 1, 2]


def test_the_way_may_depend_on_variables_and_vaulted_secrets(lab: Lab, chain3: Chain3) -> None:
    from ansible.parsing.vault import VaultLib, VaultSecret

    vault = VaultLib([("default", VaultSecret(b"open"))])
    sealed = vault.encrypt(chain3.users[0].password, vault.secrets[0][1]).decode()
    first, second = chain3.jump_list
    inventory = chain3.inventory(
        outside=True,
        edge=first | {"password": "@sealed@"},
        core=second,
        ansible_ssh_jump="{{ [edge, core] if outside else 'none' }}",
    )
    (lab.path / "password").write_text("open")
    indented = "".join(f"\n          {line}" for line in sealed.splitlines())
    run = playbook(
        lab, inventory, play(TRUE),
        args=["--vault-password-file", str(lab.path / "password")],
        replace={"'@sealed@'": f"!vault |{indented}"},
    )  # fmt: skip
    assert run.check().statuses() == {"target": ["ok"]}


def test_usual_options_of_the_command_line_keep_working(lab: Lab, chain3: Chain3) -> None:
    inventory = chain3.inventory(ansible_user=None, ansible_ssh_private_key_file=None, ansible_connection=None)
    args = ["-u", chain3.users[2].name, "--private-key", str(chain3.keys[2].path), "-c", "bastion.ssh.jump"]
    args += ["--timeout", "5"]
    playbook(lab, inventory, play(PING), args=args).check()


def test_the_password_may_be_asked_for(lab: Lab) -> None:
    user = lab.user("jump1")
    host = lab.sshd("host", users=[user], password=True)
    lab.trust(host)
    variables = {
        "ansible_connection": "bastion.ssh.jump",
        "ansible_host": host.address,
        "ansible_port": host.port,
        "ansible_user": user.name,
    }
    password = lab.path / "password"
    password.write_text(user.password)
    args = ["--connection-password-file", str(password)]
    playbook(lab, {"host": variables}, play(TRUE), args=args).check()


def test_users_of_paramiko_ssh_change_one_line(lab: Lab, chain3_same_key: Chain3) -> None:
    chain3 = chain3_same_key
    config = ssh_config(lab, {"*": {"IdentityFile": chain3.keys[0].path, "IdentitiesOnly": "yes"}})
    first, second = chain3.jump_string.split(",")
    inventory = {
        "target": {
            "ansible_connection": "bastion.ssh.jump",
            "ansible_paramiko_host": chain3.target.address,
            "ansible_paramiko_port": chain3.target.port,
            "ansible_paramiko_user": chain3.users[2].name,
            "ansible_paramiko_private_key_file": str(chain3.keys[2].path),
            "ansible_paramiko_timeout": 9,
            "ansible_paramiko_host_key_checking": True,
            "ansible_paramiko_proxy_command": f"ssh -F {config} -W %h:%p -J {first} ssh://{second}",
        }
    }
    playbook(lab, inventory, play(PING)).check()


@pytest.mark.ways("broker", "own process")
def test_a_copy_beside_the_playbook_works(lab: Lab, chain3: Chain3) -> None:
    from lab.playbook import ROOT

    beside = lab.path / "collections/ansible_collections/bastion"
    beside.mkdir(parents=True)
    (beside / "ssh").symlink_to(ROOT)
    run = playbook(
        lab, chain3.inventory(), play(PING),
        env={"ANSIBLE_COLLECTIONS_PATH": "/nowhere"}, beside=lab.path / "collections",
    )  # fmt: skip
    run.check()
    assert Path(run.path / "collections").exists()
