# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make key pairs, certificates and known_hosts files with ssh-keygen."""

from __future__ import annotations

import base64
import hashlib
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

RSA_BITS = "2048"


def _ssh_keygen(*arguments: str) -> str:
    command = ["ssh-keygen", *arguments]
    result = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    if result.returncode:
        raise RuntimeError(f"ssh-keygen {arguments[0]}: {result.stderr.strip()}")
    return result.stdout


@dataclass(frozen=True)
class Key:
    """Locate a private key file, with its public key beside it."""

    path: Path
    passphrase: str | None = field(default=None, repr=False)

    @property
    def private(self) -> str:
        """Return the text of the private key file."""
        return self.path.read_text()

    @property
    def public(self) -> str:
        """Return the public key as in authorized_keys and known_hosts: type and base64."""
        return " ".join(Path(f"{self.path}.pub").read_text().split()[:2])

    @property
    def fingerprint(self) -> str:
        """Return the fingerprint as OpenSSH prints it: SHA256:..."""
        return fingerprint(self.public)

    @property
    def certificate(self) -> Path:
        """Return the path at which OpenSSH looks for the certificate of this key."""
        return Path(f"{self.path}-cert.pub")


def fingerprint(public: str) -> str:
    """Return the SHA256 fingerprint of a public key line (type and base64)."""
    digest = hashlib.sha256(base64.b64decode(public.split()[1])).digest()
    return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")


def make_key(path: Path, type: str = "ed25519", passphrase: str | None = None, pem: bool = False) -> Key:
    """Make a key pair; pem: in the traditional format of OpenSSL instead of OpenSSH's own."""
    path.unlink(missing_ok=True)
    bits = ["-b", RSA_BITS] if type == "rsa" else []
    form = ["-m", "PEM"] if pem else []
    _ssh_keygen("-q", "-t", type, *bits, *form, "-N", passphrase or "", "-C", path.name, "-f", str(path))
    return Key(path, passphrase)


def certify(
    ca: Key,
    key: Key,
    principals: Sequence[str],
    *,
    host: bool = False,
    validity: str = "-5m:+1h",
    serial: int = 1,
    options: Iterable[str] = (),
    out: Path | None = None,
) -> Path:
    """Issue a certificate for a key, beside the key or at ``out``; without principals, their list is empty.

    The validity is as of ssh-keygen -V, so "-2h:-1h" has expired.
    """
    names = ["-n", ",".join(principals)] if principals else []
    kind = ["-h"] if host else []
    more = [word for option in options for word in ("-O", option)]
    _ssh_keygen(
        "-q", "-s", str(ca.path), "-I", key.path.name, *kind, *names, "-V", validity, "-z", str(serial), *more,
        f"{key.path}.pub",
    )  # fmt: skip
    if out:
        shutil.move(key.certificate, out)
    return out or key.certificate


def known_hosts_name(host: str, port: int = 22) -> str:
    """Return the name of a server in known_hosts: bare on port 22, else [host]:port."""
    return host if port == 22 else f"[{host}]:{port}"


def write_known_hosts(path: Path, lines: Iterable[str], hashed: bool = False) -> Path:
    """Write a known_hosts file; hashed: with hashed names, as by `ssh-keygen -H`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))
    path.chmod(0o600)
    if hashed:
        _ssh_keygen("-H", "-f", str(path))
        Path(f"{path}.old").unlink()
    return path
