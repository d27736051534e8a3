# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection.
"""Name the types of keys and signatures (RFC 4253 section 6.6, RFC 8332, OpenSSH's PROTOCOL.certkeys)."""

from __future__ import annotations

#: Suffix of the names of certificate types.
CERTIFIED = "-cert-v01@openssh.com"
#: Signature algorithm -> key type, where the names differ (RFC 8332).
SIGNED_BY = {"rsa-sha2-512": "ssh-rsa", "rsa-sha2-256": "ssh-rsa"}


def strings(data: bytes) -> list[bytes]:
    """Return the strings that data consists of (RFC 4251 section 5).

    :raises ValueError: it is cut off.
    """
    found, start = [], 0
    while start < len(data):
        end = start + 4 + int.from_bytes(data[start : start + 4], "big")
        if end > len(data):
            raise ValueError("cut off")
        found.append(data[start + 4 : end])
        start = end
    return found


def first_string(blob: bytes) -> bytes:
    """Return the first string of a blob (RFC 4251 section 5), which is the type of a key."""
    return blob[4 : 4 + int.from_bytes(blob[:4], "big")]
