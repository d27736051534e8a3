# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever stands in ssh_config, and whatever ssh -G prints of it: a value is one keyword's, and what may not travel does not."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator

from corpora import replaying, texts
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.bastion.ssh.plugins.plugin_utils.chain.inventory import InventoryOptions
from ansible_collections.bastion.ssh.plugins.plugin_utils.chain.names import check_host, check_user
from ansible_collections.bastion.ssh.plugins.plugin_utils.chain.openssh import ConfigQuery, HostConfig, read_answer
from ansible_collections.bastion.ssh.plugins.plugin_utils.chain.resolve import resolve
from ansible_collections.bastion.ssh.plugins.plugin_utils.chain.tokens import Controller
from ansible_collections.bastion.ssh.plugins.plugin_utils.errors import SettingsError
from ansible_collections.bastion.ssh.plugins.plugin_utils.openssh.plain_config import read_plainly

HERE = Controller("me", home="/home/me", environment=(("A", "%h"),))
KEYWORDS = [
    "User", "Port", "HostName", "ProxyJump", "ProxyCommand", "IdentityFile", "CertificateFile", "UserKnownHostsFile", "KnownHostsCommand",
    "HostKeyAlias", "RevokedHostKeys", "ConnectTimeout", "ServerAliveInterval", "ServerAliveCountMax", "RekeyLimit", "Ciphers",
    "RequiredRSASize", "ForwardAgent", "IdentityAgent", "SetEnv", "SendEnv", "ControlPersist", "StrictHostKeyChecking", "Compression",
    "PreferredAuthentications", "PasswordAuthentication", "AddressFamily", "Tag", "BindInterface", "Bogus",
]  # fmt: skip
PIECES = [
    "a", "b.c", "u@h", ",", ":", "22", "-1", "0", "9" * 400, "none", "yes", "no", "%h", "%C", "%", "%q", "${A}", "${B}", "$", "~", "/", "//",
    " ", "  ", "\t", "=", '"', "'", "*", "!", "#", "\\", "`id`", ";", "\r", "\x0b", "\x1c", "\x85", "\u2028", "\u00a0", "\0", "\udcff", "\udc80",
]  # fmt: skip
VALUES = st.lists(st.sampled_from(PIECES), max_size=5).map("".join) | st.text(max_size=10)
ANSWERS = st.lists(st.tuples(st.sampled_from(KEYWORDS), VALUES.filter(lambda value: "\n" not in value)), max_size=6)


def answers(text: str) -> list[tuple[str, str]]:
    """The lines of a file as they would be printed."""
    return [(keyword, value) for keyword, _blank, value in (line.partition(" ") for line in text.split("\n"))]


def first(said: list[tuple[str, str]], keyword: str) -> str | None:
    value = next((value for each, value in said if each == keyword), None)
    return None if value is None or value.lower() == "none" else value


def effective(said: list[tuple[str, str]]) -> HostConfig | None:
    try:
        return read_answer("".join(f"{keyword.lower()} {value}\n" for keyword, value in said), "", "t")
    except SettingsError as error:
        words = str(error)
    assert words.isprintable()
    return None


# trust: T03, T04, T07
@replaying({why: answers(text) for why, text in texts("config").items()})
@given(ANSWERS)
def test_any_answer_is_read_line_by_line_and_what_may_not_travel_is_refused(said: list[tuple[str, str]]) -> None:
    found = effective(said)
    if found is None:
        return
    assert found.proxy_command == first(said, "ProxyCommand")
    assert found.proxy_jump == first(said, "ProxyJump")
    assert found.known_hosts_command == first(said, "KnownHostsCommand")
    assert found.user == next((value for keyword, value in said if keyword == "User"), None)
    assert found.host == next((value for keyword, value in said if keyword == "HostName"), "t")
    assert found.set_env == tuple(value for keyword, value in said if keyword == "SetEnv")

    def ask(query: ConfigQuery) -> HostConfig:
        return found if query.name == "t" else HostConfig(query.name)

    try:
        chain = resolve(InventoryOptions("t", HERE), ask).chain
    except SettingsError as error:
        words = str(error)
    else:
        words = ""
        for hop in chain.hops:
            assert check_host(hop.host, "x") == hop.host
            assert check_user(hop.credentials.user, "x") == hop.credentials.user
            assert 1 <= hop.port <= 65535
    assert words.isprintable()


LINES = st.builds(
    lambda blank, keyword, between, value: f"{blank}{keyword}{between}{value}",
    st.sampled_from(["", " ", "\t"]), st.sampled_from([*KEYWORDS, "Host", "Match", "Include"]),
    st.sampled_from([" ", "=", " = ", "\t", ""]), VALUES,
)  # fmt: skip
FILES = st.lists(LINES | VALUES, max_size=6).map("\n".join)


def plainly(text: str, *arguments: str) -> Iterator[tuple[str, str]]:
    """What paramiko's reader finds in a file, and in arguments for ssh."""
    with tempfile.NamedTemporaryFile(buffering=0) as file:
        file.write(text.encode("utf-8", "surrogateescape"))
        query = ConfigQuery("t", config_file=file.name, arguments=arguments)
        output = read_plainly(query, "/", {"HOME": "/home/me"}, lambda _path: None)
    return ((keyword, value) for keyword, _blank, value in (line.partition(" ") for line in output.split("\n")))


def keywords(text: str) -> set[str]:
    """The words that a setting can begin with: the first of each line."""
    lines = [line.strip().replace("=", " ").split() for line in text.split("\n")]
    return {words[0].lower() for words in lines if words}


# trust: T03, T07
@replaying(texts("config"))
@given(FILES)
def test_any_file_is_read_line_by_line_without_the_client_or_refused(text: str) -> None:
    try:
        found = dict(plainly(text))
    except SettingsError as error:
        words = str(error)
    else:
        words = ""
        assert {each for each in found if each} <= {*keywords(text), "hostname"}
    assert words.isprintable()
    assert not os.path.exists("/canary")


# trust: T03, T07
@replaying(texts("config"))
@given(FILES)
def test_any_argument_is_one_setting_without_the_client_or_refused(text: str) -> None:
    try:
        found = dict(plainly("", "-o", text))
    except SettingsError as error:
        words = str(error)
    else:
        words = ""
        assert {each for each in found if each} <= {*keywords(text), "hostname"}
        assert "\n" not in text
    assert words.isprintable()
    assert not os.path.exists("/canary")
