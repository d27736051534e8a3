# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private keys for a login: from files, from text, from the agent, with their certificates."""

from __future__ import annotations

import base64
import contextlib
import io
import os
import re
import socket
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass

from ..chain.model import DEFAULT_FILES, AgentKeys, Credentials, DefaultKeyFiles, KeyFile, KeyText
from ..errors import said
from .certificates import CERTIFIED, certifies
from .known_hosts import fingerprint
from .library import paramiko
from .packetizer import Incoming

_PUBLIC = re.compile(r"\s*(?:ssh|ecdsa|sk)-[^\s]+ ([A-Za-z0-9+/]+=*)(?:\s|$)")
_LOCKED = "it cannot be decrypted with the passphrase that is set"
_NEEDS_PASSPHRASE = "it needs a passphrase and none is set"
_UNKNOWN = "not a private key of a type that can be used (ed25519, ecdsa, rsa)"


@dataclass(frozen=True)
class LoginKey:
    """A key that can sign.

    :param name: for messages: the file, or where else it came from, with its fingerprint.
    """

    key: paramiko.PKey
    name: str


class UnusableKey(Exception):
    """A key that was named and cannot be used; the text says which and why, and never quotes it."""


def login_keys(credentials: Credentials, skip: Callable[[str], None]) -> Generator[LoginKey, None, None]:
    """The keys of a login, in order, each loaded when its turn comes; with a certificate, then without it, as ssh(1): a
    server may know only the key itself.

    :param skip: takes one line about each key that cannot be used; the login goes on without it.
    """
    for identity in credentials.identities:
        if isinstance(identity, AgentKeys):
            files = [key.path for key in credentials.identities if isinstance(key, KeyFile)]
            beside = [certificate for path in files if (certificate := _beside(path))]
            yield from _agent_keys(identity, (*credentials.certificates, *beside), skip)
        elif isinstance(identity, DefaultKeyFiles):
            for path in DEFAULT_FILES:
                if os.path.exists(os.path.expanduser(path)):
                    yield from _loaded(KeyFile(path), credentials, skip)
        else:
            yield from _loaded(identity, credentials, skip)


def _loaded(identity: KeyFile | KeyText, credentials: Credentials, skip: Callable[[str], None]) -> Iterator[LoginKey]:
    try:
        if isinstance(identity, KeyFile):
            name, certificate = identity.path, identity.certificate_file or _beside(identity.path)
            text = _read(identity.path)
            if _PUBLIC.match(text):  # of a key that the agent has (ssh(1), -i)
                raise UnusableKey(f"{name}: a public key, whose private key only an agent can have")
        else:
            name, certificate, text = "the key given as text", identity.certificate_file, identity.text
        key_type, plain = _decrypted(text, identity.passphrase, credentials.password, name)
    except UnusableKey as error:
        skip(str(error))
        return
    key = _key(key_type, plain)
    label = f"{name} {fingerprint(key.asbytes())}"
    if certificate is not None:
        try:
            certified = _with_certificate(_key(key_type, plain), certificate, name)
            yield LoginKey(certified, f"{label} with certificate {certificate}")
        except UnusableKey as error:
            skip(str(error))
    for path, blob in _certificates(credentials.certificates, key.asbytes(), skip):
        certified = _key(key_type, plain)
        certified.public_blob = blob
        yield LoginKey(certified, f"{label} with certificate {path}")
    yield LoginKey(key, label)


def _agent_keys(identity: AgentKeys, certificates: tuple[str, ...], skip: Callable[[str], None]) -> Iterator[LoginKey]:
    listed = None if identity.listed is None else set(_public_keys(identity.listed))
    try:
        agent = _Agent(identity.socket)
        keys = agent.get_keys()
    except (paramiko.SSHException, OSError, ValueError) as error:
        skip(f"the agent cannot be used: {said(str(error))}")
        return
    try:
        for key in keys:
            if listed is not None and not any(key.blob == public or certifies(key.blob, public) for public in listed):
                continue
            label = f"agent key {key.get_name()} {fingerprint(key.blob)}"
            if key.get_name().endswith(CERTIFIED):
                # Else an RSA certificate would be offered as the plain key that it is of.
                key.public_blob = paramiko.pkey.PublicBlob(key.get_name(), key.blob)  # type: ignore[assignment]
            else:
                for path, blob in _certificates(certificates, key.blob, skip):
                    key.public_blob = blob  # type: ignore[assignment]
                    yield LoginKey(key, f"{label} with certificate {path}")
                    key.public_blob = None
            yield LoginKey(key, label)
    finally:
        agent.close()


