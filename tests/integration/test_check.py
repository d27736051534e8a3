# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the playbook bastion.ssh.check says of the way to each host."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from lab import Chain3, Lab
from lab.playbook import own_playbook

TIME = r"\d+\.\d{3} s"


def check(lab: Lab, inventory: dict[str, dict[str, Any]], expected: int = 0) -> str:
    """What the playbook prints."""
    hosts = lab.path / "check.json"
    hosts.write_text(json.dumps({"all": {"hosts": inventory}}))
    shown = own_playbook(lab, "bastion.ssh.check", "-i", str(hosts), "-f", "1", expected=expected)
    return re.sub(r"\s+", " ", shown)


@pytest.mark.ways("broker", "own process")
def test_each_hop_is_shown_with_its_time(lab: Lab, chain3: Chain3) -> None:
    shown = check(lab, {"web": chain3.variables})
    for number, (user, host) in enumerate(zip(chain3.users, chain3.hosts, strict=True), 1):
        assert re.search(rf"hop {number} of 3, {user.name}@{host.endpoint}[^\"]*: logged in after {TIME}", shown)
    assert re.search(f"reached after {TIME}", shown)


def test_hops_that_were_connected_before_are_shown_as_such(lab: Lab, chain3: Chain3) -> None:
    first, second = chain3.jump_list
    bastion = chain3.target_variables | {
        "ansible_host": second["host"],
        "ansible_port": second["port"],
        "ansible_user": second["user"],
        "ansible_ssh_private_key_file": second["private_key_file"],
        "ansible_ssh_jump": [first],
    }
    check(lab, {"bastion": bastion})
    shown = check(lab, {"web": chain3.variables})
    for number in (1, 2):
        assert re.search(rf"hop {number} of 3, [^\"]*: reused, connected for \d+ s", shown)
    assert re.search(rf"hop 3 of 3, [^\"]*: logged in after {TIME}", shown)
    assert re.search(r"controller -> [^\"]*: reused, connected for \d+ s", check(lab, {"web": chain3.variables}))


def test_a_host_that_is_not_reached_is_told_apart(lab: Lab, chain3: Chain3) -> None:
    chain3.target.stop()
    shown = check(lab, {"bad": chain3.variables, "other": {"ansible_connection": "local"}}, expected=4)
    assert re.search(rf"bad\]: UNREACHABLE.*hop 2 of 3, [^\"]*: logged in after {TIME}.*hop 3 of 3", shown)
    assert "its connection is local" in shown
    assert re.search(r"other : ok=2", shown)


def test_a_shell_that_does_not_work_is_a_failure(lab: Lab, chain3: Chain3) -> None:
    shown = check(lab, {"web": chain3.variables | {"ansible_shell_executable": "/nonexistent/sh"}}, expected=2)
    assert "logged in, but the shell did not run a command: it ended with 127" in shown
