# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection.
"""Read known host keys from files, cached by version, from a variable, and from KnownHostsCommand."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from io import FileIO
from pathlib import Path

from ..chain.model import Hop, HostKeyPolicy
from ..chain.tokens import expand_late
from ..errors import sanitize
from .known_hosts import Entry, KnownHosts
from .user_files import Version, version_of

_FILES_KEPT = 32

Stamp = tuple[object, ...]


class CommandFailed(Exception):
    """Report that KnownHostsCommand failed; the text says why."""


def entries_of(policy: HostKeyPolicy, names: Sequence[str], printed: str = "") -> list[list[Entry]]:
    """Return the entries of each name.

    :param printed: the output of KnownHostsCommand.
    :returns: a list of entries for each name, in the order of ``names``.
    :raises OSError: a file cannot be read.
    """
    known = [_known_hosts(path, version_of(path)) for path in _files(policy)]
    known += [
        KnownHosts(policy.lines, "ansible_ssh_known_hosts"),
        KnownHosts(printed.split("\n"), "KnownHostsCommand"),
    ]
    return [[entry for source in known for entry in source.entries(name)] for name in names]


def stamp_of(policy: HostKeyPolicy) -> Stamp:
    """Return a value that changes when one of the files does, including that of revoked keys."""
    revoked = [] if policy.revoked is None else [Path(os.path.expanduser(policy.revoked))]
    return tuple(map(version_of, [*_files(policy), *revoked]))


@contextlib.contextmanager
def locked(policy: HostKeyPolicy) -> Iterator[FileIO]:
    """Open the file for new keys under an exclusive lock, creating it if missing."""
    path = recorded_in(policy)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    with FileIO(descriptor, "r+") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield stream


def recorded_in(policy: HostKeyPolicy) -> Path:
    """Return the file for new keys: the first of the user's files."""
    return Path(os.path.expanduser(policy.known_hosts[0]))


def append(stream: FileIO, line: str) -> None:
    """Append a line, completely or not at all, after a missing final newline if need be.

    :raises OSError: the line cannot be written.
    """
    size = stream.seek(0, os.SEEK_END)
    torn = size > 0 and os.pread(stream.fileno(), 1, size - 1) != b"\n"
    data = (b"\n" if torn else b"") + line.encode() + b"\n"
    if stream.write(data) != len(data):
        stream.truncate(size)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with contextlib.suppress(OSError):  # /dev/null cannot be synced
        os.fsync(stream.fileno())


def ask_command(hop: Hop, values: Mapping[str, str]) -> str:
    """Run KnownHostsCommand without a shell (ssh_config(5)), and return its output; empty if none is set.

    :param values: the values of the connection's tokens.
    :raises CommandFailed: it cannot be started, failed, or timed out.
    """
    command = hop.host_keys.command
    if command is None:
        return ""
    around = hop.exec_context
    environment = None if around is None or around.environment is None else dict(around.environment)
    argv = [expand_late(argument, values) for argument in command]
    try:
        answer = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=hop.timeout,
            check=False,
            cwd=around.directory if around else None,
            env=environment,
            start_new_session=True,
        )
    except subprocess.TimeoutExpired:
        raise CommandFailed(f"KnownHostsCommand did not end within {hop.timeout:g} seconds") from None
    except OSError as error:
        raise CommandFailed(f"KnownHostsCommand cannot be started: {error.strerror or error}") from error
    if answer.returncode:
        words = sanitize(answer.stderr)
        raise CommandFailed(
            f"KnownHostsCommand ended with status {answer.returncode}" + (f": {words}" if words else "")
        )
    return answer.stdout.decode("utf-8", "surrogateescape")


def _files(policy: HostKeyPolicy) -> list[Path]:
    return [Path(os.path.expanduser(name)) for name in (*policy.known_hosts, *policy.global_known_hosts)]


@lru_cache(_FILES_KEPT)
def _known_hosts(path: Path, _version: Version) -> KnownHosts:
    """Index a file, whose lines end in LF only (hostfile.c); a missing file is treated as empty."""
    try:
        text = path.read_bytes().decode("utf-8", "surrogateescape")
    except (FileNotFoundError, NotADirectoryError):
        text = ""
    return KnownHosts(text.split("\n"), str(path))
