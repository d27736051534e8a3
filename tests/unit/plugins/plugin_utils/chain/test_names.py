# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which names may travel, wherever they come from."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.bastion.ssh.plugins.plugin_utils.chain.inventory import InventoryOptions, JumpDefaults
from ansible_collections.bastion.ssh.plugins.plugin_utils.chain.names import (
    check_alias,
    check_host,
    check_port,
    check_user,
)
from ansible_collections.bastion.ssh.plugins.plugin_utils.chain.resolve import resolve
from ansible_collections.bastion.ssh.plugins.plugin_utils.chain.tokens import Controller
from ansible_collections.bastion.ssh.plugins.plugin_utils.errors import SettingsError

ME = Controller("me")
HOSTS = [
    ("bastion", "bastion"),
    ("Bastion.Example.", "Bastion.Example."),
    ("192.0.2.1", "192.0.2.1"),
    ("2001:db8::1", "2001:db8::1"),
    ("[2001:db8::1]", "2001:db8::1"),
    ("fe80::1%eth0", "fe80::1%eth0"),
    ("i-0123_x~y+z=1^2", "i-0123_x~y+z=1^2"),
    ("bücher.example", "bücher.example"),
]

# What a shell, a terminal, known_hosts or another command's option parser would act on.
BAD_HOSTS = [
    "", "[]", "-", "-oProxyCommand=x", "[-x]", "a;id", "a`id`", "$(id)", "a$x", "a|b", "a&b", "a<b", "a>b", "a(b", "a)b",
    "a{b", "a}b", "a'b", 'a"b', "a\\b", "a,b", "a b", " a", "a\t", "a\n", "\na", "a\r", "a\0", "a\x1b[2J", "a\x7f", "a\u202eb",
    "a\u00a0b", "a\udc80", "a/b", "u@a", "[a", "a]", "[a]b", "*", "a?", "!a", "#a", "a:22", "[a:22]", "ssh://a", "ssh://u@a:22",
]  # fmt: skip
# Of these, a name in known_hosts can have what is no marker of a line.
GOOD_ALIASES = ["a/b", "u@a", "a:22", "ssh://a", "ssh://u@a:22"]

USERS = ["root", "u.v-w_x", "DOMAIN\\user", "user@realm", "a:b", "two words", "$x", "ü", "x=y", "svc$"]

BAD_USERS = [
    "", "-l", "-oProxyCommand=x", "a;id", "a`id`", "$(id)", "a|b", "a&b", "a<b", "a>b", "a(b", "a)b", "a{b", "a}b", "a'b",
    'a"b', "a\\", "a -b", "a\t-b", "a\n", "a\nb", "a\r", "a\0", "u\0", "a\x1b[2J", "a\x7f", "a\u202eb", "a\udc80",
]  # fmt: skip

NOT_TEXT = [None, 7, True, b"a", ["a"], {"a": "b"}]


# trust: T04
@pytest.mark.parametrize(("host", "expected"), HOSTS)
def test_a_host_name_or_address_is_taken_as_it_is(host: str, expected: str) -> None:
    assert check_host(host, "x") == expected


# trust: T04
@pytest.mark.parametrize("host", [*BAD_HOSTS, *NOT_TEXT])
def test_a_host_name_that_something_would_act_on_is_refused(host: object) -> None:
    with pytest.raises(SettingsError, match=r"^the variable: ") as caught:
        check_host(host, "the variable")
    assert str(caught.value).isprintable()


# trust: T04
@pytest.mark.parametrize("user", USERS)
def test_a_user_name_is_taken_as_it_is(user: str) -> None:
    assert check_user(user, "x") == user


# trust: T04
@pytest.mark.parametrize("user", [*BAD_USERS, *NOT_TEXT])
def test_a_user_name_that_something_would_act_on_is_refused(user: object) -> None:
    with pytest.raises(SettingsError, match=r"^the variable: ") as caught:
        check_user(user, "the variable")
    assert str(caught.value).isprintable()


# trust: T02
@pytest.mark.parametrize(
    ("port", "expected"),
    [(1, 1), (22, 22), (65535, 65535), ("22", 22), ("65535", 65535), ("022", 22), ("000000022", 22)],
)
def test_a_port_is_a_number_or_its_digits(port: object, expected: int) -> None:
    assert check_port(port, "x") == expected


