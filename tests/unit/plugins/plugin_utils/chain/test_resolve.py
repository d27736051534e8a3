# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Inventory settings -> Chain: precedence and conflicts."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.bastion.ssh.plugins.plugin_utils.chain.inventory import InventoryOptions, JumpDefaults
from ansible_collections.bastion.ssh.plugins.plugin_utils.chain.model import (
    AgentKeys,
    Chain,
    Credentials,
    DefaultKeyFiles,
    Hop,
    HostKeyChecking,
    HostKeyPolicy,
    Identity,
    KeyFile,
    KeyText,
)
from ansible_collections.bastion.ssh.plugins.plugin_utils.chain.resolve import resolve
from ansible_collections.bastion.ssh.plugins.plugin_utils.chain.tokens import Controller
from ansible_collections.bastion.ssh.plugins.plugin_utils.errors import SettingsError

USUAL = ("~/.ssh/known_hosts", "~/.ssh/known_hosts2")
SYSTEM = ("/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2")
NOTHING_SAID = HostKeyPolicy(known_hosts=USUAL, global_known_hosts=SYSTEM)
SAID = {"checking": HostKeyChecking.ACCEPT_NEW, "known_hosts": ("~/known",), "host_key_alias": "target-alias"}
AGENT, DEFAULTS = AgentKeys(), DefaultKeyFiles()


def settings(**changes: Any) -> InventoryOptions:
    return InventoryOptions(**{"host": "t", "controller": Controller("me"), **changes})


def hops(**changes: Any) -> tuple[Hop, ...]:
    return resolve(settings(**changes)).chain.hops


def test_a_target_without_a_jump_host_is_a_chain_of_one() -> None:
    target = Hop("t", 22, Credentials("me", None, (AGENT, DEFAULTS)), NOTHING_SAID)
    assert resolve(settings()).chain == Chain((target,))


def test_the_target_has_all_that_was_set_for_it() -> None:
    target = hops(
        host="[2001:db8::1]", port="2222", user="u", password="pw", private_key_file="k", passphrase="pp", certificate_file="c",
        prompts=(("q", "a"),), timeout=3.0, proxy_command="nc %h %p", **SAID,
    )  # fmt: skip
    keys = (KeyFile("k", "pp", "c"), AGENT)
    credentials = Credentials("u", "pw", keys, prompts=(("q", "a"),))
    policy = HostKeyPolicy(HostKeyChecking.ACCEPT_NEW, ("~/known",), "target-alias")
    assert target == (Hop("2001:db8::1", 2222, credentials, policy, 3.0, "nc %h %p", "the target"),)


# trust: T01
def test_the_target_comes_after_its_jump_hosts_in_their_order() -> None:
    chain = resolve(settings(jump="a,u@b:2222", total_timeout=9.0, alive_interval=1.0, alive_count=2)).chain
    assert str(chain) == "controller -> me@a:22 -> u@b:2222 -> me@t:22"
    assert chain.timeout == 9.0
    assert {(hop.transport.alive_interval, hop.transport.alive_count) for hop in chain.hops} == {(1.0, 2)}
    assert [hop.setting for hop in chain.hops] == ["ansible_ssh_jump[0]", "ansible_ssh_jump[1]", "the target"]


@pytest.mark.parametrize(
    ("jump", "default", "expected"),
    [("a", None, "me"), ("a", "ops", "ops"), ("u@a", "ops", "u"), ([{"host": "a", "user": "u"}], "ops", "u")],
)
def test_a_hop_has_its_own_user_else_the_one_for_hops_else_the_login_name(
    jump: object, default: str | None, expected: str
) -> None:
    bastion, target = hops(jump=jump, user="root", jump_defaults=JumpDefaults(user=default))
    assert (bastion.credentials.user, target.credentials.user) == (expected, "root")


