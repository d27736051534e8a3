# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection.
"""Read and check host certificates (OpenSSH's PROTOCOL.certkeys)."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from datetime import datetime, timezone

from ..chain.key_types import CERTIFIED, first_string
from ..errors import sanitize
from .known_hosts import fingerprint

# Signature algorithms of authorities; ssh-rsa is excluded, as it uses SHA-1 (RFC 8332).
_SIGNATURES = frozenset(
    {
        "ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521", "rsa-sha2-256", "rsa-sha2-512",
    }
)  # fmt: skip


@dataclass(frozen=True)
class HostCertificate:
    """Hold the contents of a certificate whose signature has been verified.

    :param blob: the certificate in wire format.
    :param of_host: whether it is a host's certificate, not a user's.
    :param principals: the host names that it is valid for.
    :param after: first second of its validity, since the epoch.
    :param before: end of its validity in seconds since the epoch, exclusive.
    :param authority: the key that signed it, in wire format.
    :param algorithm: the signature algorithm.
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
    """Return whether a certificate is for a key: it consists of type, nonce, the key's fields after its type, and more."""
    kind, plain = first_string(certificate), first_string(public)
    return kind == plain + CERTIFIED.encode() and _after_string(_after_string(certificate)).startswith(
        _after_string(public)
    )


def _after_string(blob: bytes) -> bytes:
    return blob[4 + len(first_string(blob)) :]


class BadCertificate(Exception):
    """Report a certificate that is malformed or whose signature is invalid; the text says which."""


def can_be_read() -> bool:
    """Return whether the installed cryptography supports certificates."""
    with contextlib.suppress(ImportError):
        from cryptography.hazmat.primitives.serialization import load_ssh_public_identity  # noqa: F401

        return True
    return False


def read_certificate(key_type: str, blob: bytes) -> HostCertificate:
    """Return the contents of a certificate, with its signature verified.

    :param blob: the certificate in wire format.
    :raises BadCertificate: it is malformed, or its signature is invalid.
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
    except Exception as error:  # cryptography raises errors of several kinds
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
    """Return why a certificate is not valid for a host; empty if it is.

    :param host: the host's name in lower case, without a port.
    :param algorithms: allowed signature algorithms (CASignatureAlgorithms); None for all safe ones.
    :param now: seconds since the epoch; None for the current time.
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
    """Return the signature algorithm: the first string of the signature, the last field, which follows the authority's key.

    :raises ValueError: the certificate encodes the key differently, so that it is not found.
    """
    signature = blob[blob.rindex(authority) + len(authority) + 4 :]
    return first_string(signature).decode("ascii", "replace")


def _date(seconds: int) -> str:
    try:
        return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (OverflowError, ValueError, OSError):
        return "the end of time"
