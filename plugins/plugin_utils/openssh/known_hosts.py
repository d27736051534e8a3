# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection.
"""Look up names and judge keys in known_hosts text (sshd(8), SSH_KNOWN_HOSTS FILE FORMAT). Reads no files."""

from __future__ import annotations

import base64
import fnmatch
import hashlib
import re
import string
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from functools import partial

from ..chain.key_types import strings

REVOKED = "@revoked"
AUTHORITY = "@cert-authority"
_PATTERN = re.compile(r"[*?!|]")
_LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)
_BLOCK = 64
_SALT = 20  # bytes; ssh(1) ignores lines with a salt of another length (hostfile.c, extract_salt)
_RSA_FIELDS = 3  # type, exponent, modulus
_INNER, _OUTER = (bytes(byte ^ mask for byte in range(256)) for mask in (0x36, 0x5C))
_HASHED = re.compile(r"\|1\|([^|]+)\|([^|]+)")
# SHA-1 only obscures names here; security does not depend on it.
_sha1 = partial(hashlib.sha1, usedforsecurity=False)


class Verdict(Enum):
    """Classify a key that a host presents."""

    TRUSTED = "trusted"
    REVOKED = "revoked"
    CHANGED = "changed"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Entry:
    """Represent one line that names the host.

    :param marker: ``@revoked``, ``@cert-authority`` or empty.
    :param key: the key in wire format (RFC 4253 section 6.6); None if the line is malformed.
    :param where: ``file:line``.
    """

    marker: str
    key_type: str
    key: bytes | None
    where: str


def lookup_names(host: str, port: int, alias: str | None = None) -> tuple[str, ...]:
    """Return the names to look up, of which the first known one decides (OpenSSH's ``check_host_key``).

    An alias replaces host and port. A port other than 22 is looked up as ``[host]:port``, and then as the
    plain name.
    """
    if alias is not None:
        return (_lowered(alias),)
    plain = _lowered(host)
    return (plain,) if port == 22 else (f"[{plain}]:{port}", plain)


class KnownHosts:
    """Index a known_hosts file for the lookup of names.

    :param lines: the lines of the file.
    :param source: the file's name, for messages.
    """

    def __init__(self, lines: Iterable[str], source: str) -> None:
        self._source = source
        self._lines: dict[int, tuple[str, list[str]]] = {}  # number -> marker and fields
        self._plain: dict[str, list[int]] = {}  # name -> numbers of lines with the name in plain text
        self._patterns: list[int] = []  # numbers of lines with patterns
        self._hashed: list[tuple[int, bytes, bytes, bytes]] = []  # number, inner and outer HMAC block, digest
        self._odd: set[int] = set()  # numbers of hashed lines that ssh(1) ignores
        self._found: dict[str, list[int]] = {}  # name -> numbers of hashed lines that match it
        for number, line in enumerate(lines, 1):
            fields = _fields(line)
            marker = fields.pop(0) if fields and fields[0].startswith("@") else ""
            if fields and not fields[0].startswith("#"):
                self._lines[number] = (marker, fields)
                self._index(number, fields[0])

    def entries(self, name: str) -> list[Entry]:
        """Return the entries that name a host, in the order of the file.

        A line whose key is malformed gives an entry without a key, so that the host does not count as unknown.
        Lines that do not name the host are not checked.
        """
        patterns = [number for number in self._patterns if _names_match(self._lines[number][1][0], name)]
        return [
            self._entry(number) for number in sorted({*self._plain.get(name, ()), *patterns, *self._unhashed(name)})
        ]

    def _unhashed(self, name: str) -> list[int]:
        """Return the numbers of hashed lines that name a host, cached by name: every line has its own salt and must be tried."""
        found = self._found.get(name)
        if found is None:
            message = name.encode("utf-8", "surrogateescape")
            found = [
                number
                for number, inner, outer, digest in self._hashed
                if _sha1(outer + _sha1(inner + message).digest()).digest() == digest
            ]
            self._found[name] = found
        return found

    def _index(self, number: int, names: str) -> None:
        hashed = _HASHED.fullmatch(names)
        if hashed:
            self._index_hashed(number, *hashed.groups())
            return
        if _PATTERN.search(names):
            self._patterns.append(number)
            return
        for name in _lowered(names).split(","):
            self._plain.setdefault(name, []).append(number)

    def _index_hashed(self, number: int, salt_text: str, digest_text: str) -> None:
        try:
            salt, digest = _decoded(salt_text), _decoded(digest_text)
        except ValueError:  # also raised for non-ASCII text
            return
        self._hashed.append((number, *_hmac_blocks(salt), digest))
        if len(salt) != _SALT:
            self._odd.add(number)

    def _entry(self, number: int) -> Entry:
        marker, fields = self._lines[number]
        key_type, key = _read_key(fields[1:])
        if number in self._odd and marker != REVOKED:
            key = None
        return Entry(marker, key_type, key, f"{self._source}:{number}")


