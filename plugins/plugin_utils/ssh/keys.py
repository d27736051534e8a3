# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection.
"""Load private keys for a login from files, from text and from agents, with their certificates."""

from __future__ import annotations

import base64
import contextlib
import io
import os
import re
import socket
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass

from ..chain.key_types import CERTIFIED
from ..chain.model import DEFAULT_FILES, AgentKeys, Credentials, DefaultKeyFiles, KeyFile, KeyText
from ..errors import sanitize
from ..openssh.certificates import certifies
from ..openssh.known_hosts import fingerprint
from ..patched_paramiko.compat import paramiko
from ..patched_paramiko.packetizer import Incoming

_PUBLIC = re.compile(r"\s*(?:ssh|ecdsa|sk)-[^\s]+ ([A-Za-z0-9+/]+=*)(?:\s|$)")
_LOCKED = "it cannot be decrypted with the passphrase that is set"
_NEEDS_PASSPHRASE = "it needs a passphrase and none is set"
_TEXT = "the certificate given as text"
_UNKNOWN = "not a private key of a type that can be used (ed25519, ecdsa, rsa)"


@dataclass(frozen=True)
class LoginKey:
    """Hold a key that can sign.

    :param name: for messages: its file or other source, with its fingerprint.
    :param of_agent: its blob as the agent lists it; None if it is not an agent's.
    """

    key: paramiko.PKey
    name: str
    of_agent: bytes | None = None


class UnusableKey(Exception):
    """Signal that a configured key cannot be used. The text says which and why, and never quotes the key."""


def login_keys(credentials: Credentials, skip: Callable[[str], None]) -> Generator[LoginKey, None, None]:
    """Yield the keys of a login in order, each loaded when needed.

    A key comes with its certificates first, then without, as with ssh(1): a server may know only the key itself.

    :param skip: takes one line about each key that cannot be used, and is skipped.
    """
    certificates = _Certificates(credentials, skip)
    for identity in credentials.identities:
        if isinstance(identity, AgentKeys):
            yield from _agent_keys(identity, certificates, skip)
        elif isinstance(identity, DefaultKeyFiles):
            for path in DEFAULT_FILES:
                if os.path.exists(os.path.expanduser(path)):
                    yield from _loaded(KeyFile(path), credentials, certificates, skip)
        else:
            yield from _loaded(identity, credentials, certificates, skip)
    if not credentials.fallback:  # else a certificate may be for a fallback key
        certificates.name_unused()


class _Certificates:
    """Hold the certificates that may be for any of the keys: from CertificateFile, as text, or named as a key (ssh(1), -i).

    :param skip: as for :func:`login_keys`.
    """

    def __init__(self, credentials: Credentials, skip: Callable[[str], None]) -> None:
        self._skip = skip
        self._found: list[tuple[str, paramiko.pkey.PublicBlob]] = []
        self._used: set[str] = set()
        files = [key.path for key in credentials.identities if isinstance(key, KeyFile)]
        for path in credentials.certificates:
            self._add(path)
        for text in credentials.certificate_texts:
            self._add(_TEXT, text)
        for path in files:
            with contextlib.suppress(UnusableKey):
                if _is_certificate(text := _read(path)):
                    self._add(path, text)
        self._beside = [found for key in files if (found := _beside(key))]

    def _add(self, name: str, text: str | None = None) -> None:
        """Add a certificate.

        :param name: of its file, or a name for ``text``.
        """
        try:
            self._found.append((name, _certificate(name, _read(name) if text is None else text)))
        except UnusableKey as error:
            self._skip(str(error))

    def of(self, public: bytes, beside: bool = False) -> Iterator[tuple[str, paramiko.pkey.PublicBlob]]:
        """Yield the certificates of a key, with their names.

        :param public: the key's blob.
        :param beside: whether to include those beside key files, as for an agent's key.
        """
        further = []
        for path in self._beside if beside else ():
            with contextlib.suppress(UnusableKey):
                further.append((path, _certificate(path, _read(path))))
        for name, blob in (*self._found, *further):
            if certifies(blob.key_blob, public):
                self._used.add(name)
                yield name, blob

    def name_unused(self) -> None:
        """Report the certificates that are for none of the keys."""
        for name, _blob in self._found:
            if name not in self._used:
                self._skip(f"{name}: a certificate of none of the keys")


def _loaded(
    identity: KeyFile | KeyText, credentials: Credentials, certificates: _Certificates, skip: Callable[[str], None]
) -> Iterator[LoginKey]:
    try:
        if isinstance(identity, KeyFile):
            name, text = identity.path, _read(identity.path)
            if _is_certificate(text):
                return
            if _PUBLIC.match(text):  # selects a key of the agent (ssh(1), -i)
                raise UnusableKey(f"{name}: a public key, whose private key only an agent can have")
        else:
            name, text = "the key given as text", identity.text
        key_type, plain = _decrypted(text, identity.passphrase, credentials.password, name)
    except UnusableKey as error:
        skip(str(error))
        return
    key = _key(key_type, plain)
    label = f"{name} {fingerprint(key.asbytes())}"
    for which, blob in (*_own_certificate(identity, key.asbytes(), name, skip), *certificates.of(key.asbytes())):
        certified = _key(key_type, plain)
        certified.public_blob = blob
        yield LoginKey(certified, f"{label} with certificate {which}")
    yield LoginKey(key, label)


