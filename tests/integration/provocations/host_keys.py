# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host key that is not the right one. One server shows its key to all; what is known of it differs."""

from __future__ import annotations

from typing import Any

import asyncssh
from lab import Key, Sshd, certify, known_hosts_name

from .provocation import Provocation, Stage, Variables, over

KNOWN = "ansible_ssh_known_hosts"
CHECKING = "ansible_ssh_host_key_checking"
HOP = "target"


def _knowing(stage: Stage, known: Any, **more: Any) -> Variables:
    return stage.host(stage.server, **{KNOWN: known, **more})


def _line(server: Sshd, key: Key, marker: str = "") -> str:
    return f"{marker}{known_hosts_name(server.address, server.port)} {key.public}"


def _changed(stage: Stage, **more: Any) -> Variables:
    return _knowing(stage, _line(stage.server, stage.key), **more)


def _through_a_changed_one(stage: Stage) -> Variables:
    hop = stage.hop(stage.server, known_hosts=_line(stage.server, stage.key), host_key_checking=False)
    return stage.host(stage.sshd(), **over(hop))


def _revoked(stage: Stage) -> Variables:
    return _knowing(stage, _line(stage.server, stage.server.key(), "@revoked "))


def _unreadable(stage: Stage) -> Variables:
    return _knowing(stage, str(stage.lab.path))  # a directory, as root may read any file


def _accepted(stage: Stage) -> Variables:
    return _knowing(stage, str(stage.lab.path / "accepted"), **{CHECKING: "accept-new"})


def _with(stage: Stage, arguments: str, **more: Any) -> Variables:
    """With arguments for ssh."""
    return stage.host(stage.server, ansible_ssh_common_args=arguments, **more)


def _short(stage: Stage) -> Variables:
    return stage.host(stage.sshd(key_types=["rsa"]), ansible_ssh_common_args="-o RequiredRSASize=4096")


def _listed_as_revoked(stage: Stage) -> Variables:
    return _with(stage, f"-o RevokedHostKeys={stage.file(stage.server.key().public)}")


def _by_its_address(stage: Stage) -> Variables:
    """Known by its name, and its address by another key."""
    server = stage.lab.sshd(stage.name(), users=[stage.user], keys=[stage.key], address="127.0.0.1")
    known = [_line(server, stage.key), server.known_hosts_line(known_hosts_name("localhost", server.port))]
    arguments = "-4 -o CheckHostIP=yes"
    return stage.host(("localhost", server.port), **{KNOWN: known, "ansible_ssh_common_args": arguments})


# Certificates


def _certified(stage: Stage, name: str = "") -> tuple[Sshd, Key]:
    """A server with a certificate, and its authority; name: for which it is, if not for the server."""
    server, authority = stage.sshd(), stage.lab.key(stage.name("authority"))
    certify(authority, server.key(), [name or server.address], host=True)
    server.options["HostCertificate"] = str(server.key().certificate)
    server.reload()
    return server, authority


def _of_a_revoked_authority(stage: Stage) -> Variables:
    server, authority = _certified(stage)
    return stage.host(server, **{KNOWN: [f"@cert-authority * {authority.public}", f"@revoked * {authority.public}"]})


def _of_an_authority_that_is_listed_as_revoked(stage: Stage) -> Variables:
    server, authority = _certified(stage)
    file = stage.file(f"{authority.public}\n")
    arguments = f"-o RevokedHostKeys={file}"
    return stage.host(server, **{KNOWN: f"@cert-authority * {authority.public}", "ansible_ssh_common_args": arguments})


def _of_another_host(stage: Stage) -> Variables:
    server, authority = _certified(stage, "another")
    return stage.host(server, **{KNOWN: f"@cert-authority * {authority.public}"})


def _torn(stage: Stage) -> Variables:
    """An authority's signature of which a bit is another one; sshd would not show such a certificate."""
    key, authority = stage.lab.key(stage.name("host")), stage.lab.key(stage.name("authority"))
    certify(authority, key, ["any"], host=True)
    pair = asyncssh.load_keypairs([(str(key.path), str(key.certificate))])[0]
    pair.public_data = pair.public_data[:-1] + bytes([pair.public_data[-1] ^ 1])
    server = stage.recorder(server_host_keys=[pair])
    return stage.host(server, **{KNOWN: f"@cert-authority * {authority.public}"})


_NEW_KEY = "give the host a new one"
_OTHER = "Have an authority that is still trusted sign"

PROVOCATIONS = [
    Provocation("the host key … is not known", HOP, lambda stage: _knowing(stage, "/dev/null"), "Verify it, then add this line to"),
    Provocation("the host key has changed: the server shows …, known is …", HOP, _changed, "check the new fingerprint"),
    Provocation("the host key … is marked as revoked in …", HOP, _revoked, _NEW_KEY),
    Provocation("the host key could not be checked: …", HOP, _unreadable, "Make the file readable."),
    Provocation(
        "accept-new has no known_hosts file to record the host key in", HOP,
        lambda stage: _knowing(stage, [], **{CHECKING: "accept-new"}), "Let known_hosts name a file.",
    ),
    Provocation(
        "…; host key checking is off, so it is used all the same; password and keyboard-interactive logins and agent forwarding "
        "are disabled to avoid man-in-the-middle attacks. What tasks send, a become password included, still goes to it.", HOP,
        lambda stage: _changed(stage, **{CHECKING: False}), status="ok", where="output",
        before="the host key has changed: the server shows .+",
    ),
    Provocation(
        "the host key has changed: the server shows …, known is …", "jump host 1 of 1", _through_a_changed_one,
        "Without host key checking a jump host is refused all the same, as with ssh.",
    ),
    Provocation("the new host key … was added to …", HOP, _accepted, status="ok", where="output"),
    Provocation("the host key … is revoked in …", HOP, _listed_as_revoked, _NEW_KEY),
    Provocation("the host shows …, which is marked as revoked in …", HOP, _of_a_revoked_authority, _OTHER),
    Provocation("the host shows …, which is revoked in …", HOP, _of_an_authority_that_is_listed_as_revoked, _OTHER),
    Provocation("the host shows … (…), and …", HOP, _of_another_host, "Have the authority sign the host's key anew."),
    Provocation("the host's certificate cannot be used: …", HOP, _torn, "Have the authority sign the host's key anew."),
    Provocation(
        "the host key … has … bits, and RequiredRSASize wants …", HOP, _short, "Give the server a longer one"
    ),
    Provocation(
        "its host key … is not the one that is known for its address …", HOP, _by_its_address, "CheckHostIP wants it"
    ),
    Provocation(
        "none of HostKeyAlgorithms … can be used here", HOP,
        lambda stage: _with(stage, "-o HostKeyAlgorithms=sk-ssh-ed25519@openssh.com"), "Change it in ssh_config",
    ),
    Provocation(
        "the host key could not be checked: KnownHostsCommand …", HOP,
        lambda stage: _with(stage, "-o KnownHostsCommand=/bin/false", **{KNOWN: None}), "A host that cannot be checked",
    ),
]  # fmt: skip
