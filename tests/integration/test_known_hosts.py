# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test that known_hosts files of any content are judged like by ssh(1), which connects to a real server with the same file."""

from __future__ import annotations

import base64
import hashlib
import hmac
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from lab import Lab, known_hosts_name
from lab.client import ssh, ssh_config

from ansible_collections.bastion.ssh.plugins.plugin_utils.chain.model import Credentials, Hop, HostKeyPolicy
from ansible_collections.bastion.ssh.plugins.plugin_utils.errors import HostKeyRefused
from ansible_collections.bastion.ssh.plugins.plugin_utils.ssh.host_keys import HostKey, HostKeyCheck


def hashed(name: bytes, salt: bytes) -> bytes:
    digest = hmac.new(salt, name, hashlib.sha1).digest()
    return b"|1|%b|%b" % (base64.b64encode(salt), base64.b64encode(digest))


def loosened(text: bytes, number: int = 3) -> bytes:
    """Change the unused bits before the padding of a field, which a lenient decoder ignores."""
    fields = text.split(b"|")
    fields[number] = fields[number][:-2] + bytes([fields[number][-2] + 1]) + b"="
    return b"|".join(fields)


def cases(n: bytes, r: bytes, w: bytes) -> dict[str, bytes]:
    """Return known_hosts files by name of the case; n: the host's name there, r: its key, w: another one."""
    blob = r.split()[1]
    port = n.rpartition(b":")[2]
    longer = base64.b64encode(base64.b64decode(blob) + bytes(4))
    return {
        "right": b"%b %b\n" % (n, r),
        "wrong": b"%b %b\n" % (n, w),
        "nothing": b"",
        "no newline": b"%b %b" % (n, r),
        # Ends of lines, and what is none
        "CR LF": b"%b %b\r\n" % (n, r),
        "CR LF, wrong": b"%b %b\r\n" % (n, w),
        "CR LF, comment": b"%b %b comment\r\n" % (n, r),
        "CR ends no comment": b"other %b comment\r%b %b\n" % (w, n, r),
        "CR ends no comment, wrong one first": b"%b %b c\r%b %b\n" % (n, w, n, r),
        "CR ends no comment line": b"# comment\r%b %b\n" % (n, r),
        "CR ends no key": b"other %b\r%b %b\n" % (w, n, r),
        "CR ends no key, right one first": b"%b %b\r%b %b\n" % (n, r, n, w),
        "CR only": b"%b %b\r" % (n, r),
        "CR between": b"%b\r%b\n" % (n, r),
        "CR in the key": b"%b %b\r%b\n" % (n, r[:40], r[40:]),
        "CR before the name": b"\r%b %b\n" % (n, r),
        "CR hides no revocation": b"# x\r@revoked %b %b\n%b %b\n" % (n, r, n, r),
        "LF CR": b"%b %b\n\r%b %b\n" % (n, w, n, r),
        "VT": b"other %b c\x0b%b %b\n" % (w, n, r),
        "FF": b"other %b c\x0c%b %b\n" % (w, n, r),
        "FF first": b"\x0c%b %b\n" % (n, r),
        "FF after the key": b"%b %b\x0c\n" % (n, r),
        "FF in the key": b"%b %b\x0c%b\n" % (n, r[:40], r[40:]),
        "NEL": b"other %b c\xc2\x85%b %b\n" % (w, n, r),
        "line separator": b"other %b c\xe2\x80\xa8%b %b\n" % (w, n, r),
        "NUL first": b"\0%b %b\n" % (n, r),
        "NUL after the key": b"%b %b\0junk\n" % (n, r),
        "NUL in the key": b"%b %b\0%b\n" % (n, r[:30], r[30:]),
        "NUL in a line before": b"x\0y\n%b %b\n" % (n, r),
        "NUL before a revocation": b"\0@revoked %b %b\n%b %b\n" % (n, r, n, r),
        "BOM": b"\xef\xbb\xbf%b %b\n" % (n, r),
        # Blanks
        "tabs": b"%b\t%b\n" % (n, r.replace(b" ", b"\t")),
        "blanks first": b"   \t%b %b\n" % (n, r),
        "blank in the key": b"%b %b %b\n" % (n, r[:40], r[40:]),
        "no-break space": b"%b\xc2\xa0%b\n" % (n, r),
        # Length
        "a comment of 1 MiB": b"%b %b %b\n" % (n, r, b"c" * 2**20),
        "names of 1 MiB": b"%b,%b %b\n" % (b",".join(b"h%d" % i for i in range(100_000)), n, r),
        # Names
        "quoted": b'"%b" %b\n' % (n, r),
        "*": b"* %b\n" % r,
        "[*]:port": b"[*]:%b %b\n" % (port, r),
        "* for the address": b"[127.*]:%b %b\n" % (port, r),
        "?": b"%b? %b\n" % (n[:-1], r),
        "other and !": b"*,!%b %b\n" % (n, r),
        "! alone": b"!other %b\n" % r,
        "! with a pattern": b"*,![127.*]:* %b\n" % r,
        "without the port": b"%b %b\n" % (n.partition(b"]")[0][1:], r),
        "without the port, wrong": b"%b %b\n" % (n.partition(b"]")[0][1:], w),
        "without the port, revoked": b"@revoked %b %b\n%b %b\n" % (n.partition(b"]")[0][1:], r, n, r),
        "the port with a zero": b"%b]:0%b %b\n" % (n.partition(b"]")[0], port, r),
        "a comma and a blank": b"a, %b %b\n" % (n, r),
        "empty names": b",,%b, %b\n" % (n, r),
        "not UTF-8": b"\xff\xfe,%b %b\n" % (n, r),
        # Hashed names
        "hashed": b"%b %b\n" % (hashed(n, b"s" * 20), r),
        "hashed, wrong": b"%b %b\n" % (hashed(n, b"s" * 20), w),
        "a salt of 0": b"%b %b\n" % (hashed(n, b""), r),
        "a salt of 8": b"%b %b\n" % (hashed(n, b"s" * 8), r),
        "a salt of 19": b"%b %b\n" % (hashed(n, b"s" * 19), r),
        "a salt of 21": b"%b %b\n" % (hashed(n, b"s" * 21), r),
        "a salt of 64": b"%b %b\n" % (hashed(n, b"s" * 64), r),
        "a salt of 100": b"%b %b\n" % (hashed(n, b"s" * 100), r),
        "a salt of 8, wrong": b"%b %b\n%b %b\n" % (hashed(n, b"s" * 8), w, n, r),
        "a salt of 8, revoked": b"@revoked %b %b\n%b %b\n" % (hashed(n, b"s" * 8), r, n, r),
        "hashed, and a name": b"%b,foo %b\n" % (hashed(n, b"s" * 20), r),
        "hashed, more": b"%b|x %b\n" % (hashed(n, b"s" * 20), r),
        "hashed, not padded": b"%b %b\n" % (hashed(n, b"s" * 20).replace(b"=", b""), r),
        "hashed by another digest": b"%b %b\n" % (hashed(n, b"s" * 20).replace(b"|1|", b"|2|"), r),
        "hashed, loose bits": b"%b %b\n" % (loosened(hashed(n, b"s" * 20)), r),
        "hashed, loose bits in the salt": b"%b %b\n" % (loosened(hashed(n, b"s" * 20), 2), r),
        "hashed, more padding": b"%b= %b\n" % (hashed(n, b"s" * 20), r),
        "hashed, cut": b"%b %b\n" % (hashed(n, b"s" * 20)[:-4], r),
        # Markers
        "another key is revoked": b"@revoked %b %b\n%b %b\n" % (n, w, n, r),
        "revoked": b"@revoked * %b\n%b %b\n" % (r, n, r),
        "revoked, after": b"%b %b\n@revoked %b %b\n" % (n, r, n, r),
        "revoked for another": b"@revoked other %b\n%b %b\n" % (r, n, r),
        "revoked, tab": b"@revoked\t* %b\n%b %b\n" % (r, n, r),
        "revoked, tabs only": b"@revoked\t*\t%b\n%b %b\n" % (r.replace(b" ", b"\t"), n, r),
        "revoked, CR LF": b"@revoked * %b\r\n%b %b\n" % (r, n, r),
        "revoked, no blank": b"@revoked* %b\n%b %b\n" % (r, n, r),
        "revoked, capitals": b"@REVOKED * %b\n%b %b\n" % (r, n, r),
        "revoked, two markers": b"@revoked @cert-authority %b %b\n%b %b\n" % (n, r, n, r),
        "revoked, torn": b"@revoked %b ssh-ed25519 AAAA\n%b %b\n" % (n, n, r),
        "revoked, none": b"@revoked * garbage\n%b %b\n" % (n, r),
        "an unknown marker": b"@foo %b %b\n" % (n, r),
        "an unknown marker, and the line": b"@foo %b %b\n%b %b\n" % (n, w, n, r),
        "a plain key of an authority": b"@cert-authority %b %b\n" % (n, r),
        # Keys
        "wrong and right": b"%b %b\n%b %b\n" % (n, w, n, r),
        "the type in capitals": b"%b SSH-ED25519 %b\n" % (n, blob),
        "another type": b"%b ssh-rsa %b\n" % (n, blob),
        "SSH 1": b"%b 1024 35 1234567 comment\n" % n,
        "SSH 1, and the line": b"%b 1024 35 1234567 comment\n%b %b\n" % (n, n, r),
        "bits before": b"%b 256 %b\n" % (n, r),
        "padding": b"%b %b==\n" % (n, r),
        "padding of one": b"%b %b=\n" % (n, r),
        "padding of four": b"%b %b====\n" % (n, r),
        "junk at the end": b"%b %b!!!!\n" % (n, r[:-4]),
        "cut": b"%b %b\n" % (n, r[:-8]),
        "cut, and whole": b"%b %b\n%b %b\n" % (n, r[:-8], n, r),
        "longer": b"%b ssh-ed25519 %b\n" % (n, longer),
        "a comment line": b"#%b %b\n" % (n, r),
        "a comment line, blanks": b"  # %b %b\n" % (n, r),
        "a comment for a key": b"%b # %b\n" % (n, r),
    }


