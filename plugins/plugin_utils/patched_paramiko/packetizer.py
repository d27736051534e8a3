# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection.
"""paramiko's Packetizer with what it leaves out: bounds, strict reading, counts, and the lines before the version."""

from __future__ import annotations

import time
import zlib
from typing import Any

from .compat import InvalidTag, paramiko
from .violation import Violation

#: Bytes of a packet, and of what is compressed in it (OpenSSH's packet.c, PACKET_MAX_SIZE; RFC 4253 section 6.1 wants 35,000).
PACKET_SIZE = 256 * 1024
_MAC = 64  # of hmac-sha2-512, the longest
_LINE = 8192  # OpenSSH's ssh.h, SSH_MAX_BANNER_LEN; RFC 4253 section 4.2 says 255 for the version
_LINES = 1024  # the version among them (OpenSSH's ssh.h, SSH_MAX_PRE_BANNER_LINES)
_INTEGER = 2048 + 1  # bytes of a multiple precision integer, and its sign (OpenSSH's sshbuf.h, SSHBUF_MAX_BIGNUM)
_GREETING_LINES = 10


class Incoming(paramiko.Message):
    """A message of a server, read strictly as OpenSSH does.

    The library puts zeroes, up to a megabyte of them, in place of what is missing: so a count in a small message could make it
    read four billion times, and a length make it keep what was never sent.
    """

    def get_bytes(self, n: int) -> bytes:
        """The next bytes, all of them."""
        data: bytes = self.packet.read(n)
        if len(data) < n:
            raise Violation("it sent a message that ends too early")
        return data

    def get_text(self) -> str:
        """The next string; it need not be UTF-8, which no name and no word that is compared is the worse for."""
        return self.get_binary().decode("utf-8", "replace")

    def get_mpint(self) -> int:
        """The next integer. The library takes the square of its length to read it."""
        data = self.get_binary()
        if len(data) > _INTEGER:
            raise Violation(f"it sent an integer of {len(data)} bytes, and {_INTEGER} are the most")
        return int.from_bytes(data, "big", signed=True)


class _Line(str):
    """A line that is not UTF-8; its bytes are kept, since those of the version are part of the exchange hash."""

    __slots__ = ()

    def encode(self, _encoding: str = "utf-8", _errors: str = "strict") -> bytes:
        """The bytes that came; the library keeps a version as text, and encodes it itself."""
        return super().encode("utf-8", "surrogateescape")


class _Inflate:
    """In place of the library's, which lets a kilobyte become a megabyte, and any packet a thousand times its size."""

    def __init__(self) -> None:
        self._stream = zlib.decompressobj()

    def __call__(self, data: bytes) -> bytes:
        whole = self._stream.decompress(data, PACKET_SIZE + 1)
        if len(whole) > PACKET_SIZE:
            raise Violation(f"it sent a compressed packet of more than {PACKET_SIZE} bytes")
        return whole


class Packetizer(paramiko.packet.Packetizer):
    """Reads no more than a packet may have, keeps a greeting, and tells of a packet that was changed whatever the cipher is."""

    def __init__(self, sock: Any) -> None:
        super().__init__(sock)
        self.sent = self.received = 0
        #: When something arrived last.
        self.heard_at = time.monotonic()
        #: Lines before the version of the server (RFC 4253 section 4.2).
        self.greeting: list[str] = []
        #: Seconds after which there are to be new keys; 0 for never.
        self.rekey_seconds = 0
        self._keyed_at = time.monotonic()
        self._in_line = 0

    def start_handshake(self, timeout: float) -> None:
        """Nothing: a dial has a deadline, and the library's timer would outlive a dial that fails."""

    def readline(self, timeout: float) -> str:
        """The version of the server, behind the lines that may come before it (RFC 4253 section 4.2).

        The library takes a hundred of them, and each within two seconds; a dial has a deadline.
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
        except UnicodeDecodeError as error:  # the library has taken it, and wants UTF-8
            return _Line(error.object.decode("utf-8", "surrogateescape"))

    def _read_timeout(self, timeout: float) -> Any:
        """The next piece of a line."""
        data = super()._read_timeout(timeout)  # type: ignore[misc]
        self._in_line += len(data)
        if self._in_line > _LINE:
            raise Violation(f"it sent a line of more than {_LINE} bytes in place of a version")
        return data

    def read_message(self) -> tuple[int, paramiko.Message]:
        try:
            kind, message = super().read_message()
        except InvalidTag as error:  # of AES-GCM; the library lets it through
            raise paramiko.SSHException("Mismatched MAC") from error
        except IndexError as error:  # there is no first byte, which is the type
            raise Violation("it sent a packet with nothing in it") from error
        message.__class__ = Incoming
        return kind, message

    def set_inbound_compressor(self, compressor: Any) -> None:
        super().set_inbound_compressor(_Inflate() if compressor else None)  # type: ignore[arg-type]

    def set_inbound_cipher(self, *args: Any, **keywords: Any) -> None:
        self._keyed_at = time.monotonic()
        super().set_inbound_cipher(*args, **keywords)

    def need_rekey(self) -> bool:
        """Whether it is time for new keys (RFC 4253 section 9)."""
        overdue = self.rekey_seconds and time.monotonic() - self._keyed_at >= self.rekey_seconds
        return bool(overdue or super().need_rekey())

    def read_all(self, n: int, check_rekey: bool = False) -> Any:
        """Reads ``n`` bytes: the first block of a packet, a MAC, or what the packet's length says, which is checked here."""
        if not 0 <= n <= PACKET_SIZE + _MAC:
            raise Violation(f"it sent a packet of a length that none has, and {PACKET_SIZE} bytes are the most")
        data = super().read_all(n, check_rekey)
        self.received += len(data)
        self.heard_at = time.monotonic()
        return data

    def write_all(self, out: Any) -> None:
        self.sent += len(out)
        super().write_all(out)
