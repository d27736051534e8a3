# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection.
"""What the library does not ask in a key exchange: whether a host key and its signature are of what was agreed on, and whether
a Diffie-Hellman group and the server's value in it are safe. As ssh(1) in kexgen.c, kexgexc.c and dh.c.

The other methods of the library ask themselves: cryptography takes no point that is not on its curve, and no shared secret of
X25519 that is all zero (RFC 8731 section 3).
"""

from __future__ import annotations

import secrets
from typing import Any

from ..chain.key_types import CERTIFIED, SIGNED_BY, first_string
from ..errors import sanitize
from .compat import paramiko

_BITS_MIN, _BITS_MAX = 2048, 8192  # DH_GRP_MIN and DH_GRP_MAX of OpenSSH's dh.h
# Bits of a group for a cipher of so many at most (dh.c, dh_estimate: NIST SP 800-57); 8192 for more.
_ESTIMATES = ((112, 2048), (128, 3072), (192, 7680))
_NEED_MIN = 256  # bits of which an exponent has twice as many (dh.c, dh_gen_key)
_ONES_MIN = 4  # bits that are set in a public value (dh.c, dh_pub_is_valid)
_SHOWN = 60


def rejection_reason(algorithm: str, host_key: bytes, signature: bytes) -> str:
    """What speaks against a host key and its signature, empty if nothing does: they must be of what was agreed on, as another
    algorithm may be one that is refused (RFC 4253 section 7.1, RFC 8332 section 3).

    :param host_key: as on the wire, as ``signature`` is.
    """
    plain, certified, _end = algorithm.partition(CERTIFIED)
    key_type, signed_by = first_string(host_key), first_string(signature)
    if key_type != f"{SIGNED_BY.get(plain, plain)}{certified}".encode():
        return f"{algorithm} was agreed on, and the server shows a key of type {sanitize(key_type, _SHOWN)}"
    if signed_by != plain.encode():
        return f"{algorithm} was agreed on, and the server signs with {sanitize(signed_by, _SHOWN)}"
    return ""


def unsafe_group(p: int, g: int) -> str:
    """What speaks against a group that a server has chosen (RFC 4419 section 3), empty if nothing does."""
    bits = p.bit_length()
    if p < 0 or not _BITS_MIN <= bits <= _BITS_MAX:
        return f"the server's Diffie-Hellman group has {bits} bits, and {_BITS_MIN} to {_BITS_MAX} are wanted"
    if p % 2 == 0 or not 1 < g < p - 1:
        return f"the server's Diffie-Hellman group of {bits} bits is none"
    return ""


def is_public_value(value: int, p: int) -> bool:
    """Whether a value is one that a server may have in a group (dh.c, dh_pub_is_valid; RFC 4253 section 8)."""
    return 1 < value < p - 1 and value.bit_count() >= _ONES_MIN


def preferred_bits(strength: int) -> int:
    """The group that is asked for, to be as strong as a cipher of so many bits."""
    return next((bits for limit, bits in _ESTIMATES if strength <= limit), _BITS_MAX)


def _refuse_value(message: Any, p: int) -> None:
    """Looks at a server's reply before the library does."""
    message.get_string()  # its host key
    if not is_public_value(message.get_mpint(), p):
        raise paramiko.SSHException("the server's Diffie-Hellman value is none of its group")
    message.rewind()


class _GroupExchange(paramiko.kex_gex.KexGexSHA256):  # type: ignore[name-defined,misc]
    """RFC 4419, with groups of the size that ssh(1) asks for; the library accepts 1024 bits."""

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
        """As long as it needs to be; the library's is as long as the group, which takes a second where that has 8192 bits."""
        bits = 2 * max(self._strength, _NEED_MIN)
        self.x = 1 << bits - 1 | secrets.randbits(bits)

    def _parse_kexdh_gex_reply(self, m: Any) -> None:
        _refuse_value(m, self.p)
        super()._parse_kexdh_gex_reply(m)


class _Group14(paramiko.kex_group14.KexGroup14SHA256):  # type: ignore[name-defined,misc]
    """RFC 8268."""

    def _parse_kexdh_reply(self, m: Any) -> None:
        _refuse_value(m, self.P)
        super()._parse_kexdh_reply(m)


class _Group16(paramiko.kex_group16.KexGroup16SHA512):  # type: ignore[name-defined,misc]
    """RFC 8268."""

    def _parse_kexdh_reply(self, m: Any) -> None:
        _refuse_value(m, self.P)
        super()._parse_kexdh_reply(m)


#: Those of the library's methods of which more is asked.
CHECKED = {
    "diffie-hellman-group-exchange-sha256": _GroupExchange,
    "diffie-hellman-group14-sha256": _Group14,
    "diffie-hellman-group16-sha512": _Group16,
}


def _strength(transport: Any) -> int:
    """The bits of the longest key that is derived from the exchange (kex.c, kex_choose_conf)."""
    sizes: list[int] = []
    agreed = ((transport.local_cipher, transport.local_mac), (transport.remote_cipher, transport.remote_mac))
    for cipher, mac in agreed:
        info = transport._cipher_info[cipher]
        sizes += [info["key-size"], info["block-size"]]
        if not info.get("is_aead"):
            sizes.append(transport._mac_info[mac]["class"]().digest_size)
    return 8 * max(sizes)