def judge(entries: Iterable[Entry], key: bytes) -> Verdict:
    """Judge a key by the entries of one name.

    Revocation wins. A host known only by other keys has changed, whatever their types (CVE-2026-9547).
    """
    verdict = Verdict.UNKNOWN
    for entry in entries:
        if entry.marker == REVOKED:
            if entry.key is None or entry.key == key:
                return Verdict.REVOKED
        elif entry.marker:
            continue  # an authority; see certificates.py
        elif entry.key == key:
            verdict = Verdict.TRUSTED
        elif verdict is Verdict.UNKNOWN:
            verdict = Verdict.CHANGED
    return verdict


def fingerprint(key: bytes) -> str:
    """Return ``SHA256:...`` as ssh-keygen(1) prints it."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(key).digest()).decode().rstrip("=")


def authorities(entries: Iterable[Entry]) -> list[Entry]:
    """Return the entries of authorities that may sign the host's certificate."""
    return [entry for entry in entries if entry.marker == AUTHORITY and entry.key is not None]


def format_line(name: str, key_type: str, key: bytes, salt: bytes = b"") -> str:
    """Return a line for known_hosts, without its newline.

    :param salt: 20 random bytes to hash the name with (HashKnownHosts); empty for a plain name.
    """
    if salt:
        inner, outer = _hmac_blocks(salt)
        digest = _sha1(outer + _sha1(inner + name.encode()).digest()).digest()
        name = f"|1|{base64.b64encode(salt).decode()}|{base64.b64encode(digest).decode()}"
    return f"{name} {key_type} {base64.b64encode(key).decode()}"


def _fields(line: str) -> list[str]:
    """Return the fields between spaces and tabs; str.split() would also split at Unicode whitespace, unlike OpenSSH."""
    return [field for field in line.rstrip("\r\n").replace("\t", " ").split(" ") if field]


def _lowered(text: str) -> str:
    """Convert only ASCII letters to lower case, as OpenSSH does: str.lower() would turn U+212A into a k."""
    return text.lower() if text.isascii() else text.translate(_LOWER)


def _names_match(field: str, name: str) -> bool:
    """Return whether comma-separated patterns match a name; one with ``!`` excludes it."""
    found = False
    for pattern in _lowered(field).split(","):
        negated = pattern.startswith("!")
        # OpenSSH's patterns have only * and ?, so a bracket is literal.
        literal = pattern[negated:].replace("[", "[[]")
        if fnmatch.fnmatchcase(name, literal):
            if negated:
                return False
            found = True
    return found


def _hmac_blocks(salt: bytes) -> tuple[bytes, bytes]:
    """Return the inner and outer block of HMAC-SHA1 (RFC 2104). Hashing with them is three times as fast as with hmac."""
    key = (salt if len(salt) <= _BLOCK else _sha1(salt).digest()).ljust(_BLOCK, b"\0")
    return key.translate(_INNER), key.translate(_OUTER)


def _read_key(fields: list[str]) -> tuple[str, bytes | None]:
    """Return type and key of a line; the key is None if it is malformed or of another type."""
    if len(fields) < 2:
        return "", None
    try:
        key = _decoded(fields[1])
    except ValueError:
        return fields[0], None
    inside = _strings(key)
    return fields[0], key if inside and inside[0].decode("utf-8", "surrogateescape") == fields[0] else None


def _decoded(text: str) -> bytes:
    """Decode base64. As in ssh(1), only the canonical encoding is valid; Python also accepts more padding and stray last bits.

    :raises ValueError: the text is not canonical base64.
    """
    data = base64.b64decode(text, validate=True)
    if base64.b64encode(data).decode() != text:
        raise ValueError("not canonical")
    return data


def rsa_bits(key: bytes) -> int | None:
    """Return the length of an RSA key in bits (RFC 4253 section 6.6); None for keys of other types."""
    found = _strings(key)
    if len(found) != _RSA_FIELDS or found[0] != b"ssh-rsa":
        return None
    return int.from_bytes(found[2], "big").bit_length()


def _strings(key: bytes) -> list[bytes]:
    """Return the strings of a public key (RFC 4251 section 5); an empty list if it is truncated."""
    try:
        return strings(key)
    except ValueError:
        return []
