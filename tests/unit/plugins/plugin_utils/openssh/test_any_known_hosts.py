# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever stands in known_hosts, and whatever a host shows for a certificate: no line stops the others, and nothing torn counts."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from functools import cache

import pytest
from corpora import replaying, texts
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ed25519, padding, rsa
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.bastion.ssh.plugins.plugin_utils.openssh.certificates import (
    BadCertificate,
    HostCertificate,
    can_be_read,
    certifies,
    read_certificate,
    rejection_reason,
)
from ansible_collections.bastion.ssh.plugins.plugin_utils.openssh.known_hosts import (
    Entry,
    KnownHosts,
    Verdict,
    judge,
    rsa_bits,
)


def string(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data


NAME = "kelvin"
KEY = string(b"ssh-ed25519") + string(bytes(32))
KEY_TEXT = base64.b64encode(KEY).decode()
REVOKED = Entry("@revoked", "ssh-ed25519", KEY, "f:1")


def names_it(names: str) -> bool:
    """Whether a field names the host, character by character."""
    hashed = re.fullmatch(r"\|1\|([^|]+)\|([^|]+)", names)
    if hashed:
        try:
            salt, digest = (base64.b64decode(part, validate=True) for part in hashed.groups())
        except ValueError:
            return False
        return hmac.new(salt, NAME.encode(), hashlib.sha1).digest() == digest
    found = False
    for pattern in names.split(","):
        wanted = "".join(chr(ord(c) + 32) if "A" <= c <= "Z" else c for c in pattern)
        if matches(wanted.removeprefix("!")):
            if wanted.startswith("!"):
                return False
            found = True
    return found


def matches(pattern: str) -> bool:
    """Whether a pattern matches the name: the prefixes of the name that what was read of it matches."""
    ends = {0}
    for character in pattern:
        if character == "*":
            ends = set(range(min(ends), len(NAME) + 1)) if ends else ends
        else:
            ends = {end + 1 for end in ends if end < len(NAME) and character in ("?", NAME[end])}
    return len(NAME) in ends


def told(line: str) -> tuple[str, bytes | None] | None:
    """Marker and key of a line that names the host; None for all others."""
    fields = re.findall(r"[^ \t]+", line.rstrip("\r\n"))
    marker = fields.pop(0) if fields and fields[0].startswith("@") else ""
    if not fields or fields[0].startswith("#") or not names_it(fields[0]):
        return None
    try:
        key = base64.b64decode(fields[2], validate=True)
    except (IndexError, ValueError):
        return marker, None
    rest, strings = key, []
    while rest:
        strings.append(rest[4 : 4 + int.from_bytes(rest[:4], "big")])
        if len(rest) < 4 + int.from_bytes(rest[:4], "big"):
            return marker, None
        rest = rest[4 + len(strings[-1]) :]
    whole = strings and strings[0].decode("utf-8", "surrogateescape") == fields[1]
    return marker, key if whole else None


FIELDS = st.lists(
    st.sampled_from(
        [NAME, "KELVIN", "\u212aelvin", "kel", "*", "?", "!", ",", "[", "]", "|", "|1|", "AAAA", "=", "@revoked", "@", "#", "\u00a0", "\u2028",
         "\0", "\ud800", "\udcff", "\x0b", "\x1c", "\r"]
    ),
    max_size=4,
).map("".join)  # fmt: skip
KINDS = st.sampled_from(["ssh-ed25519", "ssh-rsa", "x", "\ud800", "\udcff"])
KEYS = st.sampled_from([KEY_TEXT, KEY_TEXT[:-4], KEY_TEXT[:20], "AAAA", "/////w==", "!", "\u00e9"]) | st.binary(
    max_size=30
).map(lambda data: base64.b64encode(data).decode())
BLANKS = st.sampled_from([" ", "\t", "  ", " \t"])
LINES = st.builds(
    lambda marker, names, kind, key, blank: blank.join(filter(None, [marker, names, kind, key])),
    st.sampled_from(["", "", "@revoked", "@cert-authority", "@x", "#", " "]), FIELDS, KINDS, KEYS, BLANKS,
) | st.text(st.characters(exclude_characters="\n", exclude_categories=[]), max_size=40)  # fmt: skip


# trust: T10, T11, T14
@replaying({why: [line.replace("KEY", KEY_TEXT)] for why, line in texts("known_hosts").items()})
@given(st.lists(LINES, max_size=6))
def test_any_lines_say_of_a_name_what_each_of_them_says(lines: list[str]) -> None:
    known = KnownHosts(lines, "f")
    expected = [(number, *found) for number, line in enumerate(lines, 1) if (found := told(line))]
    entries = known.entries(NAME)
    assert [(int(each.where[2:]), each.marker, each.key) for each in entries] == expected
    assert known.entries(NAME) == entries
    assert judge([*entries, REVOKED], KEY) is Verdict.REVOKED
    trusted = any(marker == "" and key == KEY for _number, marker, key in expected)
    assert (judge(entries, KEY) is Verdict.TRUSTED) <= trusted


@given(st.binary(max_size=80) | st.builds(bytes.__add__, st.just(string(b"ssh-rsa")), st.binary(max_size=40)))
def test_the_bits_of_any_key_are_counted(key: bytes) -> None:
    bits = rsa_bits(key)
    assert bits is None or 0 <= bits <= 8 * len(key)


@cache
def authority(kind: str) -> ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey:
    return ed25519.Ed25519PrivateKey.generate() if kind == "ed25519" else rsa.generate_private_key(65537, 2048)


def public(kind: str, zeros: bytes = b"") -> bytes:
    """An authority's key as on the wire; zeros before its modulus are the same number in another way."""
    key = authority(kind)
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return string(b"ssh-ed25519") + string(key.public_key().public_bytes_raw())
    modulus = key.public_key().public_numbers().n.to_bytes(257, "big")
    return string(b"ssh-rsa") + string(b"\1\0\1") + string(zeros + modulus)


def signed(body: bytes, kind: str) -> bytes:
    key = authority(kind)
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return string(b"ssh-ed25519") + string(key.sign(body))
    return string(b"rsa-sha2-256") + string(key.sign(body, padding.PKCS1v15(), hashes.SHA256()))


CERTIFIED = "ssh-ed25519-cert-v01@openssh.com"


def certificate(
    kind: str = "ed25519", of_host: int = 2, names: bytes = string(b"kelvin"), options: bytes = b"", zeros: bytes = b"",
    before: int = 2**64 - 1,
) -> bytes:  # fmt: skip
    """A certificate that its authority has signed, whatever stands in it (PROTOCOL.certkeys)."""
    body = b"".join(
        [
            string(CERTIFIED.encode()), string(bytes(32)), string(bytes(32)), bytes(8), of_host.to_bytes(4, "big"), string(b"id"),
            string(names), bytes(8), before.to_bytes(8, "big"), string(options), string(b""), string(b""), string(public(kind, zeros)),
        ]
    )  # fmt: skip
    return body + string(signed(body, kind))


def read(blob: bytes) -> HostCertificate | None:
    """What is in a certificate, None where it is refused; what is said of it can be shown."""
    words = ""
    try:
        found = read_certificate(CERTIFIED, blob)
        words = rejection_reason(found, NAME, None)
        return found
    except BadCertificate as error:
        words = str(error)
        return None
    finally:
        assert words.isprintable()


needs_certificates = pytest.mark.skipif(not can_be_read(), reason="the library reads no certificates")


# trust: T10
@needs_certificates
@given(st.sampled_from(["ed25519", "rsa"]), st.integers(0, 3), st.binary(max_size=20) | st.lists(FIELDS).map(
    lambda names: b"".join(string(name.encode("utf-8", "surrogatepass")) for name in names)),
    st.binary(max_size=20), st.sampled_from([b"", b"\0", b"\0\0\0"]), st.integers(0, 2**64 - 1))  # fmt: skip
def test_whatever_an_authority_signs_is_read_as_it_stands_or_refused(
    kind: str, of_host: int, names: bytes, options: bytes, zeros: bytes, before: int
) -> None:
    blob = certificate(kind, of_host, names, options, zeros, before)
    found = read(blob)
    if found is not None:
        assert found.of_host == (of_host == 2)
        assert b"".join(string(name.encode("utf-8", "surrogateescape")) for name in found.principals) == names
        assert found.authority == public(kind, zeros)
        assert found.algorithm == ("ssh-ed25519" if kind == "ed25519" else "rsa-sha2-256")
        assert found.before == before
        assert certifies(blob, string(b"ssh-ed25519") + string(bytes(32)))
        assert rejection_reason(found, NAME, None, 2**64) != ""
        assert bool(found.critical_options) == bool(options)


# trust: T10
@needs_certificates
@given(
    st.sampled_from(["ed25519", "rsa"]), st.integers(0, 1000), st.integers(0, 1000) | st.none(), st.binary(max_size=8)
)
def test_a_certificate_in_which_anything_was_changed_is_refused(
    kind: str, start: int, end: int | None, put: bytes
) -> None:
    good = certificate(kind)
    start %= len(good)
    end = start + len(put) if end is None else max(start, end)  # in place, or shorter or longer
    torn = good[:start] + put + good[end:]
    assert read(good) is not None
    assert torn == good or read(torn) is None
    certifies(torn, KEY)
