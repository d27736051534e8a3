# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A hop that cannot be reached. Each has a server of its own, as one that is dead is not dialled by everybody."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import asyncssh
from lab import closer, saying, stuck

from .provocation import WAITING, Provocation, Stage, Variables, first, over

SOON = {"ansible_ssh_timeout": 2}
_CHECK = "Check the host, its port"
_CHANGE = "Change it in ssh_config"
_UP = "Is it up"


# The first hop


def _nameless(stage: Stage) -> Variables:
    return stage.host(("no-such-host.invalid", 22))


def _slowly_named(stage: Stage) -> Variables:
    return stage.host(("web.example", 22), **SOON)


def _with_a_silent_resolver(stage: Stage) -> dict[str, Any]:
    """Files of its own, in which the name server is somebody who answers nothing."""
    address = stage.lab.address()
    silent = stage.lab.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    silent.bind((address, 53))
    file = stage.file(f"nameserver {address}\n")
    file.chmod(0o644)
    mount = f'mount --bind {file} /etc/resolv.conf && exec "$@"'
    return {"shell": f"exec unshare --mount sh -c '{mount}' sh \"$@\""}


def _refusing(stage: Stage) -> Variables:
    address = stage.lab.address()
    return stage.host((address, stage.lab.port(address)), **SOON)


def _unanswering(stage: Stage) -> Variables:
    place = stage.lab.unanswering()
    return stage.host((place.address, place.port), **SOON)


def _weak_ciphers(stage: Stage) -> Variables:
    return stage.host(stage.server, ansible_ssh_common_args="-o Ciphers=aes128-cbc")


def _silent(stage: Stage) -> Variables:
    return stage.host(stage.lab.sink(stuck), **SOON)


def _closing(stage: Stage) -> Variables:
    return stage.host(stage.lab.sink(closer), **SOON)


