# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection.
"""Certificates of hosts (OpenSSH's PROTOCOL.certkeys): what is in one, and what speaks against it."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from datetime import datetime, timezone

from ..chain.key_types import CERTIFIED, first_string
from ..errors import sanitize
from .known_hosts import fingerprint

# Never SHA-1's; of RSA, only these (RFC 8332).
_SIGNATURES = frozenset(
    {
        "ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521", "rsa-sha2-256", "rsa-sha2-512",
    }
)  # fmt: skip


@dataclass(frozen=True)
class HostCertificate:
    """What a certificate says; its signature has been verified.

    :param authority: the key that signed it, as on the wire.
    :param algorithm: that it was signed with.
    :param after: seconds since 1970 from which it is valid, as ``before`` is the end of that.
    """

    blob: bytes
    of_host: bool
    principals: tuple[str, ...]
    after: int
    before: int
    critical_options: tuple[str, ...]
    authority: bytes
    algorithm: str

    def __str__(self) -> str:
        return f"the certificate of the authority {fingerprint(self.authority)}"


def certifies(certificate: bytes, public: bytes) -> bool:
    """Whether a certificate is of a key: it is type, nonce, and the fields of the public key after its type."""
    kind, plain = first_string(certificate), first_string(public)
    return kind == plain + CERTIFIED.encode() and _after_string(_after_string(certificate)).startswith(
        _after_string(public)
    )


def _after_string(blob: bytes) -> bytes:
    return blob[4 + len(first_string(blob)) :]


class BadCertificate(Exception):
    """It cannot be read, or its signature is not its authority's; the text says which."""


def can_be_read() -> bool:
    """Whether the library can read certificates at all."""
    with contextlib.suppress(ImportError):
        from cryptography.hazmat.primitives.serialization import load_ssh_public_identity  # noqa: F401

        return True
    return False


def read_certificate(key_type: str, blob: bytes) -> HostCertificate:
    """What is in a certificate.

    :raises BadCertificate: nothing that could be trusted.
    """
    import base64

    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import serialization as form

    try:
        found = form.load_ssh_public_identity(f"{key_type} {base64.b64encode(blob).decode()}".encode())
        if not isinstance(found, form.SSHCertificate):
            raise BadCertificate("it is no certificate")
        found.verify_cert_signature()
        signer = found.signature_key().public_bytes(form.Encoding.OpenSSH, form.PublicFormat.OpenSSH)
        authority = base64.b64decode(signer.split()[1])
        algorithm = _signed_with(blob, authority)
    except InvalidSignature:
        raise BadCertificate("its signature is not its authority's") from None
    except BadCertificate:
        raise
    except Exception as error:  # the library lets errors of several kinds through
        raise BadCertificate(f"it cannot be read: {sanitize(str(error)) or type(error).__name__}") from error
    return HostCertificate(
        blob=blob,
        of_host=found.type == form.SSHCertificateType.HOST,
        principals=tuple(name.decode("utf-8", "surrogateescape") for name in found.valid_principals),
        after=found.valid_after,
        before=found.valid_before,
        critical_options=tuple(sanitize(name, 60) for name in found.critical_options),
        authority=authority,
        algorithm=algorithm,
    )


def rejection_reason(
    certificate: HostCertificate, host: str, algorithms: tuple[str, ...] | None, now: float | None = None
) -> str:
    """What speaks against a certificate for a host; empty if nothing does.

    :param host: the name that was asked for, in lower case, without a port.
    :param algorithms: that an authority may sign with (CASignatureAlgorithms); None for all that are safe.
    :param now: seconds since 1970.
    """
    moment = time.time() if now is None else now
    if not certificate.of_host:
        return "it is a user's, not a host's"
    if not certificate.principals:
        return "it names no host"
    if host not in (name.lower() for name in certificate.principals):
        return f"it is not for {host}, but for {', '.join(sanitize(name, 60) for name in certificate.principals)}"
    if moment < certificate.after:
        return f"it is not valid before {_date(certificate.after)}"
    if moment >= certificate.before:
        return f"it was valid until {_date(certificate.before)}"
    if certificate.critical_options:
        return f"it has critical options that are not known: {', '.join(certificate.critical_options)}"
    if certificate.algorithm not in _SIGNATURES or (algorithms is not None and certificate.algorithm not in algorithms):
        return (
            f"it was signed with {sanitize(certificate.algorithm, 60)}, which is not accepted (CASignatureAlgorithms)"
        )
    return ""


def _signed_with(blob: bytes, authority: bytes) -> str:
    """The signature is the last field, after the authority's key, and begins with its algorithm.

    :raises ValueError: the key is written in another way than it would be by us.
    """
    signature = blob[blob.rindex(authority) + len(authority) + 4 :]
    return first_string(signature).decode("ascii", "replace")


def _date(seconds: int) -> str:
    try:
        return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (OverflowError, ValueError, OSError):
        return "the end of time"
