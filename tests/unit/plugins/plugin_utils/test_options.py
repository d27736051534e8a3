# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options of the connection plugin -> settings, with the defaults of its documentation."""

from __future__ import annotations

import getpass
from typing import Any

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import become_loader
from ansible.utils.unsafe_proxy import wrap_var

from ansible_collections.bastion.ssh.plugins.connection.jump import DOCUMENTATION
from ansible_collections.bastion.ssh.plugins.plugin_utils.chain.model import HostKeyChecking, HostKeyPolicy
from ansible_collections.bastion.ssh.plugins.plugin_utils.chain.resolve import JumpDefaults, Settings, resolve
from ansible_collections.bastion.ssh.plugins.plugin_utils.errors import SettingsError
from ansible_collections.bastion.ssh.plugins.plugin_utils.options import (
    PluginSettings,
    become_rules,
    needs_pty,
    plain,
    read_options,
)
from ansible_collections.bastion.ssh.plugins.plugin_utils.ssh.interface import TransferMethod

OPTIONS: dict[str, Any] = yaml.safe_load(DOCUMENTATION)["options"]
DEFAULTS = {name: option.get("default") for name, option in OPTIONS.items()} | {"remote_addr": "target"}


def read(**changes: Any) -> PluginSettings:
    assert changes.keys() <= OPTIONS.keys()
    return read_options((DEFAULTS | changes).__getitem__)


def test_the_defaults_are_those_of_the_documentation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(getpass, "getuser", lambda: "me")
    settings = read()
    files = ("~/.ssh/known_hosts", "~/.ssh/known_hosts2", "/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2")
    assert settings.target == Settings("target", "me", host_keys=HostKeyPolicy(known_hosts=files))
    assert (settings.session.transfer_method, settings.retries, settings.pty) == (TransferMethod.SMART, 0, None)
    assert settings.session.run_directory
    assert str(resolve(settings.target)) == "controller -> me@target:22"


def test_every_option_has_its_place() -> None:
    settings = read(
        ssh_jump="a,b", ssh_jump_user="ju", ssh_jump_password="jp", ssh_jump_private_key_file="jk", ssh_jump_timeout=30.0,
        proxy_command="none", port=2222, remote_user="u", password="p", private_key_file="k", private_key_passphrase="pp",
        certificate_file="c", look_for_keys=False, prompts={"q": "a"}, host_key_checking="accept-new", known_hosts="f",
        host_key_alias="alias", connect_timeout=5, reconnection_retries=2, server_alive_interval=1.5, server_alive_count_max=4,
        transfer_method="piped", pty="yes",
    )  # fmt: skip
    assert settings.target == Settings(
        "target", getpass.getuser(), port=2222, user="u", password="p", private_key_file="k", passphrase="pp", certificate_file="c",
        prompts=(("q", "a"),), host_keys=HostKeyPolicy(HostKeyChecking.ACCEPT_NEW, ("f",), "alias"), look_for_keys=False,
        jump="a,b", jump_defaults=JumpDefaults("ju", "jp", "jk"), proxy_command="none", timeout=5.0, total_timeout=30.0,
        alive_interval=1.5, alive_count=4,
    )  # fmt: skip
    assert (settings.session.transfer_method, settings.retries, settings.pty) == (TransferMethod.PIPED, 2, True)
    assert read(private_key="text").target.private_key == "text"


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
        ("host_key_checking", None),
        ("known_hosts", None),
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
        ("pty", "sometimes"),
        ("pty", None),
    ],
)
def test_a_mistake_is_told_with_a_variable_of_the_option_and_without_its_secret(option: str, value: object) -> None:
    with pytest.raises(SettingsError) as caught:
        resolve(read(**{option: value}).target)
    assert caught.value.setting.partition("[")[0] in variables(option)
    assert "s3cret" not in str(caught.value)


def test_a_key_is_a_file_or_a_text() -> None:
    with pytest.raises(SettingsError, match=r"^ansible_ssh_private_key: set either it or"):
        read(private_key="x", private_key_file="y")
    assert read(private_key="", private_key_file="y").target.private_key_file == "y"


@pytest.mark.parametrize(
    ("value", "expected"), [("auto", None), (True, True), ("yes", True), ("1", True), (False, False), ("no", False)]
)
def test_a_terminal_is_wanted_or_not_or_left_to_the_program(value: object, expected: bool | None) -> None:
    assert read(pty=value).pty is expected


# trust: T21
def test_no_secret_is_in_the_repr_of_the_settings() -> None:
    secrets = ["password", "private_key", "private_key_passphrase", "ssh_jump_password"]
    jump = [{"host": "a", "password": "SECRET", "private_key": "SECRET", "passphrase": "SECRET"}]
    settings = read(**dict.fromkeys(secrets, "SECRET"), prompts={"SECRET": "SECRET"}, ssh_jump=jump)
    assert settings.target.password == "SECRET"
    assert "SECRET" not in repr(settings)
    assert "SECRET" not in repr(resolve(settings.target))


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