async def _busy(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """As OpenSSH since 9.8."""
    writer.write(b"Not allowed at this time\r\n")


def _closing_with_words(stage: Stage) -> Variables:
    return stage.host(stage.lab.sink(_busy), **SOON)


def _torn(stage: Stage) -> Variables:
    return stage.host(stage.lab.sink(saying(b"SSH-2.0-torn\r\n" + b"\xff" * 64)))


def _of_the_last_century(stage: Stage) -> Variables:
    return stage.host(stage.lab.sink(saying(b"SSH-1.5-old\r\n")))


def _sha1_exchange(stage: Stage) -> Variables:
    return stage.host(stage.sshd(KexAlgorithms="diffie-hellman-group14-sha1"))


def _with_a_shell_that_is_none(_stage: Stage) -> dict[str, Any]:
    return {"env": {"SHELL": "/nonexistent"}}


def _by_a_command(stage: Stage) -> Variables:
    return stage.host(stage.server, ansible_proxy_command="sh -c 'echo no way >&2; exit 3'")


_FIRST = [
    Provocation("the name cannot be resolved: …", "target", _nameless, "Check the name"),
    Provocation(
        "the name was not resolved within … seconds", "target", _slowly_named, "Check the name",
        around=_with_a_silent_resolver,
    ),
    Provocation("cannot connect: …", "target", _refusing, _CHECK),
    Provocation("no connection within … seconds", "target", _unanswering, _CHECK),
    Provocation("none of … can be used here; … can", "target", _weak_ciphers, _CHANGE),
    Provocation("connected, but no SSH answer within … seconds", "target", _silent, "an SSH server, and not over"),
    Provocation(
        "it closed the connection before an SSH conversation began", "target", _closing, "do its MaxStartups"
    ),
    Provocation(
        "it closed the connection before an SSH conversation began, and said: …", "target", _closing_with_words,
        "do its MaxStartups",
    ),
    Provocation("the key exchange failed: …", "target", _torn, "Is it an SSH server?"),
    Provocation("no common algorithm that is safe to use: …", "target", _of_the_last_century, "Update the SSH server."),
    Provocation(
        "the server offers only the … …, and none of them can be used here: …", "target", _sha1_exchange,
        "Let the server offer one of these, too (KexAlgorithms of sshd_config)",
    ),
    Provocation(
        "the ProxyCommand cannot be started: …", "target", _by_a_command, "It is run by $SHELL",
        around=_with_a_shell_that_is_none,
    ),
    Provocation(
        "the connection through the ProxyCommand ended: …", "target", _by_a_command, "Try the command by hand."
    ),
]  # fmt: skip


# The hop before


def _forbidding(stage: Stage) -> Variables:
    return stage.host(stage.server, **over(stage.hop(stage.sshd(AllowTcpForwarding=False))))


def _round(stage: Stage) -> Variables:
    itself = stage.sshd(permit_open=[])
    return stage.host(itself, **over(stage.hop(stage.server), stage.hop(itself)))


def _refusing_next(stage: Stage) -> Variables:
    return _refusing(stage) | over(stage.hop(stage.server))


def _unanswering_next(stage: Stage) -> Variables:
    return _unanswering(stage) | over(stage.hop(stage.server))


def _in_trouble(stage: Stage) -> Variables:
    """Comes when another task waits for a jump host that answers nothing."""
    begun = stage.lab.path / stage.name("begun")
    silent = stage.lab.sink(first(lambda: begun.write_text("x\n")))
    known = {"ansible_ssh_host_key_checking": False}
    host = stage.host(stage.server, ansible_ssh_timeout=4, **over(stage.hop(silent)), **known)
    stage.beside[stage.name("first")] = host
    return host | {"awaited": str(begun)}


def _without_resources(stage: Stage) -> Variables:
    bastion = stage.recorder(forward=False, refusal=asyncssh.OPEN_RESOURCE_SHORTAGE)
    return stage.host(stage.server, **over(stage.hop(bastion)))


def _ending(stage: Stage, words: str) -> Variables:
    """A bastion that ends when it is asked for the target."""
    bastion = stage.recorder(ends_at={"forward": words})
    return stage.host(stage.server, **over(stage.hop(bastion)))


def _broken_when_the_target_is_asked(stage: Stage) -> Variables:
    """A link to the bastion that breaks when the connection from there to the target has come."""
    link = stage.lab.forwarder(stage.server)
    target = stage.lab.sink(first(link.cut))
    known = stage.known_as(stage.server, link)
    return stage.host(target, **over(stage.hop(link, known_hosts=known)))


_SECOND = [
    Provocation("it refuses to forward to …", "jump host 1 of 1", _forbidding, "AllowTcpForwarding must be"),
    Provocation(
        "it refuses to forward to …, which is hop … as well", "jump host 2 of 2", _round, "let ansible_ssh_jump be 'none'"
    ),
    Provocation(
        "the hop before it cannot connect to …: …", "target", _refusing_next, "the connection made, by that hop"
    ),
    Provocation(
        "the hop before it opened no connection in … seconds", "target", _unanswering_next, "Does a firewall drop"
    ),
    Provocation(
        "the hop before it opened no connection: … (code …)", "target", _without_resources, "The log of that hop"
    ),
    Provocation(
        "the server disconnected and said: …", "jump host 1 of 1", lambda stage: _ending(stage, "closed for today"), _UP
    ),
    Provocation(
        "not tried again: the same task failed to connect … s ago: …", "jump host 1 of 1", _in_trouble,
        "The error of that attempt says what to do.", tasks=WAITING,
    ),
    Provocation("the server closed the connection", "jump host 1 of 1", lambda stage: _ending(stage, ""), _UP),
    Provocation("the connection broke: …", "jump host 1 of 1", _broken_when_the_target_is_asked, _UP),
]  # fmt: skip

PROVOCATIONS = [*_FIRST, *_SECOND]
