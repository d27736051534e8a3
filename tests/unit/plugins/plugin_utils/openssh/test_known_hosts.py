# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What known_hosts text says of a name and a key, compared with ssh-keygen -F."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.bastion.ssh.plugins.plugin_utils.openssh.known_hosts import (
    Entry,
    KnownHosts,
    Verdict,
    authorities,
    fingerprint,
    format_line,
    judge,
    lookup_names,
)


def blob(kind: str, number: int = 0) -> bytes:
    """A key as on the wire, as far as anybody looks into it here."""
    fields = {
        "ssh-ed25519": [bytes([number]) * 32],
        "ssh-rsa": [b"\x01\x00\x01", b"\x00" + bytes([0x80 + number]) * 256],
    }
    return b"".join(len(part).to_bytes(4, "big") + part for part in [kind.encode(), *fields[kind]])


def text(kind: str, number: int = 0) -> str:
    return f"{kind} {base64.b64encode(blob(kind, number)).decode()}"


def hashed(name: str, length: int = 20) -> str:
    salt = hashlib.sha512(name.encode()).digest()[:length]
    digest = hmac.new(salt, name.encode(), hashlib.sha1).digest()
    return f"|1|{base64.b64encode(salt).decode()}|{base64.b64encode(digest).decode()}"


ED, RSA = text("ssh-ed25519"), text("ssh-rsa")


@pytest.mark.parametrize(
    ("host", "port", "alias", "expected"),
    [
        ("Bastion", 22, None, ("bastion",)),
        ("Bastion", 2222, None, ("[bastion]:2222", "bastion")),
        ("2001:DB8::1", 22, None, ("2001:db8::1",)),
        ("2001:db8::1", 2222, None, ("[2001:db8::1]:2222", "2001:db8::1")),
        ("bastion", 2222, "Alias", ("alias",)),
        ("bastion", 22, "[other]:2222", ("[other]:2222",)),
    ],
)
def test_names_are_looked_up_as_openssh_does(
    host: str, port: int, alias: str | None, expected: tuple[str, ...]
) -> None:
    assert lookup_names(host, port, alias) == expected


# trust: T11
MATRIX = [
    ("bastion", "bastion", True),
    ("bastion", "Bastion", True),
    ("bastion", "bastio", False),
    ("bastion", "bastion2", False),
    ("bastion", "bastion.", False),
    ("bastion", "a,bastion,b", True),
    ("bastion", "a,b", False),
    ("bastion", ",bastion,", True),
    ("bastion", "*", True),
    ("bastion", "b*n", True),
    ("bastion", "b*n?", False),
    ("bastion", "**", True),
    ("bastion", "BAST*", True),
    ("bastion", "?astion", True),
    ("bastion", "???????", True),
    ("bastion", "??????", False),
    ("bastion", "!bastion", False),
    ("bastion", "!bastion,*", False),
    ("bastion", "*,!bastion", False),
    ("bastion", "*,!bas*", False),
    ("bastion", "*,!other", True),
    ("bastion", "!other", False),
    ("bastion", "!!bastion,*", True),
    ("bastion", "[bastion]", False),
    ("kelvin", "KELVIN", True),
    ("kelvin", "\u212aELVIN", False),
    ("bastion", "[a-z]astion", False),
    ("bastion", "[bastion]:22", False),
    ("bastion", "*.example.com", False),
    ("a.example.com", "*.example.com", True),
    ("a.b.example.com", "*.example.com", True),
    ("example.com", "*.example.com", False),
    ("[bastion]:2222", "bastion", False),
    ("[bastion]:2222", "[bastion]:2222", True),
    ("[bastion]:2222", "[Bastion]:2222", True),
    ("[bastion]:2222", "[bastion]:222", False),
    ("[bastion]:2222", "[bastion]:*", True),
    ("[bastion]:2222", "[*]:2222", True),
    ("[bastion]:2222", "*", True),
    ("[bastion]:2222", "*,![bastion]:2222", False),
    ("[bastion]:2222", "*,!bastion", True),
    ("[bastion]:2222", "[b?stion]:222?", True),
    ("192.0.2.1", "192.0.2.*", True),
    ("192.0.2.1", "192.0.2.?", True),
    ("192.0.2.10", "192.0.2.?", False),
    ("192.0.2.1", "192.0.2.0/24", False),
    ("2001:db8::1", "2001:db8::*", True),
    ("[2001:db8::1]:2222", "[2001:db8::1]:2222", True),
    ("bastion", hashed("bastion"), True),
    ("bastion", hashed("other"), False),
    ("[bastion]:2222", hashed("[bastion]:2222"), True),
    ("[bastion]:2222", hashed("bastion"), False),
    ("bastion", hashed("bastion") + ",bastion", False),
    ("bastion", "bastion," + hashed("other"), True),
    ("bastion", "|1|garbage|garbage", False),
    ("bastion", "|1|é|é", False),
    ("bastion", "|2|" + hashed("bastion")[3:], False),
    ("bastion", "|1|", False),
]


