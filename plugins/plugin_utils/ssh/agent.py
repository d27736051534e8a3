# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection.
"""Query agents for the keys that they hold (draft-miller-ssh-agent).

A login that needed an agent's key may be shared with another run only if that run's agent holds the key, so the agent is queried for
each lease of such a login. While it waits for the user (ssh-add -c) it answers no other request, so a query has the timeout of a login.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from collections.abc import Callable

from ..chain.key_types import strings
from ..chain.model import AgentKeys, Hop
from ..deadline import SIGNAL_POLL, Deadline, Heartbeat
from .keys import is_listed, listed_keys

_LARGEST = 256 * 1024  # OpenSSH's authfd.c, MAX_AGENT_REPLY_LEN
_REQUEST, _ANSWER = 11, 12  # SSH_AGENTC_REQUEST_IDENTITIES, SSH_AGENT_IDENTITIES_ANSWER
_LENGTH = struct.Struct(">I")

#: Returns the public key blobs that a hop's agents hold.
Held = Callable[[Hop], frozenset[bytes]]


def asking_once(total: Deadline, waits: Callable[[], None]) -> Held:
    """Return a function that queries each agent only once, however many hops use it.

    :param total: the deadline for all hops.
    :param waits: called every few seconds until there is an answer.
    """
    known: dict[AgentKeys, frozenset[bytes]] = {}

    def held(hop: Hop) -> frozenset[bytes]:
        found: frozenset[bytes] = frozenset()
        for identity in hop.credentials.identities:
            if isinstance(identity, AgentKeys):
                if identity not in known:
                    known[identity] = held_keys(identity, Deadline(hop.login_timeout, total), waits)
                found |= known[identity]
        return found

    return held


def held_keys(identity: AgentKeys, deadline: Deadline, waits: Callable[[], None] = lambda: None) -> frozenset[bytes]:
    """Return the public key blobs of an agent that may be used for a login; none if the agent is unavailable or does not answer in time."""
    if identity.socket is None:
        return frozenset()
    try:
        keys = _ask(os.path.expanduser(identity.socket), deadline, Heartbeat(waits))
    except (OSError, ValueError):
        return frozenset()
    listed = listed_keys(identity)
    return frozenset(key for key in keys if is_listed(key, listed))


def _ask(path: str, deadline: Deadline, heart: Heartbeat) -> list[bytes]:
    """Return the public key blobs that the agent lists; raise OSError or ValueError if it gives no valid answer."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(min(SIGNAL_POLL, deadline.remaining()))
        sock.connect(path)
        sock.sendall(_LENGTH.pack(1) + bytes([_REQUEST]))
        (size,) = _LENGTH.unpack(_read(sock, _LENGTH.size, deadline, heart))
        if not 5 <= size <= _LARGEST:
            raise ValueError("no list of keys")
        answer = _read(sock, size, deadline, heart)
    if answer[0] != _ANSWER:
        raise ValueError("no list of keys")
    return strings(answer[5:])[::2]  # every other string is a comment


def _read(sock: socket.socket, size: int, deadline: Deadline, heart: Heartbeat) -> bytes:
    data = b""
    while len(data) < size:
        if deadline.expired:
            raise TimeoutError
        heart.beat()
        sock.settimeout(min(SIGNAL_POLL, deadline.remaining()))
        with contextlib.suppress(TimeoutError):
            piece = sock.recv(size - len(data))
            if not piece:
                raise ValueError("cut off")
            data += piece
    return data