# trust: T02
@pytest.mark.parametrize(
    "port",
    [
        0, -1, 65536, "0", "00000000", "65536", "100022", "9" * 5000, "abc", "http", "", " 22", "22 ", "+22", "-22", "2_2", "0x16",
        "22.0", 22.0, "\uff12\uff12", "22\n", True, None, b"22",
    ],
)  # fmt: skip
def test_anything_else_is_no_port(port: object) -> None:
    with pytest.raises(SettingsError, match=r"^the variable: .*not a port"):
        check_port(port, "the variable")


@pytest.mark.parametrize("alias", ["bastion", "2001:db8::1", "[bastion]:2222", "[2001:db8::1]:2222", *GOOD_ALIASES])
def test_an_alias_is_a_name_as_it_stands_in_known_hosts(alias: str) -> None:
    assert check_alias(alias, "x") == alias


# trust: T04
@pytest.mark.parametrize(
    "alias",
    [
        *(host for host in BAD_HOSTS if host not in GOOD_ALIASES),
        "@a",
        "[a]:0",
        "[a]:",
        "[*]:22",
        "[a]:22\n",
        "[a]:22 x",
        "[]:22",
        *NOT_TEXT,
    ],
)
def test_an_alias_that_known_hosts_would_read_as_something_else_is_refused(alias: object) -> None:
    with pytest.raises(SettingsError, match=r"^the variable: "):
        check_alias(alias, "the variable")


CANARY = "canary"
INJECTIONS = [
    "a;touch {}",
    "`touch {}`",
    "$(touch {})",
    "a\ntouch {}",
    "a\0{}",
    "-oProxyCommand=touch {}",
    "x touch {} -y|",
]


# trust: T04, T24
@pytest.mark.parametrize("injection", INJECTIONS)
@pytest.mark.parametrize(
    ("place", "setting"),
    [
        ("string host", "ansible_ssh_jump"),
        ("string user", "ansible_ssh_jump"),
        ("second host", "ansible_ssh_jump[1]"),
        ("uri host", "ansible_ssh_jump"),
        ("uri user", "ansible_ssh_jump"),
        ("list string", "ansible_ssh_jump[0]"),
        ("list host", "ansible_ssh_jump[0].host"),
        ("list user", "ansible_ssh_jump[0].user"),
        ("list alias", "ansible_ssh_jump[0].host_key_alias"),
        ("jump user", "ansible_ssh_jump_user"),
        ("target host", "ansible_host"),
        ("target user", "ansible_user"),
    ],
)
def test_an_injection_is_told_with_the_name_of_its_variable(
    place: str, setting: str, injection: str, tmp_path: Path
) -> None:
    bad = injection.format(tmp_path / CANARY)
    escaped = "".join(f"%{byte:02x}" for byte in bad.encode())
    settings = {
        "string host": InventoryOptions("t", ME, jump=bad),
        "string user": InventoryOptions("t", ME, jump=f"{bad}@b"),
        "second host": InventoryOptions("t", ME, jump=f"a,{bad}"),
        "uri host": InventoryOptions("t", ME, jump=f"ssh://u@{escaped}"),
        "uri user": InventoryOptions("t", ME, jump=f"ssh://{escaped}@h"),
        "list string": InventoryOptions("t", ME, jump=[bad]),
        "list host": InventoryOptions("t", ME, jump=[{"host": bad}]),
        "list user": InventoryOptions("t", ME, jump=[{"host": "b", "user": bad}]),
        "list alias": InventoryOptions("t", ME, jump=[{"host": "b", "host_key_alias": bad}]),
        "jump user": InventoryOptions("t", ME, jump="b", jump_defaults=JumpDefaults(user=bad)),
        "target host": InventoryOptions(bad, ME, proxy_command="nc %h %p"),
        "target user": InventoryOptions("t", ME, user=bad, proxy_command="nc %h %p"),
    }[place]
    with pytest.raises(SettingsError) as caught:
        resolve(settings)
    assert caught.value.setting == setting
    assert str(caught.value).isprintable()
    assert not (tmp_path / CANARY).exists()
