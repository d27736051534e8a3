# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Answers of ssh -G -> what somebody has said."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ansible_collections.bastion.ssh.plugins.plugin_utils.chain.model import HostKeyChecking
from ansible_collections.bastion.ssh.plugins.plugin_utils.chain.openssh import (
    ConfigQuery,
    HostConfig,
    RekeyLimit,
    files_read,
    no_config,
    read_answer,
    refusal,
)
from ansible_collections.bastion.ssh.plugins.plugin_utils.errors import SettingsError

USUAL = (
    "host x\nuser me\nhostname x\nport 22\ncompression no\nidentityfile ~/.ssh/id_rsa\nidentityfile ~/.ssh/id_ed25519\n"
)


@pytest.mark.parametrize(
    ("query", "argv"),
    [
        (ConfigQuery("a"), ["--", "a"]),
        (ConfigQuery("a", "u", 2222), ["-l", "u", "-p", "2222", "--", "a"]),
        (ConfigQuery("::1", config_file="none"), ["-F", "none", "--", "::1"]),
        # What is said first counts: a variable before an argument.
        (ConfigQuery("a", "u", None, "/f", ("-l", "v", "-C")), ["-F", "/f", "-l", "u", "-l", "v", "-C", "--", "a"]),
    ],
)
def test_a_question_is_asked_without_connecting(query: ConfigQuery, argv: list[str]) -> None:
    assert query.argv == ("-v", "-G", *argv)


