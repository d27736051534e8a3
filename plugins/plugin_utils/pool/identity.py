# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection.
"""What makes two hops the same: everything that distinguishes a login and the way to it.

Secrets enter as a keyed digest only; the key never leaves the process.
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

# RFC 4226 section 5.3 and RFC 6238: a code that is another one next time, and proves the same.
_CODE = re.compile(r"(\d{6,10})?")
# Digits alone do not tell a code from a PIN or a password, which prove nothing if they are others, so that the pattern has to name
# it, and no other kind of answer. "Code" alone may be either: it is one only where something else tells who logs in.
_CALLED_CODE = re.compile(r"(?<![a-z])code(?![a-z])", re.IGNORECASE)
_CALLED_STATIC = re.compile(r"pin|pass", re.IGNORECASE)


class HopIdentity(NamedTuple):
    """One hop of a chain, without its secrets.

    :param identity: the same for hops that one transport can serve, if the hops before them are the same, too.
    :param fallback: the same for the same keys of last resort, which count only where one of them was needed.
    :param dial: the same for dials that would end in the same way: one-time codes and the time there is count, too.
    :param agent: the same for the same agents, which count while a dial may need one.
    """

    identity: str
    fallback: str
    dial: str
    agent: str = ""


_known: WeakKeyDictionary[Chain, tuple[HopIdentity, ...]] = WeakKeyDictionary()  # for as long as a chain is in use


def hop_identities(chain: Chain) -> tuple[HopIdentity, ...]:
    """The hops of a chain in order."""
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
    """Whether a changed host key is let pass, which it is for a target only."""
    return hop.setting == TARGET and hop.host_keys.checking is HostKeyChecking.OFF


def _login(hop: Hop) -> Hop:
    """Not where the hop is written, nor the time that it has, nor how its link is looked after."""
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
    """Of an agent, not where it is: what it holds is asked where it is needed. Which of its keys may be used counts."""
    if not isinstance(identity, AgentKeys):
        return identity
    return None if identity.listed is None else AgentKeys(None, identity.listed)


def _has_another(credentials: Credentials) -> bool:
    """Whether there is something that proves who logs in, and is no code."""
    keys = any(isinstance(identity, KeyFile | KeyText) for identity in credentials.identities)
    answers = any(not _CODE.fullmatch(answer) for _pattern, answer in credentials.prompts)
    return keys or answers or credentials.password is not None


def _is_one_time(pattern: str, answer: str, alone: bool) -> bool:
    """Whether another answer of this kind, next time, proves the same.

    :param alone: whether nothing else proves who logs in.
    """
    rest = without_names(pattern)
    called = rest != pattern or (not alone and _CALLED_CODE.search(pattern) is not None)
    return called and not _CALLED_STATIC.search(rest) and _CODE.fullmatch(answer) is not None


def _digest(value: object) -> str:
    return digest(canonical(value))
