# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection.
"""Check in a key exchange what paramiko does not check, as ssh(1) does in kexgen.c, kexgexc.c and dh.c.

The host key and its signature must match the negotiated algorithm; a Diffie-Hellman group and the server's value in it must be safe.
paramiko's other methods need no checks here: cryptography rejects points off the curve, and a shared secret of X25519 that is all
zero (RFC 8731 section 3).
"""

from __future__ import annotations

import secrets
from typing import Any

from ..chain.key_types import CERTIFIED, SIGNED_BY, first_string
from ..errors import sanitize
from .compat import paramiko

_BITS_MIN, _BITS_MAX = 2048, 8192  # DH_GRP_MIN and DH_GRP_MAX of OpenSSH's dh.h
# Bits of strength, at most, and of the group for it (dh.c, dh_estimate: NIST SP 800-57); above these, _BITS_MAX.
_ESTIMATES = ((112, 2048), (128, 3072), (192, 7680))
_NEED_MIN = 256  # least bits of strength for an exponent, which has twice as many (dh.c, dh_gen_key)
_ONES_MIN = 4  # least bits set in a public value (dh.c, dh_pub_is_valid)
_SHOWN = 60


def rejection_reason(algorithm: str, host_key: bytes, signature: bytes) -> str:
    """Return why a host key or its signature does not match the negotiated algorithm; empty if both match.

    Another algorithm may be one that is refused here (RFC 4253 section 7.1, RFC 8332 section 3).

    :param host_key: in wire format, as is ``signature``.
    """
    plain, certified, _end = algorithm.partition(CERTIFIED)
    key_type, signed_by = first_string(host_key), first_string(signature)
    if key_type != f"{SIGNED_BY.get(plain, plain)}{certified}".encode():
        return f"{algorithm} was agreed on, and the server shows a key of type {sanitize(key_type, _SHOWN)}"
    if signed_by != plain.encode():
        return f"{algorithm} was agreed on, and the server signs with {sanitize(signed_by, _SHOWN)}"
    return ""


def unsafe_group(p: int, g: int) -> str:
    """Return why a group that the server has chosen is not safe (RFC 4419 section 3); empty if it is."""
    bits = p.bit_length()
    if p < 0 or not _BITS_MIN <= bits <= _BITS_MAX:
        return f"the server's Diffie-Hellman group has {bits} bits, and {_BITS_MIN} to {_BITS_MAX} are wanted"
    if p % 2 == 0 or not 1 < g < p - 1:
        return f"the server's Diffie-Hellman group of {bits} bits is none"
    return ""


def is_public_value(value: int, p: int) -> bool:
    """Return whether a server's public value is valid in a group (dh.c, dh_pub_is_valid; RFC 4253 section 8)."""
    return 1 < value < p - 1 and value.bit_count() >= _ONES_MIN


def preferred_bits(strength: int) -> int:
    """Return the bits of the group to request for a strength in bits."""
    return next((bits for limit, bits in _ESTIMATES if strength <= limit), _BITS_MAX)


def _refuse_value(message: Any, p: int) -> None:
    """Check the public value in a server's reply before paramiko reads it, which accepts 1 and p - 1."""
    message.get_string()  # its host key
    if not is_public_value(message.get_mpint(), p):
        raise paramiko.SSHException("the server's Diffie-Hellman value is none of its group")
    message.rewind()


class _GroupExchange(paramiko.kex_gex.KexGexSHA256):  # type: ignore[name-defined,misc]
    """Exchange keys in a group of the server's (RFC 4419), of the size that ssh(1) requests.

    paramiko requests 2048 bits, accepts 1024, and does not check the group any further.
    """

    min_bits = _BITS_MIN
    max_bits = _BITS_MAX

    def start_kex(self) -> None:
        self._strength = _strength(self.transport)
        self.preferred_bits = preferred_bits(self._strength)
        super().start_kex()

    def _parse_kexdh_gex_group(self, m: Any) -> None:
        problem = unsafe_group(m.get_mpint(), m.get_mpint())
        if problem:
            raise paramiko.ssh_exception.IncompatiblePeer(problem)
        m.rewind()
        super()._parse_kexdh_gex_group(m)

    def _generate_x(self) -> None:
        """Choose an exponent of the length needed. paramiko's is as long as the group, which takes a second with 8192 bits."""
        bits = 2 * max(self._strength, _NEED_MIN)
        self.x = 1 << bits - 1 | secrets.randbits(bits)

    def _parse_kexdh_gex_reply(self, m: Any) -> None:
        _refuse_value(m, self.p)
        super()._parse_kexdh_gex_reply(m)


class _Group14(paramiko.kex_group14.KexGroup14SHA256):  # type: ignore[name-defined,misc]
    """Exchange keys in group 14 (RFC 8268), with the check of the server's value that paramiko lacks."""

    def _parse_kexdh_reply(self, m: Any) -> None:
        _refuse_value(m, self.P)
        super()._parse_kexdh_reply(m)


class _Group16(paramiko.kex_group16.KexGroup16SHA512):  # type: ignore[name-defined,misc]
    """Exchange keys in group 16 (RFC 8268), with the check of the server's value that paramiko lacks."""

    def _parse_kexdh_reply(self, m: Any) -> None:
        _refuse_value(m, self.P)
        super()._parse_kexdh_reply(m)


#: Replacements of paramiko's methods that check more.
CHECKED = {
    "diffie-hellman-group-exchange-sha256": _GroupExchange,
    "diffie-hellman-group14-sha256": _Group14,
    "diffie-hellman-group16-sha512": _Group16,
}


def _strength(transport: Any) -> int:
    """Return the bits of the longest key derived from the exchange (kex.c, kex_choose_conf)."""
    sizes: list[int] = []
    agreed = ((transport.local_cipher, transport.local_mac), (transport.remote_cipher, transport.remote_mac))
    for cipher, mac in agreed:
        info = transport._cipher_info[cipher]
        sizes += [info["key-size"], info["block-size"]]
        if not info.get("is_aead"):
            sizes.append(transport._mac_info[mac]["class"]().digest_size)
    return 8 * max(sizes)
