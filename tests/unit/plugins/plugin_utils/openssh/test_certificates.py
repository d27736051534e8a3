# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificates of hosts, made by a real ssh-keygen: which are good for a host."""

from __future__ import annotations

import base64
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from ansible_collections.bastion.ssh.plugins.plugin_utils.chain.model import (
    Credentials,
    Hop,
    HostKeyChecking,
    HostKeyPolicy,
)
from ansible_collections.bastion.ssh.plugins.plugin_utils.errors import HostKeyRefused
from ansible_collections.bastion.ssh.plugins.plugin_utils.openssh.certificates import (
    BadCertificate,
    read_certificate,
    rejection_reason,
)
from ansible_collections.bastion.ssh.plugins.plugin_utils.ssh.host_keys import HostKey, HostKeyCheck

STRICT, NEW, OFF = HostKeyChecking.STRICT, HostKeyChecking.ACCEPT_NEW, HostKeyChecking.OFF
KINDS = {"ed25519": [], "ecdsa": ["-b", "256"], "rsa": ["-b", "2048"]}


def keygen(*arguments: str | Path) -> None:
    subprocess.run(["ssh-keygen", "-q", *map(str, arguments)], check=True, stdin=subprocess.DEVNULL, timeout=60)


def fields(path: Path) -> tuple[str, bytes]:
    """Type and key of a public key file."""
    kind, key, *_comment = path.read_text().split()
    return kind, base64.b64decode(key)


@dataclass(frozen=True)
class Authority:
    """A directory with key pairs: authorities ca and other, and hosts."""

    path: Path

    def public(self, name: str) -> tuple[str, bytes]:
        return fields(self.path / f"{name}.pub")

    def line(self, names: str, name: str = "ca", marker: str = "@cert-authority") -> str:
        kind, key = self.public(name)
        return f"{marker} {names} {kind} {base64.b64encode(key).decode()}".strip()

    def shown(self, *options: str, host: str = "ed25519", by: str = "ca") -> HostKey:
        """The key of a host with a fresh certificate; options: of ssh-keygen."""
        certificate = self.path / f"{host}-cert.pub"
        certificate.unlink(missing_ok=True)
        keygen("-s", self.path / by, "-I", "id", *options, self.path / f"{host}.pub")
        kind, blob = fields(certificate)
        return HostKey(*self.public(host), blob, kind)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    path = tmp_path_factory.mktemp("authority")
    for kind, size in KINDS.items():
        keygen("-t", kind, *size, "-N", "", "-C", "", "-f", path / kind)
    for name in ("ca", "other"):
        keygen("-t", "ed25519", "-N", "", "-C", "", "-f", path / name)
    keygen("-t", "rsa", "-b", "2048", "-N", "", "-C", "", "-f", path / "rsa-ca")
    return Authority(path)


HOST = ("-h", "-n", "host.example.com")
Check = Callable[..., bool]


@pytest.fixture
def check(keys: Authority, tmp_path: Path) -> Check:
    """Whether a key is trusted for host.example.com by lines of known_hosts."""

    def checked(shown: HostKey, *lines: str, port: int = 22, host: str = "Host.example.com", **policy: object) -> bool:
        file = tmp_path / "known_hosts"
        file.write_text("".join(f"{line}\n" for line in lines or [keys.line("*.example.com")]))
        known = replace(HostKeyPolicy(STRICT, (str(file),)), **policy)  # type: ignore[arg-type]
        return HostKeyCheck(Hop(host, port, Credentials("u"), known), "the place", lambda _line: None).check(shown)

    return checked


def refused(check: Check, *arguments: object, **options: object) -> str:
    with pytest.raises(HostKeyRefused) as caught:
        check(*arguments, **options)
    return str(caught.value)


# trust: T10
@pytest.mark.parametrize("host", KINDS)
@pytest.mark.parametrize("by", ["ca", "rsa-ca"])
def test_a_certificate_of_a_known_authority_is_trusted(host: str, by: str, keys: Authority, check: Check) -> None:
    assert check(keys.shown(*HOST, host=host, by=by), keys.line("*.example.com", by))


