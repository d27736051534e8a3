# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options as they were set -> settings, with the defaults of the documentation."""

from __future__ import annotations

import os
import pwd
import socket
from typing import Any

import pytest
import yaml

from ansible_collections.bastion.ssh.plugins.connection.jump import DOCUMENTATION
from ansible_collections.bastion.ssh.plugins.plugin_utils.chain.arguments import Arguments
from ansible_collections.bastion.ssh.plugins.plugin_utils.chain.inventory import InventoryOptions, JumpDefaults
from ansible_collections.bastion.ssh.plugins.plugin_utils.chain.model import HostKeyChecking, TransferMethod
from ansible_collections.bastion.ssh.plugins.plugin_utils.chain.tokens import Controller
from ansible_collections.bastion.ssh.plugins.plugin_utils.errors import SettingsError
from ansible_collections.bastion.ssh.plugins.plugin_utils.settings import (
    SessionConfig,
    inventory_settings,
    read_settings,
)

OPTIONS: dict[str, Any] = yaml.safe_load(DOCUMENTATION)["options"]
ORIGIN = {
    "login_name": "me",
    "directory": "/play",
    "run_directory": "/run/private",
    "run_key": "SECRET",
    "environment": {"A": "b"},
}
DEFAULTS = {name: option.get("default") for name, option in OPTIONS.items()} | {"remote_addr": "target"} | ORIGIN


CONTROLLER = Controller(
    "me", os.geteuid(), pwd.getpwuid(os.geteuid()).pw_dir, socket.gethostname(), environment=(("A", "b"),)
)


def options(**changes: Any) -> dict[str, Any]:
    assert changes.keys() <= DEFAULTS.keys()
    return DEFAULTS | changes


def read(**changes: Any) -> SessionConfig:
    return read_settings(options(**changes))


def inventory(**changes: Any) -> InventoryOptions:
    return inventory_settings(options(**changes), Arguments())


def test_the_defaults_are_those_of_the_documentation() -> None:
    assert inventory() == InventoryOptions("target", CONTROLLER, config_file=None)
    settings = read()
    assert (settings.transfer_method, settings.retries) == (TransferMethod.SMART, 0)
    assert (settings.persist, settings.persist_max) == (60.0, None)
    assert (settings.run_directory, settings.run_key) == ("/run/private", "SECRET")
    assert str(settings.chain) == "controller -> me@target:22"


def test_every_option_has_its_place() -> None:
    changes = options(
        ssh_jump="a,b", ssh_jump_user="ju", ssh_jump_password="jp", ssh_jump_private_key_file="jk", ssh_jump_timeout=30.0,
        proxy_command="none", port=2222, remote_user="u", password="p", private_key_file="k", private_key_passphrase="pp",
        certificate_file="c", look_for_keys=False, prompts={"q": "a"}, host_key_checking="accept-new", known_hosts="f",
        host_key_alias="alias", connect_timeout=5, reconnection_retries=2, server_alive_interval=1.5, server_alive_count_max=4,
        transfer_method="piped", persist=5.0, persist_max=7.0, config_file="/file",
    )  # fmt: skip
    assert inventory_settings(changes, Arguments(("-C",), "/args")) == InventoryOptions(
        "target", CONTROLLER, port=2222, user="u", password="p", private_key_file="k", passphrase="pp", certificate_file="c",
        prompts=(("q", "a"),), checking=HostKeyChecking.ACCEPT_NEW, known_hosts=("f",), host_key_alias="alias", look_for_keys=False,
        jump="a,b", jump_defaults=JumpDefaults("ju", "jp", "jk"), proxy_command="none", timeout=5.0, total_timeout=30.0,
        alive_interval=1.5, alive_count=4, config_file="/file", arguments=("-C",),
    )  # fmt: skip
    settings = read_settings(changes)
    assert (settings.transfer_method, settings.retries) == (TransferMethod.PIPED, 2)
    assert (settings.persist, settings.persist_max) == (5.0, 7.0)
    assert [hop.host for hop in settings.chain.hops] == ["a", "b", "target"]
    assert inventory(private_key="text").private_key == "text"
    assert inventory(certificate="text").certificate == "text"


def variables(option: str) -> set[str]:
    return {variable["name"] for variable in OPTIONS[option].get("vars", ())}


# trust: T49
@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("remote_addr", ""),
        ("remote_addr", "-oProxyCommand=x"),
        ("port", 0),
        ("port", "ssh"),
        ("remote_user", "a;b"),
        ("remote_user", ["u"]),
        ("password", ["s3cret"]),
        ("password", True),
        ("private_key_file", {"s3cret": 1}),
        ("private_key", "s3cret\0"),
        ("private_key_passphrase", False),
        ("certificate_file", 1.5),
        ("certificate", 1.5),
        ("ssh_jump", 7),
        ("ssh_jump", "a,"),
        ("ssh_jump_user", "-x"),
        ("ssh_jump_password", ["s3cret"]),
        ("ssh_jump_private_key_file", []),
        ("ssh_jump_timeout", 0.0),
        ("proxy_command", "nc %x"),
        ("proxy_command", ["nc"]),
        ("prompts", "s3cret"),
        ("prompts", {"(": "s3cret"}),
        ("host_key_checking", "ask"),
        ("known_hosts", ""),
        ("host_key_alias", "*"),
        ("connect_timeout", 0),
        ("connect_timeout", float("nan")),
        ("reconnection_retries", -1),
        ("server_alive_interval", -1.0),
        ("server_alive_interval", float("inf")),
        ("server_alive_interval", float("nan")),
        ("server_alive_interval", "15"),
        ("server_alive_count_max", -1),
        ("transfer_method", "scp"),
        ("persist", -1.0),
        ("persist", float("nan")),
        ("persist_max", -1.0),
    ],
)
def test_a_mistake_is_told_with_a_variable_of_the_option_and_without_its_secret(option: str, value: object) -> None:
    with pytest.raises(SettingsError) as caught:
        read(**{option: value})
    assert caught.value.setting.partition("[")[0] in variables(option)
    assert "s3cret" not in str(caught.value)


def test_a_key_is_a_file_or_a_text() -> None:
    with pytest.raises(SettingsError, match=r"^ansible_ssh_private_key: set either it or"):
        read(private_key="x", private_key_file="y")
    assert inventory(private_key="", private_key_file="y").private_key_file == "y"


# trust: T21
def test_no_secret_is_in_the_repr_of_the_settings() -> None:
    secrets = ["password", "private_key", "private_key_passphrase", "ssh_jump_password"]
    jump = [{"host": "a", "password": "SECRET", "private_key": "SECRET", "passphrase": "SECRET"}]
    changes = dict.fromkeys(secrets, "SECRET") | {"prompts": {"SECRET": "SECRET"}, "ssh_jump": jump}
    assert inventory(**changes).password == "SECRET"
    assert "SECRET" not in repr(inventory(**changes))
    assert "SECRET" not in repr(read(**changes))
