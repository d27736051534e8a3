# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection.
"""One wrong password is one failed login, however many workers want to use it.

Servers count failures, and lock accounts and addresses out. Until a login has succeeded once, one worker at a
time tries it; once it was refused, nobody tries it again in this run. Workers are separate processes, so they
meet in a private directory of the run: a locked file per login, named by a digest of everything that makes that login, in
which stands how it went. The digest's key is in no file, so that nothing in the directory tells a right guess of a password from a
wrong one.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import hmac
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from io import FileIO
from pathlib import Path

from ..chain.model import Hop, TransportOptions, canonical
from ..deadline import Deadline, Heartbeat
from ..errors import HopUnreachable, LoginRefused

_PROVEN = b"proven"
_POLL = 0.02


class LoginLock:
    """Who may log in to a hop now.

    :param directory: exists for one run and is private to its user; None where there is none, and then
        everyone may at any time.
    :param key: a secret that the processes of the run share; None for none, and then the same.
    """

    def __init__(self, directory: str | None, key: str | None) -> None:
        self._directory = Path(directory, "bastion-ssh-logins") if directory else None
        self._key = key.encode() if key else None

    @contextlib.contextmanager
    def hold(
        self, way: tuple[Hop, ...], place: str, deadline: Deadline, waits: Callable[[], None] = lambda: None
    ) -> Iterator[None]:
        """Holds the turn to log in to the last hop of a way, and records how the login inside went.

        :param waits: called now and then until it comes.
        :raises LoginRefused: this login was refused before in this run.
        :raises HopUnreachable: the turn did not come in time.
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
                    turn.close()  # so that those who waited log in side by side
            try:
                yield
            except LoginRefused as error:  # also where what was right has changed in the middle of the run
                _write(path, error.problem.encode("utf-8", "replace"))
                raise
            if unproven:
                _write(path, _PROVEN)

    def forget(self, way: tuple[Hop, ...]) -> None:
        """Lets a refused login be tried once more: whoever resets a connection expects the host to have changed."""
        path = self._path(way)
        if path is not None and _read(path) not in (b"", _PROVEN):
            with contextlib.suppress(OSError):
                path.unlink()

    def _path(self, way: tuple[Hop, ...]) -> Path | None:
        """The file of a login; None where there is no place for it."""
        if self._directory is None or self._key is None:
            return None
        try:
            self._directory.mkdir(mode=0o700, exist_ok=True)
        except OSError:
            return None
        identity = repr([canonical(_login(hop)) for hop in way]).encode()
        return self._directory / hmac.new(self._key, identity, hashlib.sha256).hexdigest()


def _login(hop: Hop) -> Hop:
    """What makes a login: not where it is written, nor the time it has, nor, if there is a secret, the targets' keys."""
    credentials = hop.credentials
    if credentials.password is not None or credentials.prompts:
        credentials = replace(credentials, fallback=())
    return replace(
        hop,
        setting="",
        proxy_setting="",
        name="",
        timeout=0.0,
        exec_context=None,
        credentials=credentials,
        transport=TransportOptions(),
    )


# What cannot be remembered is no reason to fail: the disk may be full or read-only, have no inode or no locks, or be gone.


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
    """What is remembered of a login, which no other process begins meanwhile."""
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
    except OSError:  # there are no locks
        return True
    return True