@pytest.mark.parametrize(
    ("names", "port", "host", "trusted"),
    [
        ("*.example.com", 22, "host.example.com", True),
        ("*", 2222, "host.example.com", True),
        ("[*.example.com]:2222", 2222, "host.example.com", True),
        ("*.example.com", 2222, "host.example.com", True),  # as any key of the name without its port
        ("[*.example.com]:2222", 22, "host.example.com", False),
        ("*,!host.example.com", 22, "host.example.com", False),
        ("*.example.org", 22, "host.example.com", False),
    ],
)
def test_an_authority_is_one_for_the_names_of_its_line(
    names: str, port: int, host: str, trusted: bool, keys: Authority, check: Check
) -> None:
    shown = keys.shown(*HOST)
    if trusted:
        assert check(shown, keys.line(names), port=port, host=host)
    else:
        assert "is not known" in refused(check, shown, keys.line(names), port=port, host=host)


# trust: T10
@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (("-h", "-n", "other.example.com"), "it is not for host.example.com, but for other.example.com"),
        (
            ("-h", "-n", "host.example.com.org,host"),
            "it is not for host.example.com, but for host.example.com.org, host",
        ),
        (("-h", "-n", "*.example.com"), "it is not for host.example.com, but for *.example.com"),
        (("-h",), "it names no host"),
        (("-n", "host.example.com"), "it is a user's, not a host's"),
        ((*HOST, "-V", "20000101:20000102"), "it was valid until 2000-01-02"),
        ((*HOST, "-V", "20990101:20990102"), "it is not valid before 2099-01-01"),
        ((*HOST, "-O", "critical:x@example.com=y"), "it has critical options that are not known: x@example.com"),
    ],
)
@pytest.mark.parametrize("checking", [STRICT, NEW, OFF])
def test_a_certificate_that_is_not_good_is_as_a_changed_key(
    options: tuple[str, ...], problem: str, checking: HostKeyChecking, keys: Authority, check: Check
) -> None:
    shown = keys.shown(*options)
    if checking is OFF:
        assert not check(shown, checking=OFF)  # and no secret goes there
    else:
        assert problem in refused(check, shown, checking=checking)


def test_a_key_that_is_known_needs_no_certificate(keys: Authority, check: Check) -> None:
    expired = keys.shown(*HOST, "-V", "20000101:20000102")
    plain = keys.line("host.example.com", "ed25519", "")
    assert check(expired, keys.line("*"), plain)
    assert check(keys.shown(*HOST, by="other"), plain)
    assert check(keys.shown(*HOST, by="other"), keys.line("*"), plain)


def test_an_authority_that_is_not_known_is_nobody(keys: Authority, check: Check) -> None:
    assert "is not known" in refused(check, keys.shown(*HOST, by="other"))
    # A plain line of the authority's key is not one of an authority.
    assert "the host key has changed" in refused(check, keys.shown(*HOST), keys.line("host.example.com", "ca", ""))


# trust: T10
@pytest.mark.parametrize("name", ["ca", "ed25519"])
@pytest.mark.parametrize("checking", [STRICT, NEW, OFF])
def test_what_is_revoked_is_refused_whatever_vouches_for_it(
    name: str, checking: HostKeyChecking, keys: Authority, check: Check, tmp_path: Path
) -> None:
    shown, revoked = keys.shown(*HOST), keys.line("*", name, "@revoked")
    assert "revoked in" in refused(check, shown, keys.line("*"), revoked, checking=checking)
    listed = tmp_path / "listed"
    listed.write_text(f"# gone\n{(keys.path / f'{name}.pub').read_text()}")
    assert f"revoked in {listed}" in refused(check, shown, revoked=str(listed), checking=checking)
    krl = tmp_path / "krl"
    keygen("-k", "-f", krl, keys.path / f"{name}.pub")
    assert f"revoked in {krl}" in refused(check, shown, revoked=str(krl), checking=checking)


