# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection.
"""Extend paramiko's Packetizer: bounds, strict parsing, byte counts, and the lines before the server's version."""

from __future__ import annotations

import time
import zlib
from typing import Any

from .compat import InvalidTag, paramiko
from .violation import Violation

#: Most bytes of a packet, and of its data decompressed (OpenSSH's packet.c, PACKET_MAX_SIZE; RFC 4253 section 6.1 requires 35,000).
PACKET_SIZE = 256 * 1024
_MAC = 64  # bytes of hmac-sha2-512, the longest MAC
_LINE = 8192  # most bytes of a line (OpenSSH's ssh.h, SSH_MAX_BANNER_LEN; RFC 4253 section 4.2: 255 for the version)
_LINES = 1024  # most lines, including the version (OpenSSH's ssh.h, SSH_MAX_PRE_BANNER_LINES)
_INTEGER = 2048 + 1  # most bytes of a multiple precision integer, with its sign (OpenSSH's sshbuf.h, SSHBUF_MAX_BIGNUM)
_GREETING_LINES = 10


class Incoming(paramiko.Message):
    """Parse a server's message strictly, as OpenSSH does.

    paramiko's Message replaces missing bytes by zeroes, up to a megabyte of them, so that a count in a small message could make it
    parse four billion items, and a length make it keep bytes that were never sent.
    """

    def get_bytes(self, n: int) -> bytes:
        """Return the next ``n`` bytes; raise Violation if there are fewer, where paramiko adds zeroes."""
        data: bytes = self.packet.read(n)
        if len(data) < n:
            raise Violation("it sent a message that ends too early")
        return data

    def get_text(self) -> str:
        """Return the next string. Replace what is not UTF-8, where paramiko raises; strings that are compared are ASCII."""
        return self.get_binary().decode("utf-8", "replace")

    def get_mpint(self) -> int:
        """Return the next integer. paramiko has no bound for it, and takes time quadratic in its length."""
        data = self.get_binary()
        if len(data) > _INTEGER:
            raise Violation(f"it sent an integer of {len(data)} bytes, and {_INTEGER} are the most")
        return int.from_bytes(data, "big", signed=True)


class _Line(str):
    """Hold a line that is not UTF-8. Keep its bytes, since those of the version are part of the exchange hash."""

    __slots__ = ()

    def encode(self, _encoding: str = "utf-8", _errors: str = "strict") -> bytes:
        """Return the original bytes. paramiko keeps the version as text and encodes it again."""
        return super().encode("utf-8", "surrogateescape")


class _Inflate:
    """Decompress with a bound. paramiko's ZlibDecompressor has none, so any packet may grow to a thousand times its size."""

    def __init__(self) -> None:
        self._stream = zlib.decompressobj()

    def __call__(self, data: bytes) -> bytes:
        whole = self._stream.decompress(data, PACKET_SIZE + 1)
        if len(whole) > PACKET_SIZE:
            raise Violation(f"it sent a compressed packet of more than {PACKET_SIZE} bytes")
        return whole


class Packetizer(paramiko.packet.Packetizer):
    """Bound what is read, keep the lines before the version, and raise SSHException for a modified packet with any cipher."""

    def __init__(self, sock: Any) -> None:
        super().__init__(sock)
        self.sent = self.received = 0
        #: The time of the last received data, of ``time.monotonic()``.
        self.heard_at = time.monotonic()
        #: The first lines before the server's version (RFC 4253 section 4.2).
        self.greeting: list[str] = []
        #: Seconds after which to exchange keys again; 0 for never.
        self.rekey_seconds = 0
        self._keyed_at = time.monotonic()
        self._in_line = 0

    def start_handshake(self, timeout: float) -> None:
        """Do nothing. paramiko starts a timer that outlives a failed connection attempt, which has its own deadline."""

    def readline(self, timeout: float) -> str:
        """Return the server's version, skipping lines before it (RFC 4253 section 4.2).

        paramiko reads at most a hundred lines, and allows two seconds for each after the first; a connection attempt has its own
        deadline.
        """
        for _number in range(_LINES):
            line = self._next_line(timeout)
            if line.startswith("SSH-"):
                return line
            if len(self.greeting) < _GREETING_LINES:
                self.greeting.append(line)
        raise Violation(f"it sent {_LINES} lines and no version")

    def _next_line(self, timeout: float) -> str:
        self._in_line = 0
        try:
            return str(super().readline(timeout))
        except UnicodeDecodeError as error:  # paramiko has consumed the line, and requires UTF-8
            return _Line(error.object.decode("utf-8", "surrogateescape"))

    def _read_timeout(self, timeout: float) -> Any:
        """Return the next piece of a line, whose length paramiko does not bound."""
        data = super()._read_timeout(timeout)  # type: ignore[misc]
        self._in_line += len(data)
        if self._in_line > _LINE:
            raise Violation(f"it sent a line of more than {_LINE} bytes instead of a version")
        return data

    def read_message(self) -> tuple[int, paramiko.Message]:
        try:
            kind, message = super().read_message()
        except InvalidTag as error:  # of AES-GCM; paramiko does not catch it
            raise paramiko.SSHException("Mismatched MAC") from error
        except IndexError as error:  # of a packet without data, which has no type
            raise Violation("it sent a packet with nothing in it") from error
        message.__class__ = Incoming
        return kind, message

    def set_inbound_compressor(self, compressor: Any) -> None:
        # paramiko passes its own ZlibDecompressor.
        super().set_inbound_compressor(_Inflate() if compressor else None)  # type: ignore[arg-type]

    def set_inbound_cipher(self, *args: Any, **keywords: Any) -> None:
        self._keyed_at = time.monotonic()  # paramiko resets its counts of bytes and packets here
        super().set_inbound_cipher(*args, **keywords)

    def need_rekey(self) -> bool:
        """Return whether to exchange keys again (RFC 4253 section 9). paramiko counts bytes and packets, but no time."""
        overdue = self.rekey_seconds and time.monotonic() - self._keyed_at >= self.rekey_seconds
        return bool(overdue or super().need_rekey())

    def read_all(self, n: int, check_rekey: bool = False) -> Any:
        """Read ``n`` bytes: a packet's first block, its MAC, or the rest by its length, which paramiko does not bound."""
        if not 0 <= n <= PACKET_SIZE + _MAC:
            raise Violation(f"it sent a packet of a length that none has, and {PACKET_SIZE} bytes are the most")
        data = super().read_all(n, check_rekey)
        self.received += len(data)
        self.heard_at = time.monotonic()
        return data

    def write_all(self, out: Any) -> None:
        self.sent += len(out)
        super().write_all(out)
