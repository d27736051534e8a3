# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test that the playbooks of the collection use only variables with their own prefix, whatever else an inventory has."""

from __future__ import annotations

import json
from typing import Any

import pytest
from lab import TRUE, Lab, play, playbook
from lab.brokers import brokers
from lab.chains import place
from lab.playbook import own_playbook

# What each playbook took under a name without a prefix.
FORMER: dict[str, tuple[str, Any]] = {
    "trust": ("accept", True),
    "chain": ("picture", "ways.mmd"),
    "sessions": ("stop", True),
}


def test_a_variable_of_the_inventory_answers_for_no_one(lab: Lab) -> None:
    user, key, known = lab.user("target"), lab.key("key"), lab.path / "known"
    server = lab.sshd("server", users=[user], keys=[key])
    known.touch()
    host = place(server, user, ansible_ssh_private_key_file=str(key.path))
    playbook(lab, {"web": host | {"ansible_ssh_host_key_checking": False}}, play(TRUE)).check()
    host["ansible_ssh_known_hosts"] = str(known)
    others = dict(FORMER.values())
    inventory = lab.path / "site.json"
    hosts = {"web": host | others, "localhost": {"ansible_connection": "local", **others}}
    inventory.write_text(json.dumps({"all": {"hosts": hosts}}))
    for name in FORMER:
        expected = 2 if name == "trust" else 0  # the key is new, and the user has not said to add it
        shown = own_playbook(lab, f"bastion.ssh.{name}", "-i", str(inventory), expected=expected)
        assert "does not read a variable of this name" not in shown
    assert known.read_text() == ""
    assert not (lab.path / "ways.mmd").exists()
    assert len(brokers(lab)) == 1


@pytest.mark.ways("own process")
@pytest.mark.parametrize("name", FORMER)
def test_a_former_name_on_the_command_line_is_refused_with_the_new_one(name: str, lab: Lab) -> None:
    former, value = FORMER[name]
    extra = ["-i", "localhost,", "-e", json.dumps({former: value})]
    shown = own_playbook(lab, f"bastion.ssh.{name}", *extra, "-c", "local", expected=2)
    assert f"{former}: this playbook does not read a variable of this name; use -e bastion_ssh_{former}=" in shown


@pytest.mark.ways("own process")
def test_a_playbook_of_the_users_own_may_use_any_name(lab: Lab) -> None:
    task = {"name": "Sessions", "bastion.ssh.sessions": {"stop": "{{ stop }}"}}
    playbook(lab, {"localhost": {"ansible_connection": "local"}}, play(task), args=["-e", "stop=true"]).check()