def _own_certificate(
    identity: KeyFile | KeyText, public: bytes, name: str, skip: Callable[[str], None]
) -> Iterator[tuple[str, paramiko.pkey.PublicBlob]]:
    """Yield the certificate that is configured for a key, or beside its file, with its name.

    :param name: of the key.
    """
    path = identity.certificate_file or (_beside(identity.path) if isinstance(identity, KeyFile) else None)
    try:
        if identity.certificate is not None:
            which, blob = _TEXT, _certificate(_TEXT, identity.certificate, name)
        elif path is not None:
            which, blob = path, _certificate(path, _read(path), name)
        else:
            return
        if not certifies(blob.key_blob, public):
            raise UnusableKey(f"{which}: not a certificate of {name}, but of another key")
        yield which, blob
    except UnusableKey as error:
        skip(str(error))


def _agent_keys(identity: AgentKeys, certificates: _Certificates, skip: Callable[[str], None]) -> Iterator[LoginKey]:
    listed = listed_keys(identity)
    try:
        agent = _Agent(identity.socket)
        keys = agent.get_keys()
    except (paramiko.SSHException, OSError, ValueError) as error:
        skip(f"the agent cannot be used: {sanitize(str(error))}")
        return
    try:
        for key in keys:
            if not is_listed(key.blob, listed):
                continue
            label = f"agent key {key.get_name()} {fingerprint(key.blob)}"
            if key.get_name().endswith(CERTIFIED):
                # Otherwise an RSA certificate would be offered as a plain key.
                key.public_blob = paramiko.pkey.PublicBlob(key.get_name(), key.blob)  # type: ignore[assignment]
            else:
                for path, blob in certificates.of(key.blob, beside=True):
                    key.public_blob = blob  # type: ignore[assignment]
                    yield LoginKey(key, f"{label} with certificate {path}", key.blob)
                    key.public_blob = None
            yield LoginKey(key, label, key.blob)
    finally:
        agent.close()


def listed_keys(identity: AgentKeys) -> set[bytes] | None:
    """Return the blobs of the agent's keys that may be used (IdentitiesOnly); None for all."""
    return None if identity.listed is None else set(_public_keys(identity.listed))


def is_listed(key: bytes, listed: set[bytes] | None) -> bool:
    """Return whether an agent's key or certificate has the same key as one of the listed keys and certificates."""
    return listed is None or any(_is_of(key, public) for public in listed)


class _Agent(paramiko.agent.AgentSSH):
    """Connect to the agent behind a socket. paramiko's Agent connects only to that of SSH_AUTH_SOCK.

    :param path: of the socket; None for SSH_AUTH_SOCK.
    :raises OSError: there is no agent.
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
        """Send a request. Let the comments in the answer be any bytes; paramiko requires UTF-8."""
        kind, answer = super()._send_message(msg)  # type: ignore[misc]
        answer.__class__ = Incoming
        return kind, answer

    def close(self) -> None:
        """Close the connection."""
        self._close()  # type: ignore[attr-defined]


def _public_keys(paths: tuple[str, ...]) -> Iterator[bytes]:
    """Yield the blobs of files that are public keys, or have one beside them."""
    for path in paths:
        for candidate in (path, f"{path}.pub"):
            with contextlib.suppress(UnusableKey, ValueError):
                found = _PUBLIC.match(_read(candidate))
                if found:
                    yield base64.b64decode(found[1])


def _is_of(key: bytes, public: bytes) -> bool:
    return key == public or certifies(key, public) or certifies(public, key)


def _is_certificate(text: str) -> bool:
    return bool(_PUBLIC.match(text)) and text.split(None, 1)[0].endswith(CERTIFIED)


def _certificate(which: str, text: str, name: str = "") -> paramiko.pkey.PublicBlob:
    """Parse a certificate.

    :param which: the certificate's name.
    :param name: the name of the key that it must be for; empty for any.
    """
    try:
        blob = paramiko.pkey.PublicBlob.from_string(text)
    except Exception as error:  # paramiko raises parse errors of several kinds
        of = f" of {name}: {sanitize(str(error))}" if name else ""
        raise UnusableKey(f"{which}: not a certificate{of}") from error
    if not name and not blob.key_type.endswith(CERTIFIED):
        raise UnusableKey(f"{which}: not a certificate")
    return blob


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
    """Return a key's type, and its text in OpenSSH's format without a passphrase, which every version of paramiko reads."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization as form

    data = text.encode("utf-8", "replace")
    # paramiko_ssh, too, accepted the password as the passphrase of a key file.
    secret = (passphrase or password or "").encode() or None
    own_format = b"BEGIN OPENSSH PRIVATE KEY" in data
    load = form.load_ssh_private_key if own_format else form.load_pem_private_key
    try:
        try:
            private = load(data, secret)
        except TypeError:  # a passphrase that is not needed, or one that is missing
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
    except ValueError as error:  # a curve without a name in SSH
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
