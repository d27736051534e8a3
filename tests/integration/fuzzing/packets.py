# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The server's side of SSH's packets and key exchange (RFC 4253, RFC 8731), for a server that may say anything at any moment.

One algorithm of each kind, which every paramiko that is supported has.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import os
import struct
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from .message import Message, Payload, message, raw

KEXINIT, NEWKEYS, ECDH_INIT, ECDH_REPLY = 20, 21, 30, 31
_MAC = 32
_LIMIT = 1024 * 1024
_STRICT = b"kex-strict-s-v00@openssh.com"
_RAW = (serialization.Encoding.Raw, serialization.PublicFormat.Raw)


def text(data: bytes) -> bytes:
    """A string."""
    return struct.pack(">I", len(data)) + data


def mpint(data: bytes) -> bytes:
    """A positive number of big-endian bytes."""
    data = data.lstrip(b"\0")
    return text(b"\0" + data if data and data[0] & 128 else data)


def kexinit(strict: bool) -> Message:
    """What the server offers (RFC 4253 section 7.1)."""
    kex = b"curve25519-sha256@libssh.org" + (b"," + _STRICT if strict else b"")
    lists = [kex, b"ssh-ed25519", *[b"aes128-ctr"] * 2, *[b"hmac-sha2-256"] * 2, *[b"none"] * 2, b"", b""]
    return message(KEXINIT, raw(os.urandom(16)), *lists, False, 0)


class HostKey:
    """An ed25519 key."""

    def __init__(self) -> None:
        self._key = Ed25519PrivateKey.generate()
        self.blob = text(b"ssh-ed25519") + text(self._key.public_key().public_bytes(*_RAW))

    def signature(self, data: bytes) -> bytes:
        """As the key exchange wants it."""
        return text(b"ssh-ed25519") + text(self._key.sign(data))


@dataclass
class Exchange:
    """What goes into the hash of one key exchange, as it was really said."""

    client_version: bytes = b""
    server_version: bytes = b""
    client_init: bytes = b""
    server_init: bytes = b""


class _Direction:
    """Cipher, MAC and number of one direction; none of them before the first keys."""

    def __init__(self) -> None:
        self.cipher: Any = None
        self.mac_key = b""
        self.number = 0

    def mac(self, packet: bytes) -> bytes:
        return hmac.digest(self.mac_key, struct.pack(">I", self.number) + packet, "sha256")


class Packets:
    """The packets of one connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._in, self._out = _Direction(), _Direction()
        self._session = b""
        self._next: tuple[bytes, bytes] | None = None  # the secret and the hash of an exchange that is not over
        self.strict = False

    async def read(self) -> bytes:
        """The payload of the next packet; raises EOFError or ValueError where there comes none."""
        size = 16 if self._in.cipher else 8
        head = self._decrypt(await self._reader.readexactly(size))
        (length,) = struct.unpack(">I", head[:4])
        if not 2 <= length <= _LIMIT:
            raise ValueError("no packet")
        packet = head + self._decrypt(await self._reader.readexactly(length + 4 - size))
        if self._in.cipher and self._in.mac(packet) != await self._reader.readexactly(_MAC):
            raise ValueError("a MAC of something else")
        self._in.number = (self._in.number + 1) & 0xFFFFFFFF
        payload = packet[5 : length + 4 - packet[4]]
        if payload[:1] == bytes([NEWKEYS]):
            self._turn(self._in, b"A", b"C", b"E")
        return payload

    def _decrypt(self, data: bytes) -> bytes:
        return bytes(self._in.cipher.update(data)) if self._in.cipher else data

    def write(self, payload: Payload) -> None:
        """Sends a packet, with what is wrong about it."""
        block = 16 if self._out.cipher else 8
        padding = block - (5 + len(payload.data)) % block
        padding += block if padding < 4 else 0
        length = payload.frame.get("length", 1 + len(payload.data) + padding) & 0xFFFFFFFF
        told = payload.frame.get("padding", padding) & 255
        packet = struct.pack(">IB", length, told) + payload.data + bytes(padding)
        mac = b""
        if self._out.cipher:
            mac = self._out.mac(packet)
            mac = bytes([mac[0] ^ payload.frame.get("mac", 0) & 255]) + mac[1:]
            packet = bytes(self._out.cipher.update(packet))
        self._writer.write(packet + mac)
        self._out.number = (self._out.number + 1) & 0xFFFFFFFF

    def turn_out(self) -> None:
        """Uses the new keys from now on, if there are any."""
        self._turn(self._out, b"B", b"D", b"F")

    def _turn(self, direction: _Direction, iv: bytes, key: bytes, mac: bytes) -> None:
        if self._next is None:
            return
        cipher = Cipher(algorithms.AES(self._derived(key)[:16]), modes.CTR(self._derived(iv)[:16]))
        direction.cipher = cipher.encryptor()
        direction.mac_key = self._derived(mac)
        if self.strict:
            direction.number = 0

    def _derived(self, letter: bytes) -> bytes:
        assert self._next is not None
        secret, digest = self._next
        return hashlib.sha256(secret + digest + letter + self._session).digest()

    def reply(self, exchange: Exchange, request: bytes, key: HostKey) -> Message:
        """The answer to a client's half of a key exchange."""
        (length,) = struct.unpack(">I", request[1:5])
        theirs = request[5 : 5 + length]
        ours = X25519PrivateKey.generate()
        public = ours.public_key().public_bytes(*_RAW)
        secret = mpint(ours.exchange(X25519PublicKey.from_public_bytes(theirs)))
        said = [
            exchange.client_version, exchange.server_version, exchange.client_init, exchange.server_init,
            key.blob, theirs, public,
        ]  # fmt: skip
        digest = hashlib.sha256(b"".join(map(text, said)) + secret).digest()
        self._session = self._session or digest
        self._next = secret, digest
        return message(ECDH_REPLY, key.blob, public, key.signature(digest))