def test_a_list_with_a_certificate_revokes_its_key(keys: Authority, check: Check, tmp_path: Path) -> None:
    keys.shown(*HOST)
    listed = tmp_path / "listed"
    listed.write_text((keys.path / "ed25519-cert.pub").read_text())
    plain = keys.line("host.example.com", "ed25519", "")
    assert "is revoked in" in refused(check, HostKey(*keys.public("ed25519")), plain, revoked=str(listed))


def test_a_krl_revokes_a_certificate_by_its_number(keys: Authority, check: Check, tmp_path: Path) -> None:
    krl, spec = tmp_path / "krl", tmp_path / "spec"
    spec.write_text("serial: 7\n")
    keygen("-k", "-f", krl, "-s", keys.path / "ca.pub", spec)
    assert check(keys.shown(*HOST, "-z", "8"), revoked=str(krl))
    assert "is revoked in" in refused(check, keys.shown(*HOST, "-z", "7"), revoked=str(krl))


def test_who_cannot_read_what_is_revoked_trusts_nobody(
    keys: Authority, check: Check, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = keys.shown(*HOST)
    assert "No such file" in refused(check, shown, revoked=str(tmp_path / "missing"))
    (tmp_path / "krl").write_bytes(b"SSHKRL\n\0torn")
    assert "could not be checked" in refused(check, shown, revoked=str(tmp_path / "krl"))
    monkeypatch.setenv("PATH", "/nonexistent")
    assert "a KRL takes ssh-keygen" in refused(check, shown, revoked=str(tmp_path / "krl"))


def test_authorities_sign_with_what_is_accepted(keys: Authority, check: Check) -> None:
    by_rsa = keys.shown(*HOST, "-t", "rsa-sha2-256", by="rsa-ca")
    assert check(by_rsa, keys.line("*", "rsa-ca"), ca_algorithms=("rsa-sha2-256",))
    for algorithms in (("ssh-ed25519",), ("rsa-sha2-512",)):
        words = refused(check, by_rsa, keys.line("*", "rsa-ca"), ca_algorithms=algorithms)
        assert "it was signed with rsa-sha2-256, which is not accepted" in words
    certificate = read_certificate(by_rsa.certificate_type, by_rsa.certificate or b"")
    assert certificate.algorithm == "rsa-sha2-256"
    assert "which is not accepted" in rejection_reason(
        replace(certificate, algorithm="ssh-rsa"), "host.example.com", None
    )


def test_the_time_of_a_certificate_has_a_beginning_and_an_end(keys: Authority) -> None:
    shown = keys.shown(*HOST)
    certificate = replace(read_certificate(shown.certificate_type, shown.certificate or b""), after=100, before=200)
    good = [
        moment for moment in (99, 100, 199, 200) if not rejection_reason(certificate, "host.example.com", None, moment)
    ]
    assert good == [100, 199]


def test_an_alias_is_the_name_that_a_certificate_is_for(keys: Authority, check: Check) -> None:
    shown = keys.shown("-h", "-n", "alias")
    assert check(shown, keys.line("alias"), alias="alias")
    assert "it is not for alias" in refused(check, keys.shown(*HOST), keys.line("alias"), alias="alias")


def test_every_bit_of_a_certificate_counts(keys: Authority, check: Check) -> None:
    shown = keys.shown(*HOST)
    blob = shown.certificate or b""
    for place in range(0, len(blob), 7):
        torn = blob[:place] + bytes([blob[place] ^ 1]) + blob[place + 1 :]
        with pytest.raises(HostKeyRefused):
            check(replace(shown, certificate=torn))
    for end in range(0, len(blob), 11):
        with pytest.raises(BadCertificate):
            read_certificate(shown.certificate_type, blob[:end])


def test_short_rsa_keys_are_refused(keys: Authority, check: Check) -> None:
    plain = keys.line("host.example.com", "rsa", "")
    shown = HostKey(*keys.public("rsa"))
    assert check(shown, plain, rsa_bits=2048)
    assert "has 2048 bits, and RequiredRSASize wants 2049" in refused(check, shown, plain, rsa_bits=2049)
