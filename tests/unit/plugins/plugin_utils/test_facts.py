# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which facts are refused, and what the playbooks of this collection take from outside."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from jinja2 import Environment, nodes

from ansible_collections.bastion.ssh.plugins import plugin_utils
from ansible_collections.bastion.ssh.plugins.plugin_utils.errors import SettingsError
from ansible_collections.bastion.ssh.plugins.plugin_utils.facts import PLAYBOOK_VARIABLES, refuse_steering_facts

NAMES = ["ansible_proxy_command", "ansible_port", "inventory_hostname", "ansible_ssh_jump_password"]
DROPPED = ["ansible_port"]
HOST = {"inventory_hostname": "web.example", "inventory_hostname_short": "web"}


class Trusted(str):
    """A text of an inventory or a play."""

    __slots__ = ()


def refuse(variables: dict[str, Any], injected: bool) -> None:
    refuse_steering_facts(variables, NAMES, DROPPED, injected, lambda text: isinstance(text, Trusted))


def variables(facts: Any, **others: Any) -> dict[str, Any]:
    return {**HOST, "ansible_facts": facts, **others}


# A row: facts as ansible-core keeps them, other variables, whether facts become variables, which variable is refused.
# trust: T52
@pytest.mark.parametrize(
    ("facts", "others", "injected", "refused"),
    [
        ({}, {}, True, None),
        (None, {}, True, None),
        ({"kernel": "Linux"}, {}, True, None),
        ({"proxy_command": "x"}, {"ansible_proxy_command": "x"}, True, "ansible_proxy_command"),
        ({"proxy_command": "x"}, {"ansible_proxy_command": "of the play"}, True, "ansible_proxy_command"),
        ({"proxy_command": "x"}, {}, False, "ansible_proxy_command"),
        # A fact that never had the prefix, with or without a variable of the inventory that has it.
        ({"proxy_command": "x"}, {"proxy_command": "x"}, True, None),
        ({"proxy_command": "x"}, {"proxy_command": "x", "ansible_proxy_command": "y"}, True, "ansible_proxy_command"),
        # ansible-core drops this one when it has the prefix.
        ({"port": 1}, {}, True, "ansible_port"),
        ({"port": 1}, {"port": 1, "ansible_port": 22}, True, None),
        ({"port": 1}, {"ansible_port": 22}, False, None),
        # In a loop of ansible-core before 2.19.
        ({"ansible_facts": {"proxy_command": "x"}}, {}, True, "ansible_proxy_command"),
        ({"ansible_facts": "x"}, {}, True, None),
        ({"inventory_hostname": "x"}, {}, True, "inventory_hostname"),
        ({"inventory_hostname": "x"}, {}, False, "inventory_hostname"),
    ],
)
def test_which_facts_are_refused(facts: Any, others: dict[str, Any], injected: bool, refused: str | None) -> None:
    if refused is None:
        refuse(variables(facts, **others), injected)
        return
    with pytest.raises(SettingsError) as error:
        refuse(variables(facts, **others), injected)
    assert error.value.setting == refused


# A row: what the variable is made of, and whether a fact called "edge", or "ansible_edge", is part of that.
# trust: T52
@pytest.mark.parametrize(
    ("value", "others", "refused"),
    [
        ("nc edge 22", {"edge": "x"}, False),
        ("{{ edge }}", {"edge": "x"}, True),
        ("{% if edge %}a{% endif %}", {"edge": "x"}, True),
        ("{{ lookup('vars', 'edge') }}", {"edge": "x"}, True),
        ("{{ vars['edge'] }}", {"edge": "x"}, True),
        ("{{ ansible_edge }}", {"ansible_edge": "x"}, True),
        (["a", {"host": "{{ edge }}"}], {"edge": "x"}, True),
        ("{{ way }}", {"edge": "x", "way": ["{{ more }}"], "more": {"host": "{{ edge }}"}}, True),
        ("{{ way }}", {"edge": "x", "way": "{{ way }}"}, False),
        # A host may say the same name twice, with and without the prefix, or let ansible-core drop a part of it.
        ("{{ edge }}", {"edge": "y", "ansible_edge": "x"}, True),
        ("{{ edge }}", {"edge": {"paris": Trusted("a"), "oslo": "y"}}, True),
        ("{{ edge }}", {"edge": [Trusted("a"), 1]}, True),
        ("{{ edge }}", {"edge": []}, True),
        ("{{ edge }}", {"edge": 22}, True),
        # What an inventory or a play has set, though there is such a fact with the prefix; and what says that it is a fact.
        ("{{ edge }}", {"edge": Trusted("a"), "ansible_edge": "x"}, False),
        ("{{ edge }}", {"edge": [Trusted("a"), {"host": Trusted("b")}]}, False),
        ("{{ ansible_facts.edge }} {{ ansible_facts['edge'] }}", {"edge": "x"}, False),
        ("{{ edges }}", {"edge": "x", "edges": "y"}, False),
        (22, {"edge": "x"}, False),
    ],
)
@pytest.mark.parametrize("injected", [True, False])
def test_what_a_variable_is_made_of_may_be_no_fact(
    value: Any, others: dict[str, Any], refused: bool, injected: bool
) -> None:
    all_variables = variables({"edge": "x"}, ansible_proxy_command=value, **others)
    if not (refused and injected):
        refuse(all_variables, injected)
        return
    words = (
        r"^ansible_proxy_command: it is made of (ansible_)?edge, of which name host web.example has a fact \('x'\), and"
    )
    with pytest.raises(SettingsError, match=words):
        refuse(all_variables, injected)