def ours(lines: list[str], name: str) -> list[tuple[int, str]]:
    """The numbers and markers of the readable lines that name it."""
    return [
        (int(entry.where.rpartition(":")[2]), entry.marker)
        for entry in KnownHosts(lines, "f").entries(name)
        if entry.key
    ]


MARKERS = {"": "", " REVOKED": "@revoked", " CA": "@cert-authority"}


def keygen(lines: list[str], name: str, directory: Path) -> list[tuple[int, str]]:
    """The same as ssh-keygen tells it."""
    file = directory / "known_hosts"
    file.write_text("".join(f"{line}\n" for line in lines), "utf-8", "surrogateescape")
    command = ["ssh-keygen", "-F", name, "-f", str(file)]
    answer = subprocess.run(command, capture_output=True, check=False).stdout.decode("utf-8", "replace")
    found = re.findall(r"^# Host .* found: line (\d+)( REVOKED| CA|) ?$", answer, re.MULTILINE)
    return [(int(number), MARKERS[marker]) for number, marker in found]


@pytest.mark.parametrize(("name", "pattern", "expected"), MATRIX)
def test_a_pattern_matches_as_ssh_keygen_says(name: str, pattern: str, expected: bool, tmp_path: Path) -> None:
    lines = [f"{pattern} {ED} a comment"]
    assert ours(lines, name) == ([(1, "")] if expected else [])
    assert ours(lines, name) == keygen(lines, name, tmp_path)


PATTERN = st.text(st.sampled_from("abK.*?![]:2\u212a\u00a0\u2003é\x0b"), min_size=1, max_size=6)
NAME = st.text(st.sampled_from("abk.2"), min_size=1, max_size=4) | st.sampled_from(["[a]:2", "[ab]:22", "a:2"])


# trust: T11
@given(patterns=st.lists(st.lists(PATTERN, min_size=1, max_size=3).map(",".join), min_size=20, max_size=40), name=NAME)
def test_any_patterns_match_as_ssh_keygen_says(patterns: list[str], name: str, tmp_path: Path) -> None:
    lines = [f"{pattern} {ED}" for pattern in patterns]
    assert ours(lines, name) == keygen(lines, name, tmp_path)


LINES = [
    "", " ", "# bastion " + ED, "#bastion " + ED, f"bastion {ED}", f"  bastion\t{ED}  ", f"bastion {RSA} a comment # with more",
    f"bastion {ED}\r", f"@revoked bastion {RSA}", f"@revoked bastion\t{RSA}", f"@cert-authority *,!other {ED}", f"@unknown bastion {ED}",
    f"@revoked @cert-authority bastion {ED}", "@revoked", f"@ bastion {ED}", f"other {ED}", f"{hashed('bastion')} {RSA}",
    f"bastion  {ED}", f"other,bastion {ED}",
]  # fmt: skip


# trust: T10, T11
def test_lines_count_as_ssh_keygen_counts_them(tmp_path: Path) -> None:
    known = [(number, marker) for number, marker in ours(LINES, "bastion") if marker in MARKERS.values()]
    assert known == keygen(LINES, "bastion", tmp_path)
    assert len(known) == 10


BROKEN = [
    "bastion", "bastion ssh-ed25519", "bastion ssh-ed25519 AAAA", "bastion ssh-ed25519 !!!!", "bastion ssh-ed25519 é",
    "bastion " + RSA.replace("ssh-rsa", "ssh-ed25519"), f"bastion {ED[:-9]}=", f"{hashed('bastion')} x", "bastion 1024 35 1234567",
    "@revoked bastion x y", "bastion \udcff AAAA",
]  # fmt: skip


# trust: T14
def test_a_line_that_names_the_host_and_cannot_be_read_is_an_entry_without_a_key() -> None:
    entries = KnownHosts(BROKEN, "f").entries("bastion")
    assert [entry.where for entry in entries] == [f"f:{number + 1}" for number in range(len(BROKEN))]
    assert [entry.key for entry in entries] == [None] * len(BROKEN)


