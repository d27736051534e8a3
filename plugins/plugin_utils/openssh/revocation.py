# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection.
"""Check host keys for revocation (ssh_config(5), RevokedHostKeys): in a list of keys, or with ssh-keygen(1) in a KRL."""

from __future__ import annotations

import base64
import os
import subprocess
from pathlib import Path

from .certificates import certifies

_KRL = b"SSHKRL\n\0"
_REVOKED, _FINE = 1, 0
_SECONDS = 30.0


class NotChecked(Exception):
    """Report that a key could not be checked for revocation; the text says why."""


def is_revoked(path: str, key_type: str, blob: bytes) -> bool:
    """Return whether a file revokes a key or a certificate.

    :param key_type: the type of the key or certificate.
    :param blob: the key or certificate in wire format.
    :raises NotChecked: the file cannot be read or ssh-keygen failed.
    """
    file = Path(os.path.expanduser(path))
    try:
        content = file.read_bytes()
    except OSError as error:
        raise NotChecked(f"{path}: {error.strerror or error}") from error
    if content.startswith(_KRL):
        return _asked(file, key_type, blob)
    lines = (line for line in content.splitlines() if not line.lstrip().startswith(b"#"))
    return any(_names(field, blob) for line in lines for field in line.split())


def _names(field: bytes, blob: bytes) -> bool:
    """Return whether a field of a line is this key, or the key of this certificate."""
    try:
        listed = base64.b64decode(field, validate=True)
    except ValueError:
        return False
    return listed == blob or certifies(listed, blob)


def _asked(krl: Path, key_type: str, blob: bytes) -> bool:
    line = f"{key_type} {base64.b64encode(blob).decode()}\n"
    command = ["ssh-keygen", "-Q", "-f", str(krl), "/dev/stdin"]
    try:
        answer = subprocess.run(command, input=line.encode(), capture_output=True, timeout=_SECONDS, check=False)
    except FileNotFoundError:
        raise NotChecked(f"{krl}: a KRL takes ssh-keygen to read, which is not installed here") from None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotChecked(f"{krl}: ssh-keygen: {error}") from error
    if answer.returncode not in (_REVOKED, _FINE):
        raise NotChecked(f"{krl}: {answer.stderr.decode('utf-8', 'replace')}")
    return answer.returncode == _REVOKED
