# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection.
"""What known_hosts text says of a name and a key (sshd(8), SSH_KNOWN_HOSTS FILE FORMAT). Pure."""

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

REVOKED = "@revoked"
AUTHORITY = "@cert-authority"
_PATTERN = re.compile(r"[*?!|]")
_LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)
_BLOCK = 64
_SALT = 20  # bytes; of lines with another, ssh(1) knows nothing (hostfile.c, extract_salt)
_RSA_FIELDS = 3  # type, exponent, modulus
_INNER, _OUTER = (bytes(byte ^ mask for byte in range(256)) for mask in (0x36, 0x5C))
_HASHED = re.compile(r"\|1\|([^|]+)\|([^|]+)")
# It hides names, and proves nothing.
_sha1 = partial(hashlib.sha1, usedforsecurity=False)


class Verdict(Enum):
    """What is known of a key that a host has shown."""

    TRUSTED = "trusted"
    REVOKED = "revoked"
    CHANGED = "changed"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Entry:
    """One line that names the host.

    :param key: the key as on the wire (RFC 4253 section 6.6); None where the line cannot be read.
    :param where: ``file:line``.
    """

    marker: str
    key_type: str
    key: bytes | None
    where: str


def lookup_names(host: str, port: int, alias: str | None = None) -> tuple[str, ...]:
    """The names to look up, the first that is known decides (OpenSSH's ``check_host_key``).

    An alias stands for host and port; another port than 22 has its name in brackets, and falls back to the
    plain name.
    """
    if alias is not None:
        return (_lowered(alias),)
    plain = _lowered(host)
    return (plain,) if port == 22 else (f"[{plain}]:{port}", plain)


class KnownHosts:
    """A known_hosts file, read once for all names.

    :param lines: of the file.
    :param source: its name, for messages.
    """

    def __init__(self, lines: Iterable[str], source: str) -> None:
        self._source = source
        self._lines: dict[int, tuple[str, list[str]]] = {}  # number -> marker and fields
        self._plain: dict[str, list[int]] = {}  # name -> numbers of the lines that name it as it is
        self._patterns: list[int] = []  # of lines with patterns
        self._hashed: list[tuple[int, bytes, bytes, bytes]] = []  # number, both keyed blocks of HMAC, digest
        self._odd: set[int] = set()  # numbers of hashed lines that ssh(1) would not read
        self._found: dict[str, list[int]] = {}  # name -> numbers of the hashed lines that name it
        for number, line in enumerate(lines, 1):
            fields = _fields(line)
            marker = fields.pop(0) if fields and fields[0].startswith("@") else ""
            if fields and not fields[0].startswith("#"):
                self._lines[number] = (marker, fields)
                self._index(number, fields[0])

    def entries(self, name: str) -> list[Entry]:
        """The entries that name a host, in their order.

        A line that names it and whose key cannot be read is an entry without a key: whoever decides must not take
        the host for a stranger because of it. Lines about other hosts may be anything.
        """
        patterns = [number for number in self._patterns if _names_match(self._lines[number][1][0], name)]
        return [
            self._entry(number) for number in sorted({*self._plain.get(name, ()), *patterns, *self._unhashed(name)})
        ]

    def _unhashed(self, name: str) -> list[int]:
        """The hashed lines that name a host: each has a salt of its own, so each has to be tried, once for each name."""
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
        except ValueError:  # also of letters beyond ASCII
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
    """What the entries of one name say of a key. Revocation comes first; a host that is known by other keys
    only has changed, whatever their types (CVE-2026-9547)."""
    verdict = Verdict.UNKNOWN
    for entry in entries:
        if entry.marker == REVOKED:
            if entry.key is None or entry.key == key:
                return Verdict.REVOKED
        elif entry.marker:
            continue  # an authority's, whose certificates are judged elsewhere
        elif entry.key == key:
            verdict = Verdict.TRUSTED
        elif verdict is Verdict.UNKNOWN:
            verdict = Verdict.CHANGED
    return verdict


def fingerprint(key: bytes) -> str:
    """``SHA256:...`` as ssh-keygen(1) prints it."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(key).digest()).decode().rstrip("=")


def authorities(entries: Iterable[Entry]) -> list[Entry]:
    """The entries of authorities whose certificates a host may show."""
    return [entry for entry in entries if entry.marker == AUTHORITY and entry.key is not None]


def format_line(name: str, key_type: str, key: bytes, salt: bytes = b"") -> str:
    """A line for known_hosts, without its newline.

    :param salt: 20 random bytes, to hash the name with (HashKnownHosts); empty to write it as it is.
    """
    if salt:
        inner, outer = _hmac_blocks(salt)
        digest = _sha1(outer + _sha1(inner + name.encode()).digest()).digest()
        name = f"|1|{base64.b64encode(salt).decode()}|{base64.b64encode(digest).decode()}"
    return f"{name} {key_type} {base64.b64encode(key).decode()}"


def _fields(line: str) -> list[str]:
    """What stands between blanks and tabs, of which Unicode has more than OpenSSH knows."""
    return [field for field in line.rstrip("\r\n").replace("\t", " ").split(" ") if field]


def _lowered(text: str) -> str:
    """In lower case as OpenSSH has it: letters of ASCII only, so that nothing else becomes one of them (U+212A a k)."""
    return text.lower() if text.isascii() else text.translate(_LOWER)


def _names_match(field: str, name: str) -> bool:
    """Comma-separated patterns of which ``!`` excludes."""
    found = False
    for pattern in _lowered(field).split(","):
        negated = pattern.startswith("!")
        # OpenSSH knows * and ? only: a bracket is itself here.
        literal = pattern[negated:].replace("[", "[[]")
        if fnmatch.fnmatchcase(name, literal):
            if negated:
                return False
            found = True
    return found


def _hmac_blocks(salt: bytes) -> tuple[bytes, bytes]:
    """What HMAC-SHA1 (RFC 2104) begins its two hashes with; hmac itself takes three times as long."""
    key = (salt if len(salt) <= _BLOCK else _sha1(salt).digest()).ljust(_BLOCK, b"\0")
    return key.translate(_INNER), key.translate(_OUTER)


def _read_key(fields: list[str]) -> tuple[str, bytes | None]:
    """Type and key of a line; the key must be whole, and the type inside it the one before it."""
    if len(fields) < 2:
        return "", None
    try:
        key = _decoded(fields[1])
    except ValueError:
        return fields[0], None
    inside = _strings(key)
    return fields[0], key if inside and inside[0].decode("utf-8", "surrogateescape") == fields[0] else None


def _decoded(text: str) -> bytes:
    """What a text says in base64. As for ssh(1) there is one text for it, and Python takes others, too: more padding, and bits of
    the last letter that count for nothing.

    :raises ValueError: it is none.
    """
    data = base64.b64decode(text, validate=True)
    if base64.b64encode(data).decode() != text:
        raise ValueError("not canonical")
    return data


def rsa_bits(key: bytes) -> int | None:
    """The length of an RSA key (RFC 4253 section 6.6); None for keys of other types."""
    strings = _strings(key)
    if len(strings) != _RSA_FIELDS or strings[0] != b"ssh-rsa":
        return None
    return int.from_bytes(strings[2], "big").bit_length()


def _strings(key: bytes) -> list[bytes]:
    """The strings that a public key consists of (RFC 4251 section 5); none if it is torn."""
    strings: list[bytes] = []
    while key:
        end = 4 + int.from_bytes(key[:4], "big")
        if len(key) < end:
            return []
        strings.append(key[4:end])
        key = key[end:]
    return strings
