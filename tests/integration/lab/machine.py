# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Manage what the lab changes on the machine itself, and undo all of it.

A test session has one directory, whose path is in the environment of every process that the session starts.
Sessions are registered in /run, so that a later one can clean up after a session that was killed.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from . import processes
from .users import PREFIX, Users

SSHD = Path("/usr/sbin/sshd")
PRIVSEP = Path("/run/sshd")
REGISTER = Path("/run/bssh-lab")
MADE_PRIVSEP = REGISTER / "made-run-sshd"
MARK = "BSSH_LAB"


class LabError(RuntimeError):
    """Report that the lab cannot run here; the message says what is missing."""


def require() -> None:
    """Raise LabError if this machine cannot run the lab."""
    if not SSHD.exists():
        raise LabError(f"the integration tests need an OpenSSH server: {SSHD} is missing (package openssh-server)")
    missing = [tool for tool in ("ssh", "ssh-keygen", "ssh-agent", "ssh-add") if not shutil.which(tool)]
    if missing:
        raise LabError(f"the integration tests need the OpenSSH client: {', '.join(missing)} not found")
    if os.geteuid() != 0:
        raise LabError("the integration tests need root: they start sshd and create users")


@contextlib.contextmanager
def machine_lock() -> Iterator[None]:
    """Hold the lock for changes to the machine's files."""
    handle = os.open("/run", os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def mounts(root: Path) -> list[Path]:
    """Return the mount points under a directory."""
    points = (Path(line.split()[1]) for line in Path("/proc/mounts").read_text().splitlines())
    return [point for point in points if root in point.parents]


def _sessions() -> dict[Path, Path]:
    """Return register entry -> directory, for every session that has not cleaned up."""
    entries = REGISTER.glob("*.session") if REGISTER.exists() else iter(())
    return {entry: Path(entry.read_text()) for entry in entries}


def _is_running(entry: Path) -> bool:
    pid, ticks, _name = entry.stem.split("-")
    return processes.started(int(pid)) == int(ticks)


def _leave(entry: Path, root: Path) -> None:
    """Undo what a session changed on the machine."""
    processes.end(processes.marked(str(root)))
    Users.remove_all(entry.stem.split("-")[2])
    for mount in mounts(root):
        subprocess.run(["umount", "--lazy", str(mount)], check=True)
    shutil.rmtree(root, ignore_errors=True)
    entry.unlink(missing_ok=True)
    if not _sessions():
        if MADE_PRIVSEP.exists():
            with contextlib.suppress(OSError):
                PRIVSEP.rmdir()
        shutil.rmtree(REGISTER, ignore_errors=True)


class Machine:
    """Hold one session's directory and system users, and remove them at the end."""

    def __init__(self) -> None:
        require()
        self._start = processes.started(os.getpid()) or 0
        with machine_lock():
            for entry, root in _sessions().items():
                if not _is_running(entry):
                    _leave(entry, root)
            REGISTER.mkdir(mode=0o755, exist_ok=True)
            if not PRIVSEP.exists():
                MADE_PRIVSEP.touch()
                PRIVSEP.mkdir(mode=0o755)
            self.root = Path(tempfile.mkdtemp(prefix=PREFIX))
            self.root.chmod(0o755)
            name = self.root.name.removeprefix(PREFIX)
            self._entry = REGISTER / f"{os.getpid()}-{self._start}-{name}.session"
            self._entry.write_text(str(self.root))
        self.users = Users(self.root / "home", name, machine_lock)

    def __enter__(self) -> Machine:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def running(self, mark: str | None = None) -> list[int]:
        """Return the live processes that were started by this session, directly or not."""
        return processes.marked(mark or str(self.root), self._start)

    def close(self) -> None:
        """End every process, and delete every user and file of this session."""
        with machine_lock():
            _leave(self._entry, self.root)