@pytest.mark.parametrize(
    ("others", "host"),
    [
        ({}, "web.example"),
        ({"inventory_hostname_short": "db"}, "db"),  # a delegated host's, beside the name of the task's host
        ({"inventory_hostname": "\x1b[31m{{ x }}", "inventory_hostname_short": ""}, "[31m{ { x } }"),
        ({"inventory_hostname": "10.0.0.1", "inventory_hostname_short": "10.0.0.1"}, "10.0.0.1"),
    ],
)
def test_the_host_is_named(others: dict[str, Any], host: str) -> None:
    with pytest.raises(SettingsError, match=r"^ansible_proxy_command: host ") as error:
        refuse(variables({"proxy_command": "x"}, **others), True)
    assert f": host {host} has a fact of this name ('x'), and" in str(error.value)


def test_a_value_that_may_be_a_secret_is_not_shown_and_others_are_bounded() -> None:
    with pytest.raises(SettingsError) as error:
        refuse(variables({"ssh_jump_password": "hidden"}), True)
    assert "hidden" not in str(error.value)
    made_of = variables({"word": "hidden"}, ansible_ssh_jump_password="{{ word }}", word="hidden")
    with pytest.raises(SettingsError) as error:
        refuse(made_of, True)
    assert "hidden" not in str(error.value)
    with pytest.raises(SettingsError) as error:
        refuse(variables({"proxy_command": "x" * 10_000}), True)
    assert len(str(error.value)) < 700


# What ansible-core itself says to a play, and what no fact overrides.
MAGIC = {
    "ansible_play_hosts",
    "ansible_play_hosts_all",
    "hostvars",
    "ansible_check_mode",
    "ansible_playbook_python",
    "ansible_verbosity",
    "lookup",
    "dict",
}
PLAYBOOKS = Path(plugin_utils.__path__[0]).parents[1] / "playbooks"


def _texts(value: Any) -> Iterator[tuple[str, bool]]:
    """All texts of a playbook, and whether each is an expression even without braces."""
    if isinstance(value, dict):
        for key, item in value.items():
            bare = key in ("when", "that", "failed_when", "changed_when", "var", "until")
            yield from ((text, bare or inner) for text, inner in _texts(item))
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
    elif isinstance(value, str):
        yield value, False


def _set_by(value: Any) -> Iterator[str]:
    """The variables that a playbook sets itself, which come before facts."""
    if isinstance(value, dict):
        yield from value.get("vars") or {}
        if "loop_var" in value:
            yield value["loop_var"]
        if "register" in value:
            yield value["register"]
        for item in value.values():
            yield from _set_by(item)
    elif isinstance(value, list):
        for item in value:
            yield from _set_by(item)


def _content(playbook: Path) -> list[Any]:
    """A playbook with the files of tasks that it includes, and that these include."""
    files, todo = {playbook}, [playbook]
    content = []
    while todo:
        path = todo.pop()
        text = path.read_text("utf-8")
        content.append(yaml.safe_load(text))
        included = {
            path.parent / name for name in re.findall(r"(?:include_tasks|file): ([\w/]+\.yml)$", text, re.MULTILINE)
        }
        todo += included - files
        files |= included
    return content


# trust: T52
@pytest.mark.parametrize("path", sorted(PLAYBOOKS.glob("*.yml")), ids=lambda path: path.stem)
def test_a_playbook_takes_nothing_from_outside_but_what_no_fact_may_set(path: Path) -> None:
    content = _content(path)
    trees = [Environment().parse(f"{{{{ {text} }}}}" if bare else text) for text, bare in _texts(content)]
    read = {name.name for tree in trees for name in tree.find_all(nodes.Name)}
    assert "bastion_ssh_" in "".join(read)
    assert read - set(_set_by(content)) - MAGIC <= PLAYBOOK_VARIABLES


def test_every_file_of_tasks_is_looked_into() -> None:
    tasks = [yaml.safe_load(path.read_text("utf-8")) for path in (PLAYBOOKS / "tasks").glob("*.yml")]
    found = [part for path in PLAYBOOKS.glob("*.yml") for part in _content(path)]
    assert len(tasks) == 3
    assert [part for part in tasks if part not in found] == []
