# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What known_hosts text says of a name and a key (sshd(8), SSH_KNOWN_HOSTS FILE FORMAT). Pure."""

from __future__ import annotations

import base64
import fnmatch
import hashlib
import hmac
import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

REVOKED = "@revoked"
_PATTERN = re.compile(r"[*?!|]")
_HASHED = re.compile(r"\|1\|([^|]+)\|([^|]+)")


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
        return (alias.lower(),)
    plain = host.lower()
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
        self._others: list[int] = []  # of lines with patterns and hashed names
        for number, line in enumerate(lines, 1):
            fields = line.split()
            marker = fields.pop(0) if fields and fields[0].startswith("@") else ""
            if fields and not fields[0].startswith("#"):
                self._lines[number] = (marker, fields)
                self._index(number, fields[0])

    def entries(self, name: str) -> list[Entry]:
        """The entries that name a host, in their order.

        A line that names it and whose key cannot be read is an entry without a key: whoever decides must not take
        the host for a stranger because of it. Lines about other hosts may be anything.
        """
        others = [number for number in self._others if _names_match(self._lines[number][1][0], name)]
        return [self._entry(number) for number in sorted({*self._plain.get(name, ()), *others})]

    def _index(self, number: int, names: str) -> None:
        if _PATTERN.search(names):
            self._others.append(number)
            return
        for name in names.lower().split(","):
            self._plain.setdefault(name, []).append(number)

    def _entry(self, number: int) -> Entry:
        marker, fields = self._lines[number]
        key_type, key = _read_key(fields[1:])
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
            continue  # @cert-authority speaks of certificates, and this is a plain key.
        elif entry.key == key:
            verdict = Verdict.TRUSTED
        elif verdict is Verdict.UNKNOWN:
            verdict = Verdict.CHANGED
    return verdict


def fingerprint(key: bytes) -> str:
    """``SHA256:...`` as ssh-keygen(1) prints it."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(key).digest()).decode().rstrip("=")


def format_line(name: str, key_type: str, key: bytes) -> str:
    """A line for known_hosts, without its newline."""
    return f"{name} {key_type} {base64.b64encode(key).decode()}"


def _names_match(field: str, name: str) -> bool:
    """Comma-separated patterns of which ``!`` excludes, or one hashed name (HMAC-SHA1 of salt and name)."""
    hashed = _HASHED.fullmatch(field)
    if hashed:
        try:
            salt, digest = (base64.b64decode(part, validate=True) for part in hashed.groups())
        except ValueError:  # also of letters beyond ASCII
            return False
        return hmac.compare_digest(hmac.new(salt, name.encode(), hashlib.sha1).digest(), digest)
    found = False
    for pattern in field.lower().split(","):
        negated = pattern.startswith("!")
        # OpenSSH knows * and ? only: a bracket is itself here.
        literal = pattern[negated:].replace("[", "[[]")
        if fnmatch.fnmatchcase(name, literal):
            if negated:
                return False
            found = True
    return found


def _read_key(fields: list[str]) -> tuple[str, bytes | None]:
    """Type and key of a line; the key must be whole, and the type inside it the one before it."""
    if len(fields) < 2:
        return "", None
    try:
        key = base64.b64decode(fields[1], validate=True)
    except ValueError:
        return fields[0], None
    inside = _strings(key)
    return fields[0], key if inside and inside[0] == fields[0].encode("utf-8", "surrogateescape") else None


def _strings(key: bytes) -> list[bytes]:
    """The strings that a public key consists of (RFC 4251 section 5); none if it is torn."""
    strings = []
    while key:
        end = 4 + int.from_bytes(key[:4], "big")
        if len(key) < end:
            return []
        strings.append(key[4:end])
        key = key[end:]
    return strings