# trust: T17
@pytest.mark.parametrize(
    ("own", "default", "expected"), [(None, None, None), (None, "d", "d"), ("o", "d", "o"), ("o", None, "o")]
)
def test_a_hop_has_its_own_password_else_the_one_for_hops_and_never_the_targets(
    own: str | None, default: str | None, expected: str | None
) -> None:
    bastion, target = hops(
        jump=[{"host": "a", "password": own}],
        password="target",
        prompts=(("q", "a"),),
        jump_defaults=JumpDefaults(password=default),
    )
    assert (bastion.credentials.password, target.credentials.password) == (expected, "target")
    assert (bastion.credentials.prompts, target.credentials.prompts) == ((), (("q", "a"),))


T_FILE, T_TEXT = KeyFile("t", "pp", "tc"), KeyText("text", "pp", "tc")
OF_TARGET = {"private_key_file": "t", "passphrase": "pp", "certificate_file": "tc"}


@pytest.mark.parametrize(
    ("own", "default", "expected"),
    [
        ({}, None, (AGENT, DEFAULTS)),
        ({}, "d", (KeyFile("d"), AGENT)),
        ({"private_key_file": "o", "passphrase": "p", "certificate_file": "c"}, "d", (KeyFile("o", "p", "c"), AGENT)),
        ({"private_key": "x", "passphrase": "p", "certificate_file": "c"}, "d", (KeyText("x", "p", "c"), AGENT)),
        ({"passphrase": "p", "certificate_file": "c"}, "d", (KeyFile("d", "p", "c"), AGENT)),
    ],
)
@pytest.mark.parametrize(
    ("target", "fallback"),
    [
        ({}, ()),
        (OF_TARGET, (T_FILE,)),
        ({"private_key": "text", "passphrase": "pp", "certificate_file": "tc"}, (T_TEXT,)),
    ],
)
def test_a_hops_own_keys_come_first_and_the_targets_last(
    own: dict[str, str],
    default: str | None,
    expected: tuple[Identity, ...],
    target: dict[str, Any],
    fallback: tuple[Identity, ...],
) -> None:
    jump = [{"host": "a", **own}]
    bastion, _target = hops(jump=jump, jump_defaults=JumpDefaults(private_key_file=default), **target)
    assert (bastion.credentials.identities, bastion.credentials.fallback) == (expected, fallback)


@pytest.mark.parametrize(
    ("said", "keys", "files", "texts"),
    [
        ({"private_key_file": "k", "certificate": "C"}, (KeyFile("k", certificate="C"), AGENT), (), ()),
        ({"private_key": "k", "certificate": "C"}, (KeyText("k", certificate="C"), AGENT), (), ()),
        ({"certificate": "C"}, (AGENT, DEFAULTS), (), ("C",)),
        ({"certificate_file": "c"}, (AGENT, DEFAULTS), ("c",), ()),
    ],
)
def test_a_certificate_is_of_the_key_that_is_named_or_of_any(
    said: dict[str, str], keys: tuple[Identity, ...], files: tuple[str, ...], texts: tuple[str, ...]
) -> None:
    (target,) = hops(**said)
    bastion, _target = hops(jump=[{"host": "a", **said}])
    for hop in (bastion, target):
        found = hop.credentials
        assert (found.identities, found.certificates, found.certificate_texts) == (keys, files, texts)


def test_default_key_files_are_left_out_where_they_are_not_wanted() -> None:
    bastion, target = hops(jump="a", look_for_keys=False)
    assert bastion.credentials.identities == target.credentials.identities == (AGENT,)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, (AGENT, DEFAULTS)),
        ({"look_for_keys": False}, (AGENT,)),
        (OF_TARGET, (T_FILE, AGENT)),
        ({"private_key": "x", "look_for_keys": False}, (KeyText("x"), AGENT)),
    ],
)
def test_the_target_is_not_offered_the_keys_of_hops(changes: dict[str, Any], expected: tuple[Identity, ...]) -> None:
    assert hops(**changes)[-1].credentials.identities == expected
    jump = [{"host": "a", "private_key_file": "o", "password": "p"}]
    assert hops(jump=jump, jump_defaults=JumpDefaults("u", "pw", "k"), **changes)[-1].credentials == Credentials(
        "me", None, expected
    )


