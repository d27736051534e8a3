# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection.
"""Compute the identity of hops: digests of everything that distinguishes a login and the route to it.

Secrets enter only as a keyed digest; the key never leaves the process.
"""

from __future__ import annotations

from typing import NamedTuple
from weakref import WeakKeyDictionary

from ..chain.identity import agents_of, attempt_of, connection_of
from ..chain.model import Chain, canonical
from ..recent import digest


class HopIdentity(NamedTuple):
    """Represent one hop of a chain by digests, without its secrets.

    :param identity: equal for hops that one transport can serve, provided that the hops before them are equal, too.
    :param fallback: equal for the same fallback keys; compared only if the login needed one of them.
    :param attempt: equal for connection attempts that would end in the same way: one-time codes and timeouts count, too.
    :param agent: equal for the same agents; compared while a connection attempt may need one.
    """

    identity: str
    fallback: str
    attempt: str
    agent: str = ""


_known: WeakKeyDictionary[Chain, tuple[HopIdentity, ...]] = WeakKeyDictionary()  # an entry lives as long as its chain


def hop_identities(chain: Chain) -> tuple[HopIdentity, ...]:
    """Return the identity of each hop of a chain, in order."""
    found = _known.get(chain)
    if found is None:
        found = _known[chain] = tuple(
            HopIdentity(
                _digest(connection_of(hop)),
                _digest(hop.credentials.fallback),
                _digest(attempt_of(chain, hop)),
                _digest(agents_of(hop)),
            )
            for hop in chain.hops
        )
    return found


def _digest(value: object) -> str:
    return digest(canonical(value))
