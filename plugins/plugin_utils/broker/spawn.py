# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Starting the broker: one, however many workers want it at once.

Whoever comes first binds the socket and hands it over, so that the others can connect, and wait there, from that moment on.
The broker is executed anew, in a session of its own, and inherits nothing but the socket: no worker, terminal or pipe can
hold it, and it holds none.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping

from .address import Directory, NoBroker

_MAIN = os.path.join(os.path.dirname(os.path.abspath(__file__)), "__main__.py")
# What a program needs to find its files and its agent. Nothing else: a variable may hold a secret.
_ENVIRONMENT = (
    "HOME", "LANG", "LC_ALL", "LC_CTYPE", "LD_LIBRARY_PATH", "LOGNAME", "PATH", "PYTHONDONTWRITEBYTECODE", "PYTHONHASHSEED",
    "PYTHONPATH", "PYTHONWARNINGS", "SHELL", "SSH_AUTH_SOCK", "TMPDIR", "TZ", "USER", "VIRTUAL_ENV", "XDG_RUNTIME_DIR",
)  # fmt: skip
#: Workers in the socket's queue; the system may allow fewer.
WAITING = 4096


def start(directory: Directory, name: str) -> socket.socket:
    """A connection to the broker, which is started unless somebody was faster.

    :raises NoBroker: it cannot be started.
    """
    try:
        with locked(directory, name):
            sock = directory.connect(f"{name}.sock")
            if sock is not None:
                return sock
            with contextlib.closing(_bound(directory, f"{name}.sock")) as listening:
                _execute(directory, name, listening)
            sock = directory.connect(f"{name}.sock")
    except OSError as error:
        raise NoBroker(f"{directory.path}: {error.strerror or error}") from error
    if sock is None:
        raise NoBroker(f"the broker ended at once; see {directory.path}/broker.log")
    return sock


@contextlib.contextmanager
def locked(directory: Directory, name: str) -> Iterator[None]:
    """Nobody else starts or ends this broker meanwhile. The file of the lock goes with it."""
    lock = f"{name}.lock"
    while True:
        descriptor = directory.open(lock, os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if os.fstat(descriptor).st_ino != directory.inode(lock):
                continue  # whoever had it has removed it
            try:
                yield
            finally:
                directory.remove(lock)
            return
        finally:
            os.close(descriptor)


def _bound(directory: Directory, name: str) -> socket.socket:
    directory.remove(name)  # of a broker that was killed: nobody listens there
    listening = socket.socket(socket.AF_UNIX)
    try:
        mask = os.umask(0o177)
        try:
            listening.bind(directory.address(name))
        finally:
            os.umask(mask)
        listening.listen(WAITING)
    except BaseException:
        listening.close()
        raise
    return listening


def _execute(directory: Directory, name: str, listening: socket.socket) -> None:
    process = subprocess.Popen(
        [sys.executable, _MAIN, directory.path, name],
        stdin=listening.fileno(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
        env=environment(os.environ),
        start_new_session=True,
    )
    # Reaped if it ends before we do.
    threading.Thread(target=process.wait, name="broker-reaper", daemon=True).start()


def environment(ours: Mapping[str, str]) -> dict[str, str]:
    """What of our environment the broker gets."""
    return {name: value for name, value in ours.items() if name in _ENVIRONMENT}
