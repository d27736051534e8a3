# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tokens of a ProxyCommand."""

from __future__ import annotations

import pytest

from ansible_collections.bastion.ssh.plugins.plugin_utils.chain.model import Credentials, Hop
from ansible_collections.bastion.ssh.plugins.plugin_utils.chain.tokens import expand_command
from ansible_collections.bastion.ssh.plugins.plugin_utils.errors import SettingsError

HOP = Hop("2001:db8::1%eth0", 2222, Credentials("me"))


# trust: T08
@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("", ""),
        ("nc %h %p", "nc 2001:db8::1%eth0 2222"),
        ("ssh -W [%h]:%p %r@b", "ssh -W [2001:db8::1%eth0]:2222 me@b"),
        ("%n", "2001:db8::1%eth0"),
        ("%h%h", "2001:db8::1%eth02001:db8::1%eth0"),
        ("%%", "%"),
        ("%%h", "%h"),
        ("%%%h", "%2001:db8::1%eth0"),
        ("%%%%h", "%%h"),
        ("date +%%s; echo ${HOME} $(id) %%", "date +%s; echo ${HOME} $(id) %"),
        ("a\n%p", "a\n2222"),
    ],
)
def test_tokens_are_replaced_in_one_pass(template: str, expected: str) -> None:
    assert expand_command(template, HOP) == expected


# trust: T08
@pytest.mark.parametrize("template", ["%", "nc %", "%%%", "%x", "%H", "%d", "%C", "% h", "%\n", "%é", "nc %h %p %j"])
def test_an_unknown_token_is_an_error(template: str) -> None:
    with pytest.raises(SettingsError, match=r"^ansible_proxy_command: unknown token"):
        expand_command(template, HOP)


# trust: T04, T08
@pytest.mark.parametrize("user", ["${FOO}", "$FOO", "a b", "a\\b", "*", "a?", "[a]", "~root", "#x", "!x"])
def test_a_user_that_the_shell_would_act_on_is_not_put_into_its_command(user: str) -> None:
    hop = Hop("h", 22, Credentials(user))
    with pytest.raises(SettingsError, match=r"^ansible_proxy_command: %r would put"):
        expand_command("ssh %r@b", hop)
    assert expand_command("nc %h %p", hop) == "nc h 22"
    assert expand_command("echo %%r", hop) == "echo %r"
