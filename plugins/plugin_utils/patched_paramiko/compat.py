# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection.
"""Import paramiko or, if it is missing, define those of its names that the collection needs to be imported and documented."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import TYPE_CHECKING


@contextlib.contextmanager
def _without(name: str) -> Iterator[None]:
    """Hide an optional module while paramiko is imported.

    paramiko imports invoke for Match exec in its own reader of ssh_config, which is not used here. That takes a third of the time
    of the import, and 7 MiB.
    """
    if name in sys.modules:
        yield
        return
    sys.modules[name] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[name]


if TYPE_CHECKING:
    import paramiko
    from cryptography.exceptions import InvalidTag
else:
    try:
        with _without("invoke"):
            import paramiko
        from cryptography.exceptions import InvalidTag
    except ImportError:
        InvalidTag = OSError

        class _Base:
            _channel_handler_table = {}  # noqa: RUF012
            _kex_info = {}  # noqa: RUF012
            _preferred_ciphers = ()
            _preferred_kex = ()

        paramiko = SimpleNamespace(
            ServiceRequestingTransport=_Base,
            Transport=_Base,
            agent=SimpleNamespace(AgentSSH=object),
            auth_handler=SimpleNamespace(AuthOnlyHandler=object),
            Channel=object,
            Message=object,
            buffered_pipe=SimpleNamespace(BufferedPipe=object),
            kex_gex=SimpleNamespace(KexGexSHA256=object),
            kex_group14=SimpleNamespace(KexGroup14SHA256=object),
            kex_group16=SimpleNamespace(KexGroup16SHA512=object),
            packet=SimpleNamespace(Packetizer=object),
            SFTPClient=object,
            SSHConfig=object,
            SSHException=OSError,
            SFTPError=OSError,
            Ed25519Key=None,
            ECDSAKey=None,
            RSAKey=None,
            __version__="",
        )

#: What any call of paramiko may raise when a connection has ended or is broken.
BROKEN = (paramiko.SSHException, paramiko.SFTPError, EOFError, OSError)

_OLDEST = (3, 4)  # the first with strict key exchange (CVE-2023-48795)


def why_unusable() -> str:
    """Return why this paramiko cannot be used and what to do; empty if it can be used."""
    found = str(paramiko.__version__)
    if found and tuple(int(part) for part in found.split(".")[:2]) >= _OLDEST:
        return ""
    what = f"paramiko {found} is too old" if found else "paramiko is not installed"
    return (
        f"{what}: bastion.ssh.jump needs {'.'.join(map(str, _OLDEST))} or newer in the Python that runs Ansible; "
        f"install it with: {sys.executable} -m pip install 'paramiko>=3.4'"
    )


__all__ = ["BROKEN", "InvalidTag", "paramiko", "why_unusable"]