def test_what_nobody_said_is_not_said() -> None:
    assert read_answer(USUAL, USUAL, "x") == no_config(ConfigQuery("x")) == HostConfig("x")
    assert read_answer("", "", "x") == HostConfig("x")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("hostname h.example.com", {"host": "h.example.com"}),
        ("user ops", {"user": "ops"}),
        ("port 2222", {"port": 2222}),
        ("proxyjump a,u@b:2222", {"proxy_jump": "a,u@b:2222"}),
        ("proxyjump none", {}),
        ("proxycommand nc %h %p", {"proxy_command": "nc %h %p"}),
        ("proxycommand none", {}),
        ("identityfile ~/k\nidentityfile /with blank/k", {"identity_files": ("~/k", "/with blank/k")}),
        ("identityfile none", {"identity_files": ()}),
        ("identitiesonly yes", {"identities_only": True}),
        ("identityagent none", {"identity_agent": "none"}),
        ("certificatefile ~/c", {"certificate_files": ("~/c",)}),
        ("userknownhostsfile /a /b", {"known_hosts": ("/a", "/b")}),
        ("userknownhostsfile a /b", {"known_hosts": ("a", "/b")}),
        ("userknownhostsfile none", {"known_hosts": ()}),
        ("globalknownhostsfile /a", {"global_known_hosts": ("/a",)}),
        ("knownhostscommand /bin/keys %H", {"known_hosts_command": "/bin/keys %H"}),
        ("stricthostkeychecking true", {"checking": HostKeyChecking.STRICT}),
        ("stricthostkeychecking ask", {"checking": HostKeyChecking.STRICT}),
        ("stricthostkeychecking accept-new", {"checking": HostKeyChecking.ACCEPT_NEW}),
        ("stricthostkeychecking false", {"checking": HostKeyChecking.OFF}),
        ("stricthostkeychecking off", {"checking": HostKeyChecking.OFF}),
        ("stricthostkeychecking of-another-age", {"checking": HostKeyChecking.STRICT}),
        ("hostkeyalias h", {"host_key_alias": "h"}),
        ("checkhostip yes", {"check_host_ip": True}),
        ("hashknownhosts yes", {"hash_known_hosts": True}),
        ("revokedhostkeys ~/r", {"revoked_host_keys": "~/r"}),
        ("connecttimeout 7", {"connect_timeout": 7.0}),
        ("connecttimeout none", {}),
        ("connectionattempts 3", {"connection_attempts": 3}),
        ("serveraliveinterval 30", {"alive_interval": 30.0}),
        ("serveralivecountmax 5", {"alive_count": 5}),
        ("compression yes", {"compression": True}),
        ("rekeylimit 1048576 3600", {"rekey_limit": RekeyLimit(1048576, 3600)}),
        ("preferredauthentications publickey,password", {"authentications": ("publickey", "password")}),
        ("pubkeyauthentication false", {"refused_authentications": ("publickey",)}),
        ("pubkeyauthentication host-bound", {}),
        ("passwordauthentication no", {"refused_authentications": ("password",)}),
        ("kbdinteractiveauthentication no", {"refused_authentications": ("keyboard-interactive",)}),
        ("ciphers aes128-ctr,aes256-ctr", {"ciphers": ("aes128-ctr", "aes256-ctr")}),
        ("macs hmac-sha2-256", {"macs": ("hmac-sha2-256",)}),
        ("kexalgorithms curve25519-sha256", {"kex": ("curve25519-sha256",)}),
        ("hostkeyalgorithms ssh-ed25519", {"host_key_algorithms": ("ssh-ed25519",)}),
        ("pubkeyacceptedalgorithms ssh-ed25519", {"public_key_algorithms": ("ssh-ed25519",)}),
        ("casignaturealgorithms ssh-ed25519", {"ca_algorithms": ("ssh-ed25519",)}),
        ("requiredrsasize 3072", {"rsa_bits": 3072}),
        ("addressfamily inet6", {"address_family": "inet6"}),
        ("bindaddress 192.0.2.1", {"bind_address": "192.0.2.1"}),
        ("forwardagent yes", {"forward_agent": "yes"}),
        ("setenv A=b\nsetenv C=d e", {"set_env": ("A=b", "C=d e")}),
        ("sendenv LANG\nsendenv LC_*", {"send_env": ("LANG", "LC_*")}),
        ("controlpersist 1800", {"persist": 1800.0}),
        ("controlpersist yes", {"persist": float("inf")}),
        ("controlpersist no", {}),
        # Of no consequence here, or done by the broker
        ("controlpath /tmp/x", {}),
        ("loglevel DEBUG", {}),
        # Of no consequence either, but somebody may wonder
        ("gssapiauthentication yes", {"unused": ("gssapiauthentication",)}),
        ("ofanotherage yes", {"unused": ("ofanotherage",)}),
    ],
)
def test_what_somebody_said_is_said(line: str, said: dict[str, Any]) -> None:
    keyword = line.partition(" ")[0]
    others = "".join(f"{usual}\n" for usual in USUAL.splitlines() if usual.partition(" ")[0] != keyword)
    assert read_answer(f"{others}{line}\n", USUAL, "x") == replace(HostConfig("x"), **said)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("bindinterface eth1", "ssh_config for x: bindinterface: connections cannot be bound to an interface"),
        ("proxyusefdpass yes", "ssh_config for x: proxyusefdpass: a ProxyCommand cannot hand its connection over"),
        ("connecttimeout 1m", "ssh_config for x: connecttimeout: '1m' cannot be read"),
        ("port ssh", "ssh_config for x: port: 'ssh' cannot be read"),
    ],
)
def test_what_cannot_be_followed_is_an_error(line: str, message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        read_answer(f"{line}\n{USUAL}", USUAL, "x")
    assert str(caught.value).startswith(message)


# What a client says of BASELINE: before OpenSSH 8.4, a path as it was written.
@pytest.mark.parametrize(("printed", "expanded"), [("%", True), ("%%", False)])
def test_a_client_that_expands_paths_shows_it(printed: str, expanded: bool) -> None:
    assert read_answer("identityagent /%h\n", f"identityagent {printed}\n", "x").expanded is expanded


def test_the_clients_words_are_read() -> None:
    words = (
        "OpenSSH_9.2p1, OpenSSL 3\ndebug1: Reading configuration data /home/me/.ssh/config\n"
        "debug1: /home/me/.ssh/config line 2: Applying options for x\ndebug1: Reading configuration data /a b/c\r\n"
        "/a b/c: line 3: Bad configuration option: foo\n/a b/c: terminating, 1 bad configuration options\n"
    )
    assert files_read(words) == ("/home/me/.ssh/config", "/a b/c")
    assert refusal(words) == "/a b/c: line 3: Bad configuration option: foo"
    assert refusal("OpenSSH_9.2p1\n") == "it gave no reason"
