# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection.
"""Decide what makes two hops the same: for a connection, for a connection attempt, and for a login.

Each function drops from a hop what does not count for its purpose; what it returns is compared as a whole, so that a new field counts
for all three until it is dropped here. Secrets are in the results: compare keyed digests of them, and log neither.
"""

from __future__ import annotations

from dataclasses import replace

from .codes import is_code, is_one_time
from .model import (
    TARGET,
    AgentKeys,
    Chain,
    Credentials,
    Hop,
    HostKeyChecking,
    Identity,
    KeyFile,
    KeyText,
    TransportOptions,
)


def connection_of(hop: Hop) -> Hop:
    """Return what distinguishes connections that are kept, without setting names, timeouts, keepalives, one-time codes and agent sockets."""
    credentials = hop.credentials
    alone = not _has_another(credentials)
    prompts = tuple(
        (pattern, "" if is_one_time(pattern, answer, alone) else answer) for pattern, answer in credentials.prompts
    )
    identities = tuple(found for each in credentials.identities if (found := _wherever_held(each)) is not None)
    named = hop.proxy_command is not None or hop.host_keys.command is not None
    return replace(
        _unlabelled(hop),
        name=hop.name if named else "",
        timeout=0.0,
        credentials=replace(credentials, identities=identities, prompts=prompts, fallback=()),
        transport=replace(hop.transport, attempts=1, alive_interval=0.0, alive_count=1),
    )


def attempt_of(chain: Chain, hop: Hop) -> object:
    """Return what distinguishes connection attempts by how they would end: one-time codes and timeouts count, too."""
    may_pass = hop.setting == TARGET and hop.host_keys.checking is HostKeyChecking.OFF  # even if its key has changed
    return _unlabelled(hop), chain.timeout, may_pass


def login_of(hop: Hop) -> Hop:
    """Return what distinguishes logins by whether they are refused, without timeout, transport options and, if there is a secret, fallback keys."""
    credentials = hop.credentials
    if credentials.password is not None or credentials.prompts:
        credentials = replace(credentials, fallback=())
    return replace(
        _unlabelled(hop),
        name="",
        timeout=0.0,
        exec_context=None,
        credentials=credentials,
        transport=TransportOptions(),
    )


def agents_of(hop: Hop) -> tuple[AgentKeys, ...]:
    """Return the agents that a connection attempt may need."""
    return tuple(key for key in hop.credentials.identities if isinstance(key, AgentKeys))


def _unlabelled(hop: Hop) -> Hop:
    """Drop the names of the settings that the hop comes from."""
    return replace(hop, setting="", proxy_setting="")


def _wherever_held(identity: Identity) -> Identity | None:
    """Return an identity without its agent's socket; None if nothing else is set.

    Which keys an agent holds is looked up when needed; which of them may be used counts here.
    """
    if not isinstance(identity, AgentKeys):
        return identity
    return None if identity.listed is None else AgentKeys(None, identity.listed)


def _has_another(credentials: Credentials) -> bool:
    """Return whether anything but a one-time code identifies the user: a key, a password or another answer."""
    keys = any(isinstance(identity, KeyFile | KeyText) for identity in credentials.identities)
    answers = any(not is_code(answer) for _pattern, answer in credentials.prompts)
    return keys or answers or credentials.password is not None
