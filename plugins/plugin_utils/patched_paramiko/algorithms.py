# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection.
"""Choose the algorithms to offer, the configured ones among those that are safe, and explain which ones a server lacks."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from ..errors import sanitize
from .compat import paramiko

# SHA-1, and what OpenSSH no longer offers either. What paramiko has besides these is safe.
WEAK = {
    "kex": [
        "diffie-hellman-group1-sha1",
        "diffie-hellman-group14-sha1",
        "diffie-hellman-group-exchange-sha1",
    ],
    "keys": ["ssh-rsa", "ssh-dss", "ssh-rsa-cert-v01@openssh.com"],
    "pubkeys": ["ssh-rsa", "ssh-dss", "ssh-rsa-cert-v01@openssh.com"],
    "ciphers": ["aes128-cbc", "aes192-cbc", "aes256-cbc", "blowfish-cbc", "3des-cbc"],
    "macs": ["hmac-md5", "hmac-md5-96", "hmac-sha1-96"],
}


ALL_WEAK = frozenset(name for names in WEAK.values() for name in names)
# Two names of one method (RFC 8731 section 1). paramiko has only the older one, and a server may have only the newer one.
_LIBSSH, CURVE25519 = "curve25519-sha256@libssh.org", "curve25519-sha256"
#: All key exchange methods of paramiko, and (KEX) its preferred ones in its order, each with the newer name added.
KEX_INFO = dict(paramiko.Transport._kex_info)  # type: ignore[attr-defined]
if _LIBSSH in KEX_INFO:
    KEX_INFO[CURVE25519] = KEX_INFO[_LIBSSH]
KEX = tuple(
    each
    for name in paramiko.Transport._preferred_kex  # type: ignore[attr-defined]
    for each in ((CURVE25519, _LIBSSH) if name == _LIBSSH else (name,))
)

_SHOWN = 40  # names of a server's list (OpenSSH's match.c reads as many, MAX_PROP)
_NAME = 60  # characters of a name
_SUGGESTED = 4
_NEWER = {"mlkem768x25519-sha256": "5.1"}  # the version of paramiko that has it


# Ciphers to prefer to those of paramiko's order: they need no separate MAC, which costs several times what AES does.
FAST = tuple(
    name
    for name in ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com")
    if name in paramiko.Transport._preferred_ciphers  # type: ignore[attr-defined] # since paramiko 3.5
)


class NoAlgorithm(Exception):
    """Signal that none of the configured algorithms can be used."""


def usable(
    keyword: str, wanted: tuple[str, ...] | None, usual: Sequence[str], known: Mapping[str, Any]
) -> tuple[str, ...]:
    """Return the configured algorithms that are safe and that paramiko has; the usual ones if none are configured.

    :raises NoAlgorithm: none of the configured ones can be used.
    """
    if wanted is None:
        return tuple(usual)
    found = tuple(dict.fromkeys(name for name in wanted if name in known and name not in ALL_WEAK))
    if not found:
        raise NoAlgorithm(f"none of {keyword} {','.join(wanted)} can be used here; {','.join(usual)} can")
    return found


class Offer(NamedTuple):
    """Hold what a server offers of one kind of algorithms, and what can be used here.

    :param kind: the name of the kind, for messages.
    :param keyword: its keyword in ssh_config and sshd_config.
    :param names: what the server offers.
    :param usable: what is offered to the server, in order of preference.
    :param known: all that paramiko has.
    """

    kind: str
    keyword: str
    names: Sequence[str]
    usable: Sequence[str]
    known: Collection[str]


def nothing_common(offers: Iterable[Offer]) -> tuple[str, str] | None:
    """Return a problem and an advice for the first kind without a common algorithm; None if each has one."""
    for offer in offers:
        if not set(offer.names) & set(offer.usable):
            return _reasons(offer), _advice(offer)
    return None


def _reasons(offer: Offer) -> str:
    names = [sanitize(name, _NAME) for name in offer.names[:_SHOWN]]
    weak = [name for name in names if name in ALL_WEAK]
    left_out = [name for name in names if name in offer.known and name not in weak]
    lacking = [name for name in names if name not in weak and name not in left_out]
    reasons = [
        f"paramiko {paramiko.__version__} on the controller has no {' and no '.join(lacking)}" if lacking else "",
        f"not safe, as they use SHA-1, MD5 or CBC: {', '.join(weak)}" if weak else "",
        f"left out by {offer.keyword} of ssh_config: {', '.join(left_out)}" if left_out else "",
    ]
    only = f"the server offers only the {offer.kind} {', '.join(names)}"
    return f"{only}, and none of them can be used here: {'; '.join(filter(None, reasons))}"


def _advice(offer: Offer) -> str:
    newer = [
        f" Or install paramiko {version}, which has {name}." for name, version in _NEWER.items() if _helps(name, offer)
    ]
    return (
        f"Let the server offer one of these, too ({offer.keyword} of sshd_config): "
        f"{', '.join(offer.usable[:_SUGGESTED])}.{''.join(newer)}"
    )


def _helps(name: str, offer: Offer) -> bool:
    return name in offer.names and name not in offer.known
