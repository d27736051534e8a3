# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test that key exchanges fail: with methods that were not agreed on, another key than before, or groups that are not safe.

No real server can be made to do these, so paramiko is one. That it exchanges keys rightly where nothing is bent is shown, too:
what is refused is refused for what is bent.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import paramiko
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from lab import Lab
from lab.client import ssh
from lab.exchange import Bend, Exchanger, renew_keys
from paramiko.kex_curve25519 import KexCurve25519
from paramiko.kex_ecdh_nist import KexNistp256
from paramiko.kex_gex import KexGexSHA256
from paramiko.kex_group14 import KexGroup14SHA256
from paramiko.kex_group16 import KexGroup16SHA512
from sessions import opened

from ansible_collections.bastion.ssh.plugins.plugin_utils.errors import (
    AlgorithmsRefused,
    HopError,
    HopUnreachable,
    LinkLost,
)

GEX, GROUP14, GROUP16 = (
    "diffie-hellman-group-exchange-sha256",
    "diffie-hellman-group14-sha256",
    "diffie-hellman-group16-sha512",
)
pytestmark = pytest.mark.ways("own process")

X25519, NISTP256 = "curve25519-sha256@libssh.org", "ecdh-sha2-nistp256"
ECDSA = paramiko.ECDSAKey.generate(bits=256)
RSA = paramiko.RSAKey.generate(2048)
P = KexGroup14SHA256.P  # 2048 bits


def nothing(_transport: Any) -> None:
    pass


@dataclass
class Server:
    """Start the server of a test, and open sessions to it."""

    lab: Lab

    @contextlib.contextmanager
    def bent(
        self, key: paramiko.PKey = ECDSA, bend: Bend = nothing, before_the_end: Bend = nothing
    ) -> Iterator[Exchanger]:
        address = self.lab.address()
        with Exchanger(address, self.lab.port(address), key, bend, before_the_end) as server:
            self.lab.trust(server.known_hosts_line())
            yield server

    def run(self, server: Exchanger, **more: Any) -> str:
        """Run a command there, and return its stdout."""
        user_key = str(self.lab.path / "keys/user")
        variables = {"ansible_host": server.address, "ansible_port": server.port, "ansible_user": "me"}
        variables |= {"ansible_ssh_private_key_file": user_key, "ansible_ssh_timeout": 30, **more}
        with opened(self.lab, variables, first=None) as session:
            return session.run("true").stdout.decode()

    def refused(self, kind: type[HopError], server: Exchanger) -> str:
        with pytest.raises(kind) as error:
            self.run(server)
        assert error.type is kind
        assert error.value.place == f"target me@{server.endpoint}"
        return error.value.problem


@pytest.fixture
def server(lab: Lab) -> Server:
    lab.key("user")
    return Server(lab)


def only(kex: str, engine: Any = None) -> Bend:
    """Offer one method only, implemented by an engine."""

    def bend(transport: Any) -> None:
        transport._preferred_kex = (kex,)
        if engine is not None:
            transport._kex_info = {**transport._kex_info, kex: engine}

    return bend


# Signatures and keys


class SignsWith(paramiko.RSAKey):
    """Sign with one algorithm, whatever was agreed on."""

    algorithm = "ssh-rsa"
    digest: Any = hashes.SHA1

    def sign_ssh_data(self, data: bytes, algorithm: str | None = None) -> paramiko.Message:
        message = paramiko.Message()
        message.add_string(self.algorithm)
        key: Any = self.key
        message.add_string(key.sign(data, padding.PKCS1v15(), self.digest()))
        return message


class SignsWith256(SignsWith):
    algorithm = "rsa-sha2-256"
    digest = hashes.SHA256


def signing(kind: type[SignsWith]) -> paramiko.PKey:
    return kind(key=RSA.key)


def shows(algorithm: str, key: paramiko.PKey) -> Bend:
    """Use a key for an algorithm of another key type."""

    def bend(transport: Any) -> None:
        transport.server_key_dict = {algorithm: key}

    return bend


@pytest.mark.parametrize("kex", [X25519, NISTP256, GROUP14, GROUP16, GEX])
@pytest.mark.parametrize("key", [ECDSA, RSA], ids=["ecdsa", "rsa"])
def test_with_nothing_bent_a_command_runs_before_and_after_new_keys(kex: str, key: Any, server: Server) -> None:
    with server.bent(key, both(only(kex), groups(P)), renew_keys) as there:
        assert server.run(there) == "done\n"


