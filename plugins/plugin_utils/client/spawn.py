# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection.
"""Starting the broker: one, however many workers want it at once.

Whoever comes first binds the socket and hands it over; the others wait for its lock. Only when the broker says that it is
ready does the socket get its name, so that nobody waits for one that cannot run. The broker is executed anew, in a session
of its own, and keeps nothing but the socket: no worker, terminal or pipe can hold it, and it holds none.
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
# What a program needs to find its files. Nothing else: a variable may hold a secret, and each run names its own agent.
_ENVIRONMENT = (
    "HOME", "LANG", "LC_ALL", "LC_CTYPE", "LD_LIBRARY_PATH", "LOGNAME", "PATH", "PYTHONDONTWRITEBYTECODE", "PYTHONHASHSEED",
    "PYTHONHOME", "PYTHONPATH", "PYTHONWARNINGS", "SHELL", "TMPDIR", "TZ", "USER", "VIRTUAL_ENV", "XDG_RUNTIME_DIR",
)  # fmt: skip
# What is freed is overwritten at once (glibc.malloc.perturb: any byte but 0), as it may have been a secret: Python asks glibc for
# each object, and no thread keeps freed ones aside, which are not overwritten. Other C libraries do not know of it.
# Each thread may have a heap of its own in glibc, which keeps what it had once; 15 heaps were 40 MB that nobody used.
_ENVIRONMENT_OF_OURS = {
    "PYTHONMALLOC": "malloc",
    "GLIBC_TUNABLES": "glibc.malloc.perturb=165:glibc.malloc.tcache_count=0:glibc.malloc.arena_max=2",
}
#: Workers in the socket's queue; the system may allow fewer.
WAITING = 4096
#: The last word of a broker to its starter.
READY = b"ready\n"
_START_SECONDS = 60.0


def start(directory: Directory, name: str) -> socket.socket:
    """A connection to the broker, which is started unless somebody was faster.

    :raises BrokerUnavailable: it cannot be started.
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
    """Nobody else starts or ends this broker meanwhile. The file of the lock goes with it.

    :raises TimeoutError: somebody has it for longer than a start may take.
    """
    lock, deadline = f"{name}.lock", Deadline(1.5 * _START_SECONDS)
    while True:
        descriptor = directory.open(lock, os.O_RDWR | os.O_CREAT)
        try:
            _take(descriptor, deadline)
            if os.fstat(descriptor).st_ino != directory.inode(lock):
                continue  # whoever had it has removed it
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
    """Starts it, and waits until it is ready."""
    process = subprocess.Popen(
        [sys.executable, _MAIN, directory.path, name, json.dumps(sys.path)],
        stdin=listening.fileno(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd="/",
        env=environment(os.environ),
        start_new_session=True,
    )
    # Reaped if it ends before we do.
    threading.Thread(target=process.wait, name="broker-reaper", daemon=True).start()
    with cast(BinaryIO, process.stdout) as output:
        words = _heard(output.fileno())
    if not words.endswith(READY):
        process.kill()
        last = sanitize(words.strip().rpartition(b"\n")[2])
        raise BrokerUnavailable(f"the broker cannot run: {last or 'it was not ready in time, or was killed'}")


def _heard(descriptor: int) -> bytes:
    """What the broker says until it is ready, has ended, or has taken too long."""
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
    """What of our environment the broker gets."""
    return _ENVIRONMENT_OF_OURS | {name: value for name, value in ours.items() if name in _ENVIRONMENT}
