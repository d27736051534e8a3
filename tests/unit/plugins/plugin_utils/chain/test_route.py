# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which hops lie before a target, by variables and by OpenSSH's settings."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.bastion.ssh.plugins.plugin_utils.chain.inventory import InventoryOptions
from ansible_collections.bastion.ssh.plugins.plugin_utils.chain.model import Chain
from ansible_collections.bastion.ssh.plugins.plugin_utils.chain.openssh import ConfigLookup, ConfigQuery, HostConfig
from ansible_collections.bastion.ssh.plugins.plugin_utils.chain.resolve import resolve
from ansible_collections.bastion.ssh.plugins.plugin_utils.chain.tokens import Controller
from ansible_collections.bastion.ssh.plugins.plugin_utils.errors import SettingsError


def said(**hosts: dict[str, Any]) -> ConfigLookup:
    """OpenSSH's settings of names; those of others are empty."""

    def ask(query: ConfigQuery) -> HostConfig:
        return HostConfig(**{"host": query.name, **hosts.get(query.name, {})})

    return ask


def chain(ask: ConfigLookup, **changes: Any) -> Chain:
    return resolve(
        InventoryOptions(**{"host": "t", "controller": Controller("me"), "config_file": None, **changes}), ask
    ).chain


def names(ask: ConfigLookup, **changes: Any) -> list[str]:
    return [hop.host for hop in chain(ask, **changes).hops]


def jump(*hops: str) -> dict[str, Any]:
    return {"proxy_jump": ",".join(hops)}


COMMAND = {"proxy_command": "nc %h %p"}


# trust: T01, T03, T05
@pytest.mark.parametrize(
    ("hosts", "changes", "expected"),
    [
        ({}, {}, ["t"]),
        ({"t": jump("a", "b")}, {}, ["a", "b", "t"]),
        # Empty is as unset: ssh_config says the way. None is a way of its own, whatever it says.
        ({"t": jump("a")}, {"jump": ""}, ["a", "t"]),
        ({"t": jump("a")}, {"jump": []}, ["a", "t"]),
        ({"t": jump("a")}, {"jump": "none"}, ["t"]),
        ({"t": jump("a")}, {"proxy_command": "NONE"}, ["t"]),
        ({"t": COMMAND}, {"jump": "None"}, ["t"]),
        ({"t": jump("a")}, {"jump": "b"}, ["b", "t"]),
        # The first hop's own way counts, and that of a later one does not.
        ({"a": jump("x", "y")}, {"jump": "a,b"}, ["x", "y", "a", "b", "t"]),
        ({"b": jump("x")}, {"jump": "a,b"}, ["a", "b", "t"]),
        ({"t": jump("a"), "a": jump("b"), "b": jump("c")}, {}, ["c", "b", "a", "t"]),
        ({"t": jump("a", "b"), "b": COMMAND}, {}, ["a", "b", "t"]),
        ({"a": jump("x")}, {"jump": [{"host": "a", "proxy_command": "none"}]}, ["a", "t"]),
        ({"a": jump("x")}, {"jump": [{"host": "a", "proxy_command": "nc %h %p"}]}, ["a", "t"]),
        # A hop may be visited twice where no circle makes it.
        ({}, {"jump": "a,b,a"}, ["a", "b", "a", "t"]),
    ],
)
def test_the_way_is_what_the_first_says_who_says_anything(
    hosts: dict[str, Any], changes: dict[str, Any], expected: list[str]
) -> None:
    assert names(said(**hosts), **changes) == expected


@pytest.mark.parametrize(
    ("hosts", "changes", "command", "setting"),
    [
        ({"t": COMMAND}, {}, "nc %h %p", "ssh_config for t: ProxyCommand"),
        ({"t": COMMAND}, {"proxy_command": "mine"}, "mine", "ansible_proxy_command"),
        ({"t": jump("a"), "a": COMMAND}, {}, "nc %h %p", "ssh_config for a: ProxyCommand"),
        ({"a": COMMAND}, {"jump": "a,b"}, "nc %h %p", "ssh_config for a: ProxyCommand"),
        ({"t": jump("a")}, {"jump": "none", "proxy_command": "mine"}, "mine", "ansible_proxy_command"),
        ({"a": COMMAND}, {"jump": [{"host": "a", "proxy_command": "x"}]}, "x", "ansible_ssh_jump[0].proxy_command"),
        ({"t": COMMAND}, {"jump": "a", "proxy_command": "none"}, None, "ansible_proxy_command"),
    ],
)
def test_a_proxy_command_is_the_first_hops(
    hosts: dict[str, Any], changes: dict[str, Any], command: str | None, setting: str
) -> None:
    first, *others = chain(said(**hosts), **changes).hops
    assert first.proxy_command == command
    assert command is None or first.proxy_setting == setting
    assert all(hop.proxy_command is None for hop in others)