# trust: T16
@pytest.mark.parametrize(
    ("key", "bend", "words"),
    [
        (signing(SignsWith), nothing, "rsa-sha2-512 was agreed on, and the server signs with ssh-rsa"),
        (signing(SignsWith256), nothing, "rsa-sha2-512 was agreed on, and the server signs with rsa-sha2-256"),
        (
            ECDSA, shows("ecdsa-sha2-nistp384", ECDSA),
            "ecdsa-sha2-nistp384 was agreed on, and the server shows a key of type ecdsa-sha2-nistp256",
        ),
        (
            ECDSA, shows("ssh-ed25519", ECDSA),
            "ssh-ed25519 was agreed on, and the server shows a key of type ecdsa-sha2-nistp256",
        ),
    ],
    ids=["SHA-1", "another SHA-2", "another curve", "another type"],
)  # fmt: skip
def test_what_was_agreed_on_is_what_is_signed_with(key: Any, bend: Bend, words: str, server: Server) -> None:
    with server.bent(key, bend) as there:
        assert server.refused(HopUnreachable, there) == f"the key exchange failed: {words}"


def then(key: paramiko.PKey, *algorithms: str) -> Bend:
    """Rekey with another host key."""

    def bend(transport: Any) -> None:
        transport.server_key_dict = dict.fromkeys(algorithms or [key.get_name()], key)
        renew_keys(transport)

    return bend


# trust: T09 T16
@pytest.mark.parametrize(
    ("key", "later", "words"),
    [
        (ECDSA, then(paramiko.ECDSAKey.generate(bits=256)), "the server shows another host key than before in a new key exchange"),
        (ECDSA, then(RSA, "rsa-sha2-512"), "the server shows another host key than before in a new key exchange"),
        (RSA, then(signing(SignsWith), "rsa-sha2-512"), "rsa-sha2-512 was agreed on, and the server signs with ssh-rsa"),
    ],
    ids=["another key", "another type", "SHA-1"],
)  # fmt: skip
def test_new_keys_are_exchanged_with_the_host_key_that_was_verified(
    key: Any, later: Bend, words: str, server: Server
) -> None:
    with server.bent(key, before_the_end=later) as there:
        assert server.refused(LinkLost, there) == f"the connection was lost: the connection broke: {words}"


# Groups


class Groups:
    """Replace the moduli file by one group, whatever size is requested."""

    def __init__(self, p: int, g: int) -> None:
        self.group = (g, p)
        self.asked: list[tuple[int, int, int]] = []

    def get_modulus(self, *bits: int) -> tuple[int, int]:
        self.asked.append(bits)  # type: ignore[arg-type]
        return self.group


def groups(p: int, g: int = 2, kept: list[Groups] | None = None) -> Bend:
    def bend(transport: Any) -> None:
        found = Groups(p, g)
        transport._modulus_pack = found
        if kept is not None:
            kept.append(found)

    return bend


def both(*bends: Bend) -> Bend:
    def bend(transport: Any) -> None:
        for each in bends:
            each(transport)

    return bend


# trust: T16
@pytest.mark.parametrize("bits", [1024, 2047, 8193])
def test_a_group_of_no_safe_size_is_refused(bits: int, server: Server) -> None:
    with server.bent(bend=both(only(GEX), groups((1 << bits) - 1))) as there:
        expected = f"the server's Diffie-Hellman group has {bits} bits, and 2048 to 8192 are wanted"
        assert server.refused(AlgorithmsRefused, there) == f"no common algorithm that is safe to use: {expected}"
        refused = ssh(server.lab, there, "me", "true", key=None, options=["KexAlgorithms=" + GEX])  # type: ignore[arg-type]
        assert refused.returncode == 255
        assert "DH GEX group out of range" in refused.stderr


# trust: T16
@pytest.mark.parametrize(
    ("p", "g"),
    [(P - 1, 2), (P, 0), (P, 1), (P, P - 1), (P, P), (P, P + 2), (P, -2), (-P, 2)],
    ids=["even p", "g 0", "g 1", "g p - 1", "g p", "g p + 2", "g -2", "-p"],
)
def test_a_group_that_is_none_is_refused(p: int, g: int, server: Server) -> None:
    with server.bent(bend=both(only(GEX), groups(p, g))) as there:
        problem = server.refused(AlgorithmsRefused, there)
        assert problem.startswith("no common algorithm that is safe to use: the server's Diffie-Hellman group ")


