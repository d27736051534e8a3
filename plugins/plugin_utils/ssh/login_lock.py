# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection.
"""Serialize logins, so that a wrong password is one failed login, however many workers use it.

Servers count failures, and lock accounts and addresses out. Until a login has succeeded once, one worker at a time tries it; once it
was refused, it is not tried again in this run. Workers are separate processes, so they share a private directory of the run, with one
locked file per login. Its name is a keyed digest of everything that defines the login, its content the outcome. The key is in no
file, so the directory cannot be used to check guesses of a password.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import hmac
import os
import time
from collections.abc import Callable, Iterator
from io import FileIO
from pathlib import Path

from ..chain.identity import login_of
from ..chain.model import Hop, canonical
from ..deadline import Deadline, Heartbeat
from ..errors import HopUnreachable, LoginRefused

_PROVEN = b"proven"
_POLL = 0.02


class LoginLock:
    """Serialize logins until they have succeeded once, and remember refused ones.

    :param directory: private to the user, and existing for one run; None for no locking.
    :param key: a secret shared by the processes of the run; None for no locking.
    """

    def __init__(self, directory: str | None, key: str | None) -> None:
        self._directory = Path(directory, "bastion-ssh-logins") if directory else None
        self._key = key.encode() if key else None

    @contextlib.contextmanager
    def hold(
        self, way: tuple[Hop, ...], place: str, deadline: Deadline, waits: Callable[[], None] = lambda: None
    ) -> Iterator[None]:
        """Hold the lock for a login to the last of some hops, and record the outcome of the login inside.

        :param way: the hops from the first one to that of the login.
        :param place: the last hop as errors name it.
        :param waits: called every few seconds while waiting for the lock.
        :raises LoginRefused: this login was refused before in this run.
        :raises HopUnreachable: the lock was not free in time.
        """
        path = self._path(way)
        if path is None:
            yield
            return
        unproven = False
        with contextlib.ExitStack() as turn:
            if _read(path) != _PROVEN:
                outcome = turn.enter_context(_locked(path, place, deadline, waits))
                unproven = not outcome
                if outcome and outcome != _PROVEN:
                    raise LoginRefused(
                        place,
                        f"not tried again, since this login was refused before in this run: {outcome.decode()}",
                        f"Check {way[-1].credential_settings}.",
                    )
                if outcome == _PROVEN:
                    turn.close()  # let all waiting workers log in at once
            try:
                yield
            except LoginRefused as error:  # also of a proven login, as its password may change during the run
                _write(path, error.problem.encode("utf-8", "replace"))
                raise
            if unproven:
                _write(path, _PROVEN)

    def forget(self, way: tuple[Hop, ...]) -> None:
        """Allow a refused login to be tried again: a reset of the connection suggests that the host has changed."""
        path = self._path(way)
        if path is not None and _read(path) not in (b"", _PROVEN):
            with contextlib.suppress(OSError):
                path.unlink()

    def _path(self, way: tuple[Hop, ...]) -> Path | None:
        """Return the file of a login; None for no locking."""
        if self._directory is None or self._key is None:
            return None
        try:
            self._directory.mkdir(mode=0o700, exist_ok=True)
        except OSError:
            return None
        identity = repr([canonical(login_of(hop)) for hop in way]).encode()
        return self._directory / hmac.new(self._key, identity, hashlib.sha256).hexdigest()


# A failure to record an outcome is not an error: the disk may be full, read-only, without inodes or locks, or gone.


def _write(path: Path, outcome: bytes) -> None:
    with contextlib.suppress(OSError):
        path.write_bytes(outcome)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


@contextlib.contextmanager
def _locked(path: Path, place: str, deadline: Deadline, waits: Callable[[], None]) -> Iterator[bytes]:
    """Lock a login's file, and yield the outcome recorded in it; empty if there is none."""
    stream = _opened(path)
    if stream is None:
        yield _read(path)
        return
    heart = Heartbeat(waits)
    with stream:
        while not _try_lock(stream):
            if deadline.expired:
                raise HopUnreachable(
                    place,
                    f"another worker is logging in to it and got no answer within {deadline.seconds:g} seconds",
                    "See the error of that worker's host; or give this hop a longer timeout.",
                )
            heart.beat()
            time.sleep(_POLL)
        yield stream.readall()


def _opened(path: Path) -> FileIO | None:
    try:
        return FileIO(os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600), "r+")
    except OSError:
        return None


def _try_lock(stream: FileIO) -> bool:
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # the file system has no locks
        return True
    return True
