# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which algorithms are offered to a server: those that are safe, and of these the ones that are wanted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .library import paramiko

# SHA-1 and what OpenSSH no longer offers either; with these gone, what is left of each list is sound.
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
# The same by another name (RFC 8731).
_ALIASES = {"curve25519-sha256": "curve25519-sha256@libssh.org"}


# First the ciphers that need no separate MAC, which costs several times what AES does; then what the library prefers.
FAST = tuple(
    name
    for name in ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com")
    if name in paramiko.Transport._preferred_ciphers  # type: ignore[attr-defined] # since paramiko 3.5
)


class NoAlgorithm(Exception):
    """None of the algorithms that are wanted is there."""


def usable(
    keyword: str, wanted: tuple[str, ...] | None, usual: Sequence[str], known: Mapping[str, Any]
) -> tuple[str, ...]:
    """Those of the algorithms that are wanted which the library has and which are safe; the usual ones where none is said."""
    if wanted is None:
        return tuple(usual)
    names = (_ALIASES.get(name, name) for name in wanted)
    found = tuple(dict.fromkeys(name for name in names if name in known and name not in ALL_WEAK))
    if not found:
        raise NoAlgorithm(f"none of {keyword} {','.join(wanted)} can be used here; {','.join(usual)} can")
    return found