@pytest.mark.parametrize(
    ("ciphers", "expected"),
    [
        ("aes128-ctr -o MACs=hmac-sha2-256", 8192),
        ("aes256-ctr -o MACs=hmac-sha2-512", 8192),
        ("aes128-gcm@openssh.com", 3072),
        ("aes256-gcm@openssh.com", 8192),
    ],
)
def test_the_size_that_is_asked_for_is_that_of_openssh(ciphers: str, expected: int, server: Server) -> None:
    kept: list[Groups] = []
    if "gcm" in ciphers and "aes128-gcm@openssh.com" not in paramiko.Transport._preferred_ciphers:  # type: ignore[attr-defined]
        pytest.skip("paramiko has no such cipher before 3.5")
    with server.bent(bend=both(only(GEX), groups(P, kept=kept))) as there:
        arguments = f"-o Ciphers={ciphers}"
        assert server.run(there, ansible_ssh_extra_args=arguments) == "done\n"
        options = [word for word in arguments.split() if word != "-o"]
        ssh(server.lab, there, "me", "true", key=None, options=[f"KexAlgorithms={GEX}", *options])  # type: ignore[arg-type]
    assert [pack.asked for pack in kept] == [[(2048, expected, 8192)]] * 2


# Public values


def of(engine: Any, x: int) -> Any:
    """Return a key exchange method with a fixed server exponent."""

    class Chosen(engine):  # type: ignore[misc]
        def _generate_x(self) -> None:
            self.x = x

    return Chosen


def square_root_of_one() -> int:
    """Return a generator of the whole group, whose power (p - 1) / 2 is p - 1."""
    return next(g for g in range(3, 100) if pow(g, P // 2, P) == P - 1)


# trust: T16
@pytest.mark.parametrize(
    "bend",
    [
        only(GROUP14, of(KexGroup14SHA256, 0)),
        only(GROUP14, of(KexGroup14SHA256, 5)),
        only(GROUP16, of(KexGroup16SHA512, 0)),
        both(groups(P), only(GEX, of(KexGexSHA256, 0))),
        both(groups(P), only(GEX, of(KexGexSHA256, 5))),
        both(groups(P, square_root_of_one()), only(GEX, of(KexGexSHA256, P // 2))),
    ],
    ids=["14: 1", "14: 32", "16: 1", "any: 1", "any: 32", "any: p - 1"],
)
def test_a_value_that_gives_the_secret_away_is_refused(bend: Bend, server: Server) -> None:
    """The server and paramiko agree on it, so that the command would run without the check."""
    with server.bent(bend=bend) as there:
        problem = server.refused(HopUnreachable, there)
        assert problem == "the key exchange failed: the server's Diffie-Hellman value is none of its group"


class ZeroSecret(KexCurve25519):
    """Send a point of small order, and compute the secret that follows from it: zero."""

    transport: Any

    def _parse_kexecdh_init(self, m: Any) -> None:
        theirs, transport, hashed = m.get_string(), self.transport, paramiko.Message()
        key = transport.get_server_key()
        for each in (
            transport.remote_version,
            transport.local_version,
            transport.remote_kex_init,
            transport.local_kex_init,
        ):
            hashed.add(each)
        for each in (key.asbytes(), theirs, bytes(32)):
            hashed.add_string(each)
        hashed.add_mpint(0)
        transport._set_K_H(0, self.hash_algo(hashed.asbytes()).digest())
        reply = paramiko.Message()
        reply.add_byte(bytes([31]))  # SSH_MSG_KEX_ECDH_REPLY
        for each in (key.asbytes(), bytes(32), key.sign_ssh_data(transport.H, transport.host_key_type)):
            reply.add_string(each)
        transport._send_message(reply)
        transport._activate_outbound()


def point(data: bytes) -> Any:
    """Return a key exchange method with a fixed public point of the server."""

    class Chosen(KexNistp256):
        transport: Any

        def _parse_kexecdh_init(self, _message: Any) -> None:
            key, reply = self.transport.get_server_key(), paramiko.Message()
            reply.add_byte(bytes([31]))
            for each in (key.asbytes(), data, key.sign_ssh_data(data, self.transport.host_key_type)):
                reply.add_string(each)
            self.transport._send_message(reply)

    return Chosen


# trust: T16
@pytest.mark.parametrize(
    "bend",
    [
        only(X25519, ZeroSecret),
        only(NISTP256, point(b"\4" + bytes(63) + b"\1")),
        only(NISTP256, point(b"\0")),
        only(NISTP256, point(b"\4" + b"\xff" * 64)),
        only(NISTP256, point(b"")),
    ],
    ids=["zero", "not on the curve", "infinity", "beyond the field", "empty"],
)
def test_a_point_that_is_none_is_refused(bend: Bend, server: Server) -> None:
    with server.bent(bend=bend) as there:
        problem = server.refused(HopUnreachable, there)
        assert problem.startswith("the key exchange failed: ")
        assert "Signature" not in problem
