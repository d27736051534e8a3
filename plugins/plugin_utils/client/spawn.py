# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection.
"""Start the broker, once, however many workers need it at the same time.

The first worker binds the socket and hands it over; the others wait for its lock. The socket gets its name only when the broker is
ready, so that no worker waits for one that cannot run. The broker is a new program in its own session and inherits only the socket, so
that it keeps no worker, terminal or pipe open and depends on none.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import select
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from typing import BinaryIO, cast

from ..deadline import Deadline
from ..errors import sanitize
from .address import BrokerUnavailable, Directory, is_lasting

_MAIN = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "broker", "__main__.py")
# What a program needs to find its files. Nothing else, as a variable may hold a secret, and each run names its own agent.
_ENVIRONMENT = (
    "HOME", "LANG", "LC_ALL", "LC_CTYPE", "LD_LIBRARY_PATH", "LOGNAME", "PATH", "PYTHONDONTWRITEBYTECODE", "PYTHONHASHSEED",
    "PYTHONHOME", "PYTHONPATH", "PYTHONWARNINGS", "SHELL", "TMPDIR", "TZ", "USER", "VIRTUAL_ENV", "XDG_RUNTIME_DIR",
)  # fmt: skip
# Freed memory is overwritten at once (glibc.malloc.perturb: any byte but 0), as it may have held a secret. For that, Python must
# allocate each object from glibc, without the caches of threads, which are not overwritten. Other C libraries ignore this.
# glibc's heaps (arenas) are limited, as they do not shrink: 15 of them held 40 MB of unused memory.
_ENVIRONMENT_OF_OURS = {
    "PYTHONMALLOC": "malloc",
    "GLIBC_TUNABLES": "glibc.malloc.perturb=165:glibc.malloc.tcache_count=0:glibc.malloc.arena_max=2",
}
#: Length of the socket's queue, in workers; the system may allow fewer.
WAITING = 4096
#: The last line that a broker sends to its starter.
READY = b"ready\n"
_START_SECONDS = 60.0


def start(directory: Directory, name: str) -> socket.socket:
    """Return a connection to the broker, after starting it unless another process already has.

    :raises BrokerUnavailable: the broker cannot be started.
    """
    try:
        with locked(directory, name):
            sock = directory.connect(f"{name}.sock")
            if sock is not None:
                return sock
            try:
                with contextlib.closing(_bound(directory, f"{name}.new")) as listening:
                    _execute(directory, name, listening)
                directory.rename(f"{name}.new", f"{name}.sock")
            finally:
                directory.remove(f"{name}.new")
            sock = directory.connect(f"{name}.sock")
    except OSError as error:
        raise BrokerUnavailable(f"{directory.path}: {error.strerror or error}", is_lasting(error)) from error
    if sock is None:
        raise BrokerUnavailable(f"the broker ended at once; see {directory.path}/broker.log")
    return sock


@contextlib.contextmanager
def locked(directory: Directory, name: str) -> Iterator[None]:
    """Hold the lock for starting or ending a broker; its file is removed afterwards.

    :raises TimeoutError: another process holds it for longer than a start may take.
    """
    lock, deadline = f"{name}.lock", Deadline(1.5 * _START_SECONDS)
    while True:
        descriptor = directory.open(lock, os.O_RDWR | os.O_CREAT)
        try:
            _take(descriptor, deadline)
            if os.fstat(descriptor).st_ino != directory.inode(lock):
                continue  # its previous holder has removed it
            try:
                yield
            finally:
                directory.remove(lock)
            return
        finally:
            os.close(descriptor)


def _take(descriptor: int, deadline: Deadline) -> None:
    try:
        deadline.limit(lambda: fcntl.flock(descriptor, fcntl.LOCK_EX))
    except TimeoutError:
        raise TimeoutError(errno.ETIMEDOUT, "another process starts a broker, and is not done with it") from None


def _bound(directory: Directory, name: str) -> socket.socket:
    directory.remove(name)  # left by a start that was killed
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
    """Start the broker, and wait until it is ready."""
    process = subprocess.Popen(
        [sys.executable, _MAIN, directory.path, name, json.dumps(sys.path)],
        stdin=listening.fileno(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd="/",
        env=environment(os.environ),
        start_new_session=True,
    )
    # Reap it if it ends before this process.
    threading.Thread(target=process.wait, name="broker-reaper", daemon=True).start()
    with cast(BinaryIO, process.stdout) as output:
        words = _heard(output.fileno())
    if not words.endswith(READY):
        process.kill()
        last = sanitize(words.strip().rpartition(b"\n")[2])
        raise BrokerUnavailable(f"the broker cannot run: {last or 'it was not ready in time, or was killed'}")


def _heard(descriptor: int) -> bytes:
    """Return the broker's output until it is ready, has ended, or has taken too long."""
    words, deadline = b"", Deadline(_START_SECONDS)
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    while not words.endswith(READY) and poll.poll(1000 * deadline.remaining()):
        piece = os.read(descriptor, 65536)
        if not piece:
            break
        words += piece
    return words


def environment(ours: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of the broker, given ours."""
    return _ENVIRONMENT_OF_OURS | {name: value for name, value in ours.items() if name in _ENVIRONMENT}