def test_a_hops_host_key_policy_is_its_own_or_the_targets_but_for_the_alias() -> None:
    inherited, own, _target = hops(
        jump=["a", {"host": "b", "host_key_checking": False, "known_hosts": [], "host_key_alias": "x", "timeout": 2}],
        timeout=7.0,
        **SAID,
    )
    assert inherited.host_keys == HostKeyPolicy(HostKeyChecking.ACCEPT_NEW, ("~/known",), None)
    assert own.host_keys == HostKeyPolicy(HostKeyChecking.OFF, (), "x")
    assert (inherited.timeout, own.timeout) == (7.0, 2.0)


# trust: T03
@pytest.mark.parametrize("none", [None, "", "none", "NONE", " None "])
def test_none_as_one_way_leaves_the_other(none: str | None) -> None:
    assert [hop.proxy_command for hop in hops(jump=none, proxy_command="nc %h %p")] == ["nc %h %p"]
    assert [hop.host for hop in hops(jump="a", proxy_command=none)] == ["a", "t"]
    assert [hop.host for hop in hops(jump=none, proxy_command=none)] == ["t"]


def test_both_kinds_of_way_at_once_is_an_error_that_names_both() -> None:
    with pytest.raises(SettingsError, match=r"^ansible_proxy_command: ansible_ssh_jump and ansible_proxy_command"):
        resolve(settings(jump="a", proxy_command="nc %h %p"))


def test_the_first_hop_can_have_a_proxy_command() -> None:
    first, target = hops(jump=[{"host": "a", "proxy_command": "nc %h %p"}])
    assert (first.proxy_command, target.proxy_command) == ("nc %h %p", None)
    assert first.proxy_setting == "ansible_ssh_jump[0].proxy_command"
    assert target.proxy_setting == "ansible_proxy_command"


# trust: T04, T08
@pytest.mark.parametrize(
    ("changes", "setting"),
    [
        ({"host": ""}, "ansible_host"),
        ({"host": None}, "ansible_host"),
        ({"port": 0}, "ansible_port"),
        ({"port": "ssh"}, "ansible_port"),
        ({"user": "-x"}, "ansible_user"),
        ({"jump": "a,"}, "ansible_ssh_jump[1]"),
        ({"jump": "a", "jump_defaults": JumpDefaults(user="a;b")}, "ansible_ssh_jump_user"),
        ({"controller": Controller("")}, "ansible_user"),
        ({"controller": Controller(""), "user": "u", "jump": "a"}, "ansible_ssh_jump_user"),
        ({"proxy_command": "nc %x"}, "ansible_proxy_command"),
        ({"proxy_command": "nc %r", "user": "$HOME"}, "ansible_proxy_command"),
        ({"jump": [{"host": "a", "proxy_command": "nc %"}]}, "ansible_ssh_jump[0].proxy_command"),
    ],
)
def test_a_mistake_is_told_before_anything_is_opened(changes: dict[str, Any], setting: str) -> None:
    with pytest.raises(SettingsError) as caught:
        resolve(settings(**changes))
    assert caught.value.setting == setting


# trust: T21
def test_no_secret_is_in_the_repr_of_settings_or_of_what_becomes_of_them() -> None:
    secret = settings(
        password="SECRET", private_key="SECRET", passphrase="SECRET", prompts=(("SECRET", "SECRET"),),
        jump=[{"host": "a", "password": "SECRET", "private_key": "SECRET", "passphrase": "SECRET", "prompts": {"q": "SECRET"}}],
        jump_defaults=JumpDefaults(password="SECRET"),
    )  # fmt: skip
    assert "SECRET" not in repr(secret)
    assert "SECRET" not in repr(resolve(secret))
