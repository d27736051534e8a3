# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a worker loads, and what ansible-core is told instead of the documentation."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.bastion.ssh.plugins.connection.jump import DOCUMENTATION
from ansible_collections.bastion.ssh.plugins.plugin_utils import loading
from ansible_collections.bastion.ssh.plugins.plugin_utils.options import NAMES

HERE = Path(loading.__file__).parent
ROOT = Path(loading.__file__).parents[5]
PACKAGE = "ansible_collections.bastion.ssh.plugins.plugin_utils"
DOCUMENTED: dict[str, Any] = yaml.safe_load(DOCUMENTATION)["options"]
DEFINED: dict[str, Any] = json.loads((HERE / "definitions.json").read_text("utf-8"))
# What ansible-core acts on; the other keys are for readers.
KEPT = ("type", "default", "vars", "ini", "env", "cli", "keyword")
FOR_READERS = {"description", "version_added"}
# The others come from ansible-core's own fragment.
OURS = sorted(DOCUMENTED.keys() - {"pipelining"})


def test_all_options_are_defined() -> None:
    assert sorted(DEFINED) == sorted(DOCUMENTED)


@pytest.mark.parametrize("name", OURS)
def test_an_option_is_defined_as_it_is_documented(name: str) -> None:
    option = DOCUMENTED[name]
    assert DEFINED[name] == {key: option[key] for key in KEPT if key in option}
    assert set(option) - set(KEPT) <= FOR_READERS, "what is it for? ansible-core may act on it"


def test_pipelining_is_ansible_cores_own_and_more() -> None:
    defined = DEFINED["pipelining"]
    assert (defined["type"], defined["default"]) == ("boolean", False)
    for kind in ("vars", "env", "ini"):
        assert [entry for entry in DOCUMENTED["pipelining"][kind] if entry not in defined[kind]] == []


SCRIPT = """
import json, sys

from ansible import constants as C
from ansible.playbook.play_context import PlayContext
from ansible.plugins.loader import connection_loader, init_plugin_loader

init_plugin_loader()
before = set(sys.modules)
name = "ansible_collections.bastion.ssh.plugins.connection.jump"
defined = [C.config.has_configuration_definition("connection", name)]
parse = connection_loader._load_config_defs

def parse_unless_defined(*args, **kwargs):
    defined.append(C.config.has_configuration_definition("connection", name))
    parse(*args, **kwargs)

connection_loader._load_config_defs = parse_unless_defined
plugin = connection_loader.get("bastion.ssh.jump", PlayContext(), None)
found = {"defined": defined, "module": type(plugin).__module__}
plugin.set_options(direct={"remote_addr": "h"})
found["options"] = {key: plugin.get_option(key) for key in json.loads(sys.argv[1])}
found["definitions"] = C.config.get_configuration_definitions("connection", name)

from ansible_collections.bastion.ssh.plugins.plugin_utils.client.client import BrokerSession
from ansible_collections.bastion.ssh.plugins.plugin_utils.options import read_options
from ansible_collections.bastion.ssh.plugins.plugin_utils.client.interface import Report

session = BrokerSession(read_options(plugin.get_option, ""), None, "/nonexistent", Report(print, print))
session.close()
found["modules"] = sorted(set(sys.modules) - before)
found["loaders"] = {name: type(sys.modules[name].__loader__).__name__ for name in found["modules"]}
print(json.dumps(found))
"""


@cache
def loaded() -> dict[str, Any]:
    """What a process that loads the plugin as ansible-core does finds out."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    environment |= {"ANSIBLE_COLLECTIONS_PATH": str(ROOT), "PYTHONPATH": ""}
    command = [sys.executable, "-c", SCRIPT, json.dumps(sorted(DOCUMENTED))]
    made = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert made.returncode == 0, made.stderr
    return dict(json.loads(made.stdout.splitlines()[-1]))


def test_the_options_are_defined_before_ansible_core_would_parse_the_documentation() -> None:
    found = loaded()
    assert found["module"] == loading.CONNECTION
    assert found["defined"] == [False, True]


def test_the_options_are_complete_when_the_plugin_is_loaded() -> None:
    found = loaded()
    assert found["definitions"] == DEFINED
    assert set(NAMES) < found["options"].keys() == DOCUMENTED.keys()
    defaults = {
        name: found["options"][name] for name in ("port", "persist", "pipelining", "transfer_method", "ssh_jump")
    }
    assert defaults == {
        "port": None,
        "persist": None,
        "pipelining": False,
        "transfer_method": "smart",
        "ssh_jump": None,
    }
    assert found["options"]["remote_addr"] == "h"


HEAVY = ["paramiko", "cryptography", "nacl", "bcrypt", "asyncio", "yaml"]
NOT_NEEDED = [
    f"{PACKAGE}.{name}"
    for name in ("settings", "chain.spec", "chain.resolve", "chain.paths", "ssh", "patched_paramiko", "pool", "broker", "client.spawn")
]  # fmt: skip


@pytest.mark.parametrize("name", [*HEAVY, *NOT_NEEDED])
def test_on_its_way_to_the_broker_a_worker_does_not_load(name: str) -> None:
    modules = loaded()["modules"]
    assert f"{PACKAGE}.client.client" in modules
    assert [module for module in modules if f"{module}.".startswith(f"{name}.")] == []


def test_there_are_those_modules_that_a_worker_does_not_load() -> None:
    assert [
        name for name in NOT_NEEDED if not [*HERE.glob(f"{name.removeprefix(PACKAGE)[1:].replace('.', '/')}*")]
    ] == []


def test_what_a_worker_loads_of_ours_is_loaded_as_python_does_which_keeps_its_byte_code() -> None:
    loaders = {name: loader for name, loader in loaded()["loaders"].items() if name.startswith(f"{PACKAGE}.")}
    packages = {name for name in loaders if (HERE / name.removeprefix(f"{PACKAGE}.")).is_dir()}
    assert f"{PACKAGE}.client" in packages
    others = {name for name, loader in loaders.items() if loader != "SourceFileLoader"}
    assert others == {f"{PACKAGE}.loading", *packages}
    assert loaders.keys() - others == {f"{PACKAGE}.{name}" for name in loading._MODULES}


def test_loading_once_more_changes_nothing() -> None:
    before = dict(sys.modules)
    loading.load_modules()
    loading.define_options()
    assert {name: module for name, module in sys.modules.items() if before.get(name) is not module} == {}
