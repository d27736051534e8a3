# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test what the playbook bastion.ssh.check reports about the route to each host."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from lab import Chain3, Lab
from lab.playbook import own_playbook

TIME = r"\d+\.\d{3} s"
AGE = r"\d+ s"


def check(lab: Lab, inventory: dict[str, dict[str, Any]], expected: int = 0) -> str:
    """Run the playbook and return its output, with blanks collapsed."""
    hosts = lab.path / "check.json"
    hosts.write_text(json.dumps({"all": {"hosts": inventory}}))
    shown = own_playbook(lab, "bastion.ssh.check", "-i", str(hosts), "-f", "1", expected=expected)
    return re.sub(r"\s+", " ", shown)


def labels(chain3: Chain3) -> list[str]:
    return [f"{user.name}@{host.endpoint}" for user, host in zip(chain3.users, chain3.hosts, strict=True)]


@pytest.mark.ways("broker", "own process")
def test_each_hop_is_shown_with_its_times(lab: Lab, chain3: Chain3) -> None:
    shown = check(lab, {"web": chain3.variables})
    a, b, target = labels(chain3)
    assert "login connected for reached in" in shown
    for route, name, more in (
        ("controller", re.escape(a), ""),
        (f"controller -> {a}", re.escape(b), ""),
        (f"controller -> {a} -> {b}", rf"web \({target}\)", f" {TIME}"),
    ):
        assert re.search(rf'"{re.escape(route)}", " {name} {TIME} {AGE}{more}"', shown), shown


def test_what_was_connected_before_has_the_same_columns(lab: Lab, chain3: Chain3) -> None:
    cold, warm = check(lab, {"web": chain3.variables}), check(lab, {"web": chain3.variables})
    times = [re.findall(rf"({TIME}) {AGE}", shown) for shown in (cold, warm)]
    assert len(times[0]) == 3
    assert times[0] == times[1]  # of the same logins
    assert re.sub(r"\d+", "0", warm) == re.sub(r"\d+", "0", cold)


def test_hosts_on_one_route_have_its_jump_hosts_once(lab: Lab, chain3: Chain3) -> None:
    first, second = chain3.jump_list
    bastion = chain3.target_variables | {
        "ansible_host": second["host"],
        "ansible_port": second["port"],
        "ansible_user": second["user"],
        "ansible_ssh_private_key_file": second["private_key_file"],
        "ansible_ssh_jump": [first],
    }
    shown = check(lab, {"bastion": bastion, "web": chain3.variables, "twin": chain3.variables})
    a, b, target = labels(chain3)
    assert len(re.findall(f"{TIME} {AGE}", shown)) == 4
    for name in (a, f"bastion ({b})", f"web ({target})", f"twin ({target})"):
        assert len(re.findall(rf"{re.escape(name)} {TIME}", shown)) == 1, shown


def test_a_host_that_is_not_reached_is_told_apart(lab: Lab, chain3: Chain3) -> None:
    chain3.target.stop()
    hosts = {"bad": chain3.variables | {"ansible_ssh_jumps": "x"}, "other": {"ansible_connection": "local"}}
    shown = check(lab, hosts, expected=4)
    assert re.search(rf"bad\]: UNREACHABLE.*jump host 2 of 2 [^\"]*: logged in after {TIME}.*target", shown)
    assert '"connection local: other", "unreachable: bad"' in shown
    assert "note: ansible_ssh_jumps is not a variable of bastion.ssh.jump. Is ansible_ssh_jump meant? (bad)" in shown
    assert re.search(r"other : ok=2", shown)


def test_a_shell_that_does_not_work_is_a_failure(lab: Lab, chain3: Chain3) -> None:
    shown = check(lab, {"web": chain3.variables | {"ansible_shell_executable": "/nonexistent/sh"}}, expected=2)
    assert "logged in, but the shell did not run a command: it ended with 127" in shown
