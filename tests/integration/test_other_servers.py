# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test servers other than OpenSSH, and OpenSSH with few features: they work, or the error names what is missing."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import paramiko
import pytest
from lab import Lab, known_hosts_name
from lab.chains import place
from lab.dropbear import Dropbear
from lab.hostile import Plan, ends, send
from sessions import opened

from ansible_collections.bastion.ssh.plugins.plugin_utils.errors import AlgorithmsRefused
from ansible_collections.bastion.ssh.plugins.plugin_utils.ssh.peculiarities import one_session_at_a_time

UNIMPLEMENTED, GLOBAL_REQUEST = 3, 80  # RFC 4250 section 4.1.2
HAS = paramiko.Transport
CHACHA, SNTRUP = "chacha20-poly1305@openssh.com", "sntrup761x25519-sha512@openssh.com"
BOTH: dict[str, Any] = {
    "Ciphers": "aes128-ctr",
    "KexAlgorithms": "curve25519-sha256@libssh.org",
    "MACs": "hmac-sha2-256",
}


@pytest.fixture
def far_dropbear(lab: Lab) -> tuple[Dropbear, dict[str, Any]]:
    """Start a dropbear behind a delay, so that time passes between the start of a session and its command; return it and its variables."""
    user, key = lab.user("target"), lab.key("key")
    server = lab.dropbear("target", user, key)
    link = lab.forwarder((server.address, server.port), delay=0.05)
    lab.trust(server.known_hosts_line(known_hosts_name(link.address, link.port)))
    end = {"ansible_host": link.address, "ansible_port": link.port, "ansible_user": user.name}
    return server, end | {"ansible_ssh_private_key_file": str(key.path)}


# trust: T40, T45
@pytest.mark.ways("broker", "own process")
def test_dropbear_begins_a_session_when_the_one_before_has_ended(
    lab: Lab, far_dropbear: tuple[Dropbear, dict[str, Any]]
) -> None:
    """Versions from 2022.82 to 2024.86 lose a session that starts while the command of another one ends, and may crash."""
    server, variables = far_dropbear
    file = lab.path / "file"
    file.write_bytes(bytes(30_000))
    with opened(lab, variables) as session:
        for _number in range(2):
            session.session.put(str(file), "there")
            assert session.run("wc -c <there").stdout.strip() == b"30000"
            if not lab.broker:  # which would hear of it later, and connect once more
                session.session.start("cat").close()  # ends when its input has
            session.session.fetch("there", str(lab.path / "back"))
    assert (lab.path / "back").read_bytes() == file.read_bytes()
    assert server.logins() == 1


# trust: T40
def test_sessions_of_dropbear_at_the_same_time_have_connections_of_their_own(
    lab: Lab, far_dropbear: tuple[Dropbear, dict[str, Any]]
) -> None:
    server, variables = far_dropbear

    def work(_number: int) -> list[bytes]:
        with opened(lab, variables, first=None) as session:
            return [session.run("echo out").stdout for _time in range(4)]

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(work, range(2))) == [[b"out\n"] * 4] * 2
    assert server.logins() == 2


@pytest.mark.parametrize(
    ("version", "found"),
    [
        ("SSH-2.0-dropbear_2020.81", False),
        ("SSH-2.0-dropbear_2022.82", True),
        ("SSH-2.0-dropbear_2024.86", True),
        ("SSH-2.0-dropbear_2025.87", False),
        ("SSH-2.0-dropbear", True),
        ("SSH-2.0-OpenSSH_9.9", False),
        ("", False),
    ],
)
def test_versions_that_have_one_session_at_a_time(version: str, found: bool) -> None:
    assert one_session_at_a_time(version) is found


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
        f"paramiko {paramiko.__version__} on the controller has no {CHACHA}; not safe, as they use SHA-1, MD5 or CBC: aes128-cbc; "
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
