# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options of the connection plugin -> plain values, and how its become plugin is read."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import become_loader
from ansible.utils.unsafe_proxy import wrap_var

from ansible_collections.bastion.ssh.plugins.connection.jump import DOCUMENTATION
from ansible_collections.bastion.ssh.plugins.plugin_utils.errors import SettingsError
from ansible_collections.bastion.ssh.plugins.plugin_utils.options import (
    NAMES,
    become_rules,
    needs_pty,
    plain,
    pty_wanted,
    read_options,
)

OPTIONS: dict[str, Any] = yaml.safe_load(DOCUMENTATION)["options"]
# What the plugin itself reads, and what is ansible-core's.
OTHERS = {"pipelining", "pty", "persist_directory"}


def test_all_options_of_the_documentation_are_read() -> None:
    assert set(NAMES) | OTHERS == set(OPTIONS)
    options = read_options(lambda name: wrap_var([name]), "a-1")
    assert {name: options[name] for name in NAMES} == {name: [name] for name in NAMES}
    assert options["directory"] == os.getcwd()
    assert json.loads(json.dumps(options)) == options


def test_the_environment_is_that_of_the_play(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROFILE", "paris")
    assert read_options(dict.fromkeys(NAMES).__getitem__, "")["environment"]["PROFILE"] == "paris"


YAML = """
text: bastion
unsafe: !unsafe '{{ x }}'
number: 22
real: 1.5
truth: yes
nothing:
list: [a, {host: b, port: 2222, deep: [1, {x: !unsafe y}]}]
"""


def kinds(value: Any) -> set[type]:
    if isinstance(value, dict):
        return {dict}.union(*(kinds(each) for pair in value.items() for each in pair))
    if isinstance(value, list):
        return {list}.union(*map(kinds, value))
    return {type(value)}


def test_values_of_ansible_become_values_of_python_all_the_way_down() -> None:
    loaded = DataLoader().load(YAML) | {"wrapped": wrap_var({"a": ("b", b"c")})}
    assert not kinds(loaded) <= {dict, list, tuple, str, bytes, int, float, bool, type(None)}
    value = plain(loaded)
    assert kinds(value) == {dict, list, str, int, float, bool, type(None)}
    assert value == yaml.safe_load(YAML.replace("!unsafe", "!!str")) | {"wrapped": {"a": ["b", "c"]}}


def become(name: str, **options: Any) -> Any:
    plugin = become_loader.get(name)
    plugin.set_options(direct={"become_pass": "secret", **options})
    return plugin, plugin.build_become_command("id", type("Shell", (), {"ECHO": "echo", "COMMAND_SEP": ";"})())


# trust: T51
@pytest.mark.parametrize("name", ["sudo", "su"])
def test_the_rules_of_a_become_plugin_are_its_own(name: str) -> None:
    plugin, line = become(name)
    rules = become_rules(plugin, line)
    assert rules is not None
    assert rules.success == plugin.success.encode()
    assert rules.expects_prompt
    prompt = {"sudo": str(plugin.prompt), "su": "Password: "}[name].encode()
    assert rules.is_prompt(prompt)
    assert not rules.is_prompt(b"out\n")
    assert rules.is_incorrect({"sudo": b"Sorry, try again.", "su": b"su: Authentication failure"}[name])
    assert not rules.is_incorrect(prompt)
    assert rules.is_missing(b"sudo: a password is required\nSorry, a password is required to run sudo") == (
        name == "sudo"
    )


def test_there_are_no_rules_where_the_command_is_not_wrapped() -> None:
    plugin, line = become("sudo")
    assert become_rules(None, line) is None
    assert become_rules(plugin, "id") is None
    assert become_rules(become_loader.get("sudo"), "id") is None
    rules = become_rules(*become("sudo", become_pass=None))
    assert rules is not None
    assert not rules.expects_prompt


class Doas:
    """As much of community.general.doas as is asked."""

    name = "community.general.doas"
    success = "BECOME-SUCCESS-x"
    prompt = True

    def __init__(self, password: bool, require_tty: bool = False) -> None:
        self._password = password
        self.require_tty = require_tty

    def expect_prompt(self) -> bool:
        return self._password

    def check_password_prompt(self, _output: bytes) -> bool:
        return False

    check_incorrect_password = check_missing_password = check_password_prompt


@pytest.mark.parametrize(
    ("plugin", "expected"),
    [(Doas(True), True), (Doas(False), False), (Doas(False, require_tty=True), True)],
)
def test_a_program_that_reads_a_password_from_a_terminal_only_needs_one(plugin: Doas, expected: bool) -> None:
    assert needs_pty(plugin, become_rules(plugin, plugin.success)) is expected
    assert needs_pty(plugin, None) is False


@pytest.mark.parametrize(
    ("value", "expected"), [(True, True), ("yes", True), ("1", True), (False, False), ("no", False)]
)
def test_a_terminal_is_wanted_or_not_or_left_to_the_program(value: object, expected: bool) -> None:
    assert pty_wanted(value, None, None) is expected
    plugin = Doas(True)
    assert pty_wanted("auto", plugin, become_rules(plugin, plugin.success))
    assert not pty_wanted("auto", None, None)


@pytest.mark.parametrize("value", ["sometimes", None, 7])
def test_what_is_no_answer_to_whether_a_terminal_is_wanted_is_refused(value: object) -> None:
    with pytest.raises(SettingsError, match=r"^ansible_ssh_use_tty: .* is none of auto, true, false"):
        pty_wanted(value, None, None)