@pytest.mark.parametrize(
    ("hosts", "changes", "message"),
    [
        (
            {},
            {"jump": "a", "proxy_command": "x"},
            "ansible_proxy_command: ansible_ssh_jump and ansible_proxy_command are both",
        ),
        ({"t": COMMAND}, {"jump": "a"}, r"ansible_ssh_jump: ssh_config .* has a ProxyCommand for t as well"),
        (
            {"t": jump("a")},
            {"proxy_command": "x"},
            r"ansible_proxy_command: ssh_config .* has a ProxyJump for t as well",
        ),
        ({"t": jump("a", "")}, {}, r"ssh_config for t: ProxyJump\[1\]: the hop is empty"),
        ({"t": jump("%x")}, {}, r"ssh_config for t: ProxyJump: unknown token '%x'"),
        ({"t": {"proxy_command": "nc %C"}}, {}, r"ssh_config for t: ProxyCommand: unknown token '%C'"),
        # CVE-2023-51385, CVE-2025-61984
        ({"a": {"host": "a;id"}}, {"jump": "a"}, r"ssh_config for a: HostName: the host name 'a;id' has a character"),
        ({"t": {"user": "$(id)"}}, {}, r"ssh_config for t: User: the user name .* has a character"),
        ({"t": {"host_key_alias": "*"}}, {}, r"ssh_config for t: HostKeyAlias: "),
    ],
)
def test_what_is_no_way_is_an_error_that_names_its_place(
    hosts: dict[str, Any], changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(SettingsError, match=f"^{message}"):
        chain(said(**hosts), **changes)


# trust: T06
@pytest.mark.parametrize(
    ("hosts", "changes", "circle"),
    [
        ({"t": jump("t")}, {}, "t -> t"),
        ({"t": jump("u@t")}, {}, "t -> t -> t"),
        ({"t": jump("a"), "a": jump("a")}, {}, "t -> a -> a"),
        ({"t": jump("a"), "a": jump("b"), "b": jump("a")}, {}, "t -> a -> b -> a"),
        ({"a": jump("b", "c"), "b": jump("a", "c")}, {"jump": "a,x"}, "t -> a -> b -> a"),
        ({"a": jump("t")}, {"jump": "a"}, "t -> a -> t"),
        ({}, {"jump": "t"}, "t -> t"),
        ({"t": jump("a", "t"), "a": jump("me@a:22")}, {}, "t -> a -> a"),
    ],
)
def test_a_circle_is_an_error_that_shows_it(hosts: dict[str, Any], changes: dict[str, Any], circle: str) -> None:
    with pytest.raises(SettingsError, match=f"jump host loop: {circle};"):
        chain(said(**hosts), **changes)


def test_there_is_an_end_to_a_way_that_grows() -> None:
    def ask(query: ConfigQuery) -> HostConfig:
        return HostConfig(query.name, proxy_jump="%h-before")

    with pytest.raises(SettingsError, match="the route has more than 16 hops"):
        chain(ask)
    many = ",".join(f"h{number}" for number in range(15))
    with pytest.raises(SettingsError, match="the route has more than 16 hops"):
        chain(said(), jump=f"{many},h")
    assert len(names(said(), jump=many)) == 16


def test_each_name_is_asked_about_as_it_was_written() -> None:
    asked: list[ConfigQuery] = []

    def ask(query: ConfigQuery) -> HostConfig:
        asked.append(query)
        return HostConfig(f"{query.name}.example.com", user="configured", port=2022)

    found = chain(ask, jump="a,u@b:23", config_file="/f", arguments=("-C",), user="me", port=24)
    assert asked == [
        ConfigQuery("t", "me", 24, "/f", ("-C",)),
        ConfigQuery("a", None, None, "/f"),
        ConfigQuery("b", "u", 23, "/f", direct=True),
    ]
    assert str(found) == ("controller -> configured@a.example.com:2022 -> u@b.example.com:23 -> me@t.example.com:24")
    assert [hop.name for hop in found.hops] == ["a", "b", "t"]