def lines_of_others() -> list[str]:
    return [
        "other",
        "other ssh-rsa",
        "other ssh-rsa é",
        "|1|é|é x y",
        "|1|\udcff|= x y",
        "\udcff\udcfe",
        "@revoked",
        "a b c d e f " * 1000,
    ]


# trust: T14
def test_lines_about_others_may_be_anything() -> None:
    assert KnownHosts(lines_of_others(), "f").entries("bastion") == []


KEY, NEXT = blob("ssh-ed25519"), blob("ssh-ed25519", 1)
OTHER_TYPE = blob("ssh-rsa")


def entry(key: bytes | None, marker: str = "") -> Entry:
    return Entry(marker, "type", key, "f:1")


# trust: T10, T12, T14
@pytest.mark.parametrize(
    ("entries", "verdict"),
    [
        ([], Verdict.UNKNOWN),
        ([entry(KEY)], Verdict.TRUSTED),
        ([entry(NEXT)], Verdict.CHANGED),
        ([entry(OTHER_TYPE)], Verdict.CHANGED),
        ([entry(NEXT), entry(OTHER_TYPE), entry(KEY)], Verdict.TRUSTED),
        ([entry(KEY), entry(NEXT)], Verdict.TRUSTED),
        ([entry(None)], Verdict.CHANGED),
        ([entry(None), entry(KEY)], Verdict.TRUSTED),
        ([entry(KEY, "@revoked")], Verdict.REVOKED),
        ([entry(KEY), entry(KEY, "@revoked")], Verdict.REVOKED),
        ([entry(KEY, "@revoked"), entry(KEY)], Verdict.REVOKED),
        ([entry(NEXT, "@revoked")], Verdict.UNKNOWN),
        ([entry(NEXT, "@revoked"), entry(KEY)], Verdict.TRUSTED),
        ([entry(None, "@revoked"), entry(KEY)], Verdict.REVOKED),
        ([entry(KEY, "@cert-authority")], Verdict.UNKNOWN),
        ([entry(KEY, "@cert-authority"), entry(NEXT)], Verdict.CHANGED),
        ([entry(KEY, "@unknown")], Verdict.UNKNOWN),
    ],
)
def test_a_key_is_judged_by_all_entries(entries: list[Entry], verdict: Verdict) -> None:
    assert judge(entries, KEY) is verdict


def test_a_fingerprint_is_written_as_ssh_keygen_writes_it(tmp_path: Path) -> None:
    for kind in ("ssh-ed25519", "ssh-rsa"):
        (tmp_path / "key.pub").write_text(f"{text(kind, 3)}\n")
        told = subprocess.run(["ssh-keygen", "-lf", tmp_path / "key.pub"], capture_output=True, text=True, check=True)
        assert fingerprint(blob(kind, 3)) == told.stdout.split()[1]


def test_a_line_that_is_written_is_read_again(tmp_path: Path) -> None:
    line = format_line("[bastion]:2222", "ssh-ed25519", KEY)
    assert line == f"[bastion]:2222 {ED}"
    assert KnownHosts([line], "f").entries("[bastion]:2222") == [Entry("", "ssh-ed25519", KEY, "f:1")]
    assert keygen([line], "[bastion]:2222", tmp_path) == [(1, "")]


# trust: T10 T11
@pytest.mark.parametrize("length", [0, 8, 19, 21, 64])
def test_a_name_that_is_hashed_with_another_salt_is_read_against_the_host_only(length: int) -> None:
    """As ssh(1) does not read it; who wrote it may have meant the host."""
    name = hashed("bastion", length)

    def verdict(*lines: str) -> Verdict:
        return judge(KnownHosts(lines, "f").entries("bastion"), blob("ssh-ed25519"))

    assert verdict(f"{name} {ED}") is (Verdict.CHANGED if length else Verdict.UNKNOWN)
    assert verdict(f"{name} {ED}", f"bastion {ED}") is Verdict.TRUSTED
    assert verdict(f"@revoked {name} {ED}", f"bastion {ED}") is (Verdict.REVOKED if length else Verdict.TRUSTED)
    assert verdict(f"@revoked {name} {RSA}", f"bastion {ED}") is Verdict.TRUSTED
    assert authorities(KnownHosts([f"@cert-authority {name} {ED}"], "f").entries("bastion")) == []