# Where ssh trusts a host and we do not.
STRICTER = {
    # What it passes over in the text of a key, and behind a NUL.
    "CR in the key",
    "FF in the key",
    "FF after the key",
    "NUL after the key",
    # Lines that are to revoke a key, and which it does not read, or not for this port.
    "a salt of 8, revoked",
    "revoked, tab",
    "revoked, torn",
    "revoked, none",
    "without the port, revoked",
}


# trust: T11 T14
def test_files_are_judged_as_by_openssh(lab: Lab) -> None:
    key, user = lab.key("key"), lab.user("target")
    server, other = lab.sshd("server", users=[user], keys=[key], MaxStartups=100), lab.key("other")
    name = known_hosts_name(server.address, server.port).encode()
    right, wrong = (" ".join(each.public.split()[:2]).encode() for each in (server.key(), other))
    hop = Hop(server.address, server.port, Credentials("u"))
    shown = HostKey("ssh-ed25519", base64.b64decode(right.split()[1]))
    config = ssh_config(lab, {"*": {"IdentityFile": key.path, "IdentitiesOnly": "yes"}})
    files: dict[str, Path] = {}
    for number, (what, text) in enumerate(cases(name, right, wrong).items()):
        files[what] = lab.path / f"known_hosts.{number}"
        files[what].write_bytes(text)

    def ours(path: Path) -> bool:
        try:
            policy = HostKeyPolicy(known_hosts=(str(path),))
            return HostKeyCheck(replace(hop, host_keys=policy), "the place", print).check(shown)
        except HostKeyRefused:
            return False

    def theirs(path: Path) -> bool:
        options = [f"UserKnownHostsFile={path}", "StrictHostKeyChecking=yes", "HostKeyAlgorithms=ssh-ed25519"]
        run = ssh(lab, server, user, "true", config=config, options=options)
        assert (run.returncode == 0) != ("Host key verification failed." in run.stderr), run
        return run.returncode == 0

    with ThreadPoolExecutor(4) as pool:
        found = dict(zip(files, pool.map(theirs, files.values()), strict=True))
    assert list(found.values()).count(True) > 20
    ours_found = {what: ours(path) for what, path in files.items()}
    assert [what for what in files if ours_found[what] and not found[what]] == []
    assert {what for what in files if found[what] and not ours_found[what]} <= STRICTER