class _Agent(paramiko.agent.AgentSSH):
    """The agent behind a socket; the library's own knows only that of the environment.

    :param path: of the socket; None for that of the environment.
    :raises OSError: nobody answers there.
    """

    def __init__(self, path: str | None) -> None:
        super().__init__()
        path = path or os.environ.get("SSH_AUTH_SOCK")
        if not path:
            return
        sock = socket.socket(socket.AF_UNIX)
        try:
            sock.connect(os.path.expanduser(path))
            self._connect(sock)  # type: ignore[attr-defined]
        except BaseException:
            sock.close()
            raise

    def _send_message(self, msg: paramiko.Message) -> tuple[int, paramiko.Message]:
        """Asks; the comments in the answer are whatever bytes a user has chosen, and the library wants UTF-8."""
        kind, answer = super()._send_message(msg)  # type: ignore[misc]
        answer.__class__ = Incoming
        return kind, answer

    def close(self) -> None:
        """Hangs up."""
        self._close()  # type: ignore[attr-defined]


def _public_keys(paths: tuple[str, ...]) -> Iterator[bytes]:
    """The keys, as on the wire, of files that are public keys, or have one beside them."""
    for path in paths:
        for candidate in (path, f"{path}.pub"):
            with contextlib.suppress(UnusableKey, ValueError):
                found = _PUBLIC.match(_read(candidate))
                if found:
                    yield base64.b64decode(found[1])


def _certificates(
    paths: tuple[str, ...], public: bytes, skip: Callable[[str], None]
) -> Iterator[tuple[str, paramiko.pkey.PublicBlob]]:
    """Those of the certificates that are of a key."""
    for path in paths:
        try:
            blob = paramiko.pkey.PublicBlob.from_string(_read(path))
        except UnusableKey as error:
            skip(str(error))
        except ValueError:
            skip(f"{path}: not a certificate")
        else:
            if blob.key_type.endswith(CERTIFIED) and certifies(blob.key_blob, public):
                yield path, blob


def _read(path: str) -> str:
    try:
        with open(os.path.expanduser(path), encoding="utf-8", errors="replace") as stream:
            return stream.read()
    except OSError as error:
        raise UnusableKey(f"{path}: {error.strerror or error}") from error


def _beside(path: str) -> str | None:
    certificate = f"{path}-cert.pub"
    return certificate if os.path.exists(os.path.expanduser(certificate)) else None


def _decrypted(text: str, passphrase: str | None, password: str | None, name: str) -> tuple[type[paramiko.PKey], str]:
    """The type of a key, and its text in OpenSSH's own format without a passphrase: of all formats that ssh(1) reads,
    paramiko reads that one in every version."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization as form

    data = text.encode("utf-8", "replace")
    # A password that unlocks a key file is what paramiko_ssh accepted, too.
    secret = (passphrase or password or "").encode() or None
    own_format = b"BEGIN OPENSSH PRIVATE KEY" in data
    load = form.load_ssh_private_key if own_format else form.load_pem_private_key
    try:
        try:
            private = load(data, secret)
        except TypeError:  # a passphrase too much, or none where one is needed
            private = load(data, None)
    except TypeError as error:
        raise UnusableKey(f"{name}: {_NEEDS_PASSPHRASE}") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        if secret is not None and (own_format or b"ENCRYPTED" in data):
            raise UnusableKey(f"{name}: {_LOCKED if passphrase else _NEEDS_PASSPHRASE}") from error
        raise UnusableKey(f"{name}: {_UNKNOWN}") from error
    key_type = next((key_type for kind, key_type in _key_types().items() if isinstance(private, kind)), None)
    if key_type is None:
        raise UnusableKey(f"{name}: {_UNKNOWN}")
    try:
        plain = private.private_bytes(form.Encoding.PEM, form.PrivateFormat.OpenSSH, form.NoEncryption())
    except ValueError as error:  # a curve that SSH has no name for
        raise UnusableKey(f"{name}: {_UNKNOWN}") from error
    return key_type, plain.decode()


def _key_types() -> dict[type, type[paramiko.PKey]]:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

    return {
        Ed25519PrivateKey: paramiko.Ed25519Key,
        EllipticCurvePrivateKey: paramiko.ECDSAKey,
        RSAPrivateKey: paramiko.RSAKey,
    }


def _key(key_type: type[paramiko.PKey], plain: str) -> paramiko.PKey:
    return key_type.from_private_key(io.StringIO(plain))


def _with_certificate(key: paramiko.PKey, certificate: str, name: str) -> paramiko.PKey:
    path = os.path.expanduser(certificate)
    try:
        # Opened here for a clear error: load_certificate takes a path that it cannot open for the text itself.
        with open(path, "rb") as stream:
            stream.read(1)
        key.load_certificate(path)
    except OSError as error:
        raise UnusableKey(f"{certificate}: {error.strerror or error}") from error
    except Exception as error:  # the library lets parse errors of several kinds through
        raise UnusableKey(f"{certificate}: not a certificate of {name}: {said(str(error))}") from error
    blob = key.public_blob
    if blob is None or not certifies(blob.key_blob, key.asbytes()):
        raise UnusableKey(f"{certificate}: not a certificate of {name}, but of another key")
    return key
