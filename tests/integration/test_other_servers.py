# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Servers that are not OpenSSH, or an OpenSSH that is set up to offer little: they work, or the error says what is lacking."""

from __future__ import annotations

import threading
from typing import Any

import paramiko
import pytest
from lab import Lab
from lab.chains import place
from lab.hostile import Plan, ends, send
from sessions import opened

from ansible_collections.bastion.ssh.plugins.plugin_utils.errors import AlgorithmsRefused

UNIMPLEMENTED, GLOBAL_REQUEST = 3, 80  # RFC 4250 section 4.1.2
HAS = paramiko.Transport
CHACHA, SNTRUP = "chacha20-poly1305@openssh.com", "sntrup761x25519-sha512@openssh.com"
BOTH = {"Ciphers": "aes128-ctr", "KexAlgorithms": "curve25519-sha256@libssh.org", "MACs": "hmac-sha2-256"}


# trust: T34, T56
@pytest.mark.ways("own process")
def test_a_keepalive_may_be_answered_as_unimplemented(lab: Lab) -> None:
    """As tinyssh and libssh do."""
    asked: list[int] = []
    enough = threading.Event()

    def answer(channel: Any) -> None:
        def refuse(message: Any) -> None:
            asked.append(message.seqno)
            send(channel, UNIMPLEMENTED, message.seqno)
            if len(asked) == 6:  # by then, the first one was sent longer ago than an answer may take
                enough.set()

        channel.transport._handler_table[GLOBAL_REQUEST] = refuse
        enough.wait(30)
        ends(channel, words=b"out\n")

    server = lab.hostile("target", Plan(command=answer))
    lab.trust(server)
    end = {"ansible_host": server.address, "ansible_port": server.port, "ansible_user": "root"}
    alive = {"ansible_ssh_server_alive_interval": 0.3, "ansible_ssh_server_alive_count_max": 2}
    with opened(lab, end | alive, first=None) as session:
        assert session.run("any").stdout == b"out\n"
    assert len(asked) >= 6


@pytest.mark.ways("own process")
@pytest.mark.parametrize(
    ("kind", "keyword", "offered", "known"),
    [
        ("ciphers", "Ciphers", CHACHA, HAS._cipher_info),  # type: ignore[attr-defined]
        ("key exchanges", "KexAlgorithms", SNTRUP, HAS._kex_info),  # type: ignore[attr-defined]
        ("MACs", "MACs", "umac-128-etm@openssh.com", HAS._mac_info),  # type: ignore[attr-defined]
    ],
)
def test_what_this_side_lacks_is_named(lab: Lab, kind: str, keyword: str, offered: str, known: Any) -> None:
    assert offered not in known
    server = lab.sshd("target", **(BOTH | {keyword: offered}))
    lab.trust(server)
    with opened(lab, place(server, "root"), first=None) as session, pytest.raises(AlgorithmsRefused) as caught:
        session.run("true")
    lacks = f"paramiko {paramiko.__version__} on the controller has no {offered}"
    assert (
        caught.value.problem
        == f"the server offers only the {kind} {offered}, and none of them can be used here: {lacks}"
    )
    assert caught.value.advice.startswith(f"Let the server offer one of these, too ({keyword} of sshd_config): ")
    suggested = caught.value.advice.partition("): ")[2].rstrip(".").split(", ")
    server.options[keyword] = suggested[-1]
    server.restart()
    key = lab.key("key")
    server.authorize("root", key)
    with opened(lab, place(server, "root", ansible_ssh_private_key_file=str(key.path))) as session:
        assert session.run("echo out").stdout == b"out\n"


@pytest.mark.ways("own process")
def test_what_is_left_out_here_is_named(lab: Lab) -> None:
    server = lab.sshd("target", Ciphers="aes256-ctr,aes128-cbc,chacha20-poly1305@openssh.com")
    lab.trust(server)
    here = {"ansible_ssh_args": "-o Ciphers=aes192-ctr"}
    with opened(lab, place(server, "root") | here, first=None) as session, pytest.raises(AlgorithmsRefused) as caught:
        session.run("true")
    assert caught.value.problem.partition("here: ")[2] == (
        f"paramiko {paramiko.__version__} on the controller has no {CHACHA}; not safe: aes128-cbc; "
        "left out by Ciphers of ssh_config: aes256-ctr"
    )
    assert caught.value.advice.endswith(": aes192-ctr.")


@pytest.mark.ways("own process")
@pytest.mark.parametrize(
    "offered",
    [
        {"KexAlgorithms": "curve25519-sha256"},  # the newer of its two names (RFC 8731)
        # A MAC that is not known here, and not needed (OpenSSH's kex.c, kex_choose_conf).
        {"Ciphers": "aes256-gcm@openssh.com", "MACs": "umac-128-etm@openssh.com"},
    ],
    ids=["one name of two", "no MAC"],
)
def test_what_both_have_is_used(lab: Lab, offered: dict[str, Any]) -> None:
    if offered.get("Ciphers", "aes128-ctr") not in HAS._cipher_info:  # type: ignore[attr-defined]
        pytest.skip("this paramiko has no AES-GCM")
    key = lab.key("key")
    server = lab.sshd("target", keys=[key], **offered)
    lab.trust(server)
    with opened(lab, place(server, "root", ansible_ssh_private_key_file=str(key.path))) as session:
        assert session.run("echo out").stdout == b"out\n"
