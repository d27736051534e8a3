# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection.
"""Compute the identity of hops: digests of everything that distinguishes a login and the route to it.

Secrets enter only as a keyed digest; the key never leaves the process.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import NamedTuple
from weakref import WeakKeyDictionary

from ..chain.codes import without_names
from ..chain.model import (
    TARGET,
    AgentKeys,
    Chain,
    Credentials,
    Hop,
    HostKeyChecking,
    Identity,
    KeyFile,
    KeyText,
    canonical,
)
from ..recent import digest

# A one-time code (RFC 4226 section 5.3, RFC 6238): differs at each login, and proves the same identity.
_CODE = re.compile(r"(\d{6,10})?")
# Digits may also be a PIN or a password, and a different one of those proves nothing. So the pattern must name a one-time code, and no
# other kind of answer. "Code" alone is ambiguous: it counts only where another credential identifies the user.
_CALLED_CODE = re.compile(r"(?<![a-z])code(?![a-z])", re.IGNORECASE)
_CALLED_STATIC = re.compile(r"pin|pass", re.IGNORECASE)


class HopIdentity(NamedTuple):
    """Represent one hop of a chain by digests, without its secrets.

    :param identity: equal for hops that one transport can serve, provided that the hops before them are equal, too.
    :param fallback: equal for the same fallback keys; compared only if the login needed one of them.
    :param dial: equal for connection attempts that would end in the same way: one-time codes and timeouts count, too.
    :param agent: equal for the same agents; compared while a connection attempt may need one.
    """

    identity: str
    fallback: str
    dial: str
    agent: str = ""


_known: WeakKeyDictionary[Chain, tuple[HopIdentity, ...]] = WeakKeyDictionary()  # an entry lives as long as its chain


def hop_identities(chain: Chain) -> tuple[HopIdentity, ...]:
    """Return the identity of each hop of a chain, in order."""
    found = _known.get(chain)
    if found is None:
        found = _known[chain] = tuple(
            HopIdentity(
                _digest(_login(hop)),
                _digest(hop.credentials.fallback),
                _digest((replace(hop, setting="", proxy_setting=""), chain.timeout, _may_pass(hop))),
                _digest(tuple(key for key in hop.credentials.identities if isinstance(key, AgentKeys))),
            )
            for hop in chain.hops
        )
    return found


def _may_pass(hop: Hop) -> bool:
    """Return whether a changed host key is accepted, which is possible for a target only."""
    return hop.setting == TARGET and hop.host_keys.checking is HostKeyChecking.OFF


def _login(hop: Hop) -> Hop:
    """Drop what does not distinguish connections: setting names, timeouts, keepalives, one-time codes, agent sockets."""
    alone = not _has_another(hop.credentials)
    prompts = tuple(
        (pattern, "" if _is_one_time(pattern, answer, alone) else answer) for pattern, answer in hop.credentials.prompts
    )
    identities = tuple(found for each in hop.credentials.identities if (found := _wherever_held(each)) is not None)
    credentials = replace(hop.credentials, identities=identities, prompts=prompts, fallback=())
    transport = replace(hop.transport, attempts=1, alive_interval=0.0, alive_count=1)
    named = hop.proxy_command is not None or hop.host_keys.command is not None
    return replace(
        hop,
        setting="",
        proxy_setting="",
        name=hop.name if named else "",
        timeout=0.0,
        credentials=credentials,
        transport=transport,
    )


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
    answers = any(not _CODE.fullmatch(answer) for _pattern, answer in credentials.prompts)
    return keys or answers or credentials.password is not None


def _is_one_time(pattern: str, answer: str, alone: bool) -> bool:
    """Return whether an answer is a one-time code, so that a different one proves the same identity.

    :param alone: whether no other credential identifies the user.
    """
    rest = without_names(pattern)
    called = rest != pattern or (not alone and _CALLED_CODE.search(pattern) is not None)
    return called and not _CALLED_STATIC.search(rest) and _CODE.fullmatch(answer) is not None


def _digest(value: object) -> str:
    return digest(canonical(value))
