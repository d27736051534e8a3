# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private keys for a login: from files, from text, from the agent, with their certificates."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import paramiko

from ..chain.model import AgentKeys, Credentials, DefaultKeyFiles, Identity, KeyFile, KeyText
from ..errors import said
from .known_hosts import fingerprint

# As ssh(1), of the types that paramiko has.
_DEFAULT_FILES = ("~/.ssh/id_rsa", "~/.ssh/id_ecdsa", "~/.ssh/id_ed25519")
_KEY_TYPES: tuple[type[paramiko.PKey], ...] = (paramiko.Ed25519Key, paramiko.ECDSAKey, paramiko.RSAKey)


@dataclass(frozen=True)
class LoginKey:
    """A key that can sign.

    :param name: for messages: the file, or where else it came from, with its fingerprint.
    """

    key: paramiko.PKey
    name: str


class UnusableKey(Exception):
    """A key that was named and cannot be used; the text says which and why, and never quotes it."""


def login_keys(credentials: Credentials, skip: Callable[[str], None]) -> Iterator[LoginKey]:
    """The keys of a login, in order, each loaded when its turn comes.

    :param skip: takes one line about each key that cannot be used; the login goes on without it.
    """
    for identity in credentials.identities:
        if isinstance(identity, AgentKeys):
            yield from _agent_keys(skip)
        elif isinstance(identity, DefaultKeyFiles):
            for path in _DEFAULT_FILES:
                if os.path.exists(os.path.expanduser(path)):
                    yield from _loaded(KeyFile(path), credentials, skip)
        else:
            yield from _loaded(identity, credentials, skip)


def _loaded(identity: Identity, credentials: Credentials, skip: Callable[[str], None]) -> Iterator[LoginKey]:
    try:
        # A password that unlocks a key file is what paramiko_ssh accepted, too.
        if isinstance(identity, KeyFile):
            yield _from_file(identity, credentials.password)
        elif isinstance(identity, KeyText):
            yield _from_text(identity, credentials.password)
    except UnusableKey as error:
        skip(str(error))


def _agent_keys(skip: Callable[[str], None]) -> Iterator[LoginKey]:
    try:
        agent = paramiko.Agent()
        keys = agent.get_keys()
    except (paramiko.SSHException, OSError, ValueError) as error:
        skip(f"the agent cannot be used: {said(str(error))}")
        return
    try:
        for key in keys:
            yield LoginKey(key, f"agent key {key.get_name()} {fingerprint(key.blob)}")
    finally:
        agent.close()


def _from_file(identity: KeyFile, password: str | None) -> LoginKey:
    path = os.path.expanduser(identity.path)
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            text = stream.read()
    except OSError as error:
        raise UnusableKey(f"{identity.path}: {error.strerror or error}") from error
    key = _parse(text, identity.passphrase or password, identity.path)
    certificate = identity.certificate_file
    beside = f"{path}-cert.pub"
    if certificate is None and os.path.exists(beside):
        certificate = beside
    return _with_certificate(key, certificate, identity.path)


def _from_text(identity: KeyText, password: str | None) -> LoginKey:
    # YAML folds and variables strip: a key without its last newline is still that key.
    text = identity.text.strip().replace("\r\n", "\n") + "\n"
    key = _parse(text, identity.passphrase or password, "the key given as text")
    return _with_certificate(key, identity.certificate_file, "the key given as text")


def _parse(text: str, passphrase: str | None, name: str) -> paramiko.PKey:
    """Tries each type, as paramiko's own client does: only the right one can read the key."""
    problem = "not a private key of a type that can be used (ed25519, ecdsa, rsa)"
    for key_type in _KEY_TYPES:
        for secret in dict.fromkeys((passphrase, None)):
            try:
                return key_type.from_private_key(io.StringIO(text), secret)
            except paramiko.PasswordRequiredException:
                problem = "it needs a passphrase and none is set"
            except (paramiko.SSHException, ValueError, TypeError, IndexError) as error:
                if passphrase is not None and "BEGIN" in text and _is_decryption_failure(error):
                    problem = "it cannot be decrypted with the passphrase that is set"
    raise UnusableKey(f"{name}: {problem}")


def _is_decryption_failure(error: Exception) -> bool:
    words = str(error).lower()
    return any(word in words for word in ("decrypt", "checkints", "corrupt", "passphrase", "password"))


def _with_certificate(key: paramiko.PKey, certificate: str | None, name: str) -> LoginKey:
    label = f"{name} {fingerprint(key.asbytes())}"
    if certificate is None:
        return LoginKey(key, label)
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
    return LoginKey(key, f"{label} with certificate {certificate}")
