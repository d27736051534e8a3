# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection.
"""Name the types of keys and signatures (RFC 4253 section 6.6, RFC 8332, OpenSSH's PROTOCOL.certkeys)."""

from __future__ import annotations

#: What host key algorithms with a certificate have in their names.
CERTIFIED = "-cert-v01@openssh.com"
#: A signature algorithm of a host key, and the type of key that it is made with (RFC 8332).
SIGNED_BY = {"rsa-sha2-512": "ssh-rsa", "rsa-sha2-256": "ssh-rsa"}


def first_string(blob: bytes) -> bytes:
    """Return the first of the strings that a blob consists of (RFC 4251 section 5): the type of a key."""
    return blob[4 : 4 + int.from_bytes(blob[:4], "big")]
