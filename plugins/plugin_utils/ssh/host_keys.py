# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a hop's host key is the right one, asked before anything is proved to that hop."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from io import FileIO
from pathlib import Path

from ..chain.model import Hop, HostKeyChecking
from ..errors import HostKeyRefused, JumpError, said
from .known_hosts import REVOKED, Entry, KnownHosts, Verdict, fingerprint, format_line, judge, lookup_names

_FILES_KEPT = 32
# A signature algorithm of a host key, and the type of key that it is made with (RFC 8332).
_SIGNED_BY = {"rsa-sha2-512": "ssh-rsa", "rsa-sha2-256": "ssh-rsa"}


@dataclass(frozen=True)
class HostKey:
    """A key that a hop has shown.

    :param blob: as on the wire (RFC 4253 section 6.6).
    """

    key_type: str
    blob: bytes

    def __str__(self) -> str:
        return f"{self.key_type} {fingerprint(self.blob)}"


@dataclass(frozen=True)
class Trust:
    """A host key that was found to be right, and the files that said so.

    :param secrets_allowed: whether secrets may be sent, as :meth:`HostKeyCheck.check` found.
    :param stamp: what the known_hosts files were then.
    """

    hop: Hop
    key: HostKey
    secrets_allowed: bool
    stamp: tuple[object, ...]

    def renewed(self, place: str, warn: Callable[[str], None]) -> Trust:
        """The same key, looked at once more if the files have changed since.

        :param place: the hop as whoever asks names it.
        :raises HostKeyRefused: it is not trusted any more.
        """
        if _stamp(self.hop) == self.stamp:
            return self
        return HostKeyCheck(self.hop, place, warn).verify(self.key)


class HostKeyCheck:
    """The check of one hop's key, with what known_hosts says of that hop.

    :param hop: whose key.
    :param place: the hop as errors name it.
    :param warn: takes one line about a key that is let pass although it has changed.
    :raises HostKeyRefused: a known_hosts file cannot be read.
    """

    def __init__(self, hop: Hop, place: str, warn: Callable[[str], None]) -> None:
        self._hop = hop
        self._place = place
        self._warn = warn
        self._names = lookup_names(hop.host, hop.port, hop.host_keys.alias)
        self._stamp = _stamp(hop)  # before they are read, so that no change between is missed
        try:
            self._known = self._read()
        except Exception as error:
            raise self._not_checked(error) from error

    def prefer(self, algorithms: Sequence[str]) -> tuple[str, ...]:
        """Algorithms of which a key is known first, so that a host known by its RSA key is asked for that one."""
        known = {entry.key_type for entries in self._known for entry in entries if entry.key and not entry.marker}
        return tuple(sorted(algorithms, key=lambda name: _SIGNED_BY.get(name, name) not in known))

    def check(self, key: HostKey) -> bool:
        """Decides, and records a new key where the policy says so.

        :returns: whether secrets may be sent; False for a changed key with checking off (sshconnect.c then
            disables password and keyboard-interactive as well).
        :raises HostKeyRefused: not trusted, or the check itself failed: any fault denies (CVE-2025-26465).
        """
        try:
            return self._decide(key, self._verdict(key))
        except JumpError:
            raise
        except Exception as error:
            raise self._not_checked(error) from error

    def verify(self, key: HostKey) -> Trust:
        """As :meth:`check`, to be asked again later."""
        return Trust(self._hop, key, self.check(key), self._stamp)

    def _verdict(self, key: HostKey) -> Verdict:
        """What the first name says. Of the name without its port only the very same key counts, as another key there
        is another server's, and only where the first name says nothing; but a revoked key is revoked."""
        verdicts = [judge(entries, key.blob) for entries in self._known]
        if Verdict.REVOKED in verdicts:
            return Verdict.REVOKED
        first, last = verdicts[0], verdicts[-1]
        return last if first is Verdict.UNKNOWN and last is Verdict.TRUSTED else first

    def _decide(self, key: HostKey, verdict: Verdict) -> bool:
        checking = self._hop.host_keys.checking
        if verdict is Verdict.TRUSTED:
            return True
        if verdict is Verdict.REVOKED:
            raise HostKeyRefused(self._place, f"the host key {key} is marked as revoked in {self._revoked()}")
        if verdict is Verdict.CHANGED and checking is HostKeyChecking.OFF:
            self._warn(f"{self._place}: {self._changed(key)}; host key checking is off, so no password is offered")
            return False
        if verdict is Verdict.CHANGED:
            raise HostKeyRefused(
                self._place,
                self._changed(key),
                "Either somebody is in the middle, or the host was set up anew; if so, check the new fingerprint on "
                f"its console and remove the old line: {self._how_to_remove()}",
            )
        if checking is HostKeyChecking.STRICT:
            raise HostKeyRefused(self._place, f"the host key {key} is not known", self._how_to_accept(key))
        if checking is HostKeyChecking.ACCEPT_NEW:
            self._record(key)
        return True

    def _read(self) -> list[list[Entry]]:
        """The entries of each name."""
        files = [_known_hosts(path, _stamp_of(path)) for path in _files(self._hop)]
        return [[entry for file in files for entry in file.entries(name)] for name in self._names]

    def _record(self, key: HostKey) -> None:
        """Appends under a lock, after one more look: another worker may have recorded another key meanwhile."""
        files = self._hop.host_keys.known_hosts
        if not files:
            raise HostKeyRefused(self._place, "accept-new has no known_hosts file to record the host key in")
        path = Path(os.path.expanduser(files[0]))
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        with FileIO(descriptor, "r+") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            self._known = self._read()
            verdict = self._verdict(key)
            if verdict is not Verdict.UNKNOWN:
                self._decide(key, verdict)
                return
            self._append(stream, format_line(self._names[0], key.key_type, key.blob))
        self._warn(f"{self._place}: the new host key {key} was added to {path}")

    @staticmethod
    def _append(stream: FileIO, line: str) -> None:
        """Adds a line of its own, whole or not at all, whether or not the file ends in a newline."""
        size = stream.seek(0, os.SEEK_END)
        torn = size > 0 and os.pread(stream.fileno(), 1, size - 1) != b"\n"
        data = (b"\n" if torn else b"") + line.encode() + b"\n"
        if stream.write(data) != len(data):
            stream.truncate(size)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        with contextlib.suppress(OSError):  # /dev/null, which keeps nothing, cannot be synced
            os.fsync(stream.fileno())

    def _changed(self, key: HostKey) -> str:
        known = ", ".join(
            f"{entry.key_type} {fingerprint(entry.key)} ({entry.where})" if entry.key else f"unreadable ({entry.where})"
            for entry in self._known[0]
            if not entry.marker
        )
        return f"the host key has changed: the server shows {key}, known is {known}"

    def _how_to_remove(self) -> str:
        entry = next(entry for entry in self._known[0] if not entry.marker)
        return f"ssh-keygen -f {shlex.quote(entry.where.rpartition(':')[0])} -R {shlex.quote(self._names[0])}"

    def _how_to_accept(self, key: HostKey) -> str:
        line = format_line(self._names[0], key.key_type, key.blob)
        files = self._hop.host_keys.known_hosts
        return (
            f"If that is the fingerprint on its console, add this line to {files[0] if files else 'a known_hosts file'}: "
            f"{line} (or let ansible_host_key_checking be 'accept-new')"
        )

    def _revoked(self) -> str:
        return ", ".join(entry.where for entries in self._known for entry in entries if entry.marker == REVOKED)

    def _not_checked(self, error: Exception) -> HostKeyRefused:
        reason = said(str(error)) or type(error).__name__
        return HostKeyRefused(self._place, f"the host key could not be checked: {reason}", "Make the file readable.")


def _files(hop: Hop) -> list[Path]:
    return [Path(os.path.expanduser(name)) for name in hop.host_keys.known_hosts]


def _stamp(hop: Hop) -> tuple[object, ...]:
    """What changes when one of the files does."""
    return tuple(map(_stamp_of, _files(hop)))


def _stamp_of(path: Path) -> tuple[int, ...]:
    try:
        found = path.stat()
    except OSError as error:
        return (error.errno or 0,)
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


@lru_cache(_FILES_KEPT)
def _known_hosts(path: Path, _version: tuple[int, ...]) -> KnownHosts:
    """A file as it is; one that does not exist is as an empty one. Read once per version of it."""
    try:
        text = path.read_text("utf-8", "surrogateescape")
    except (FileNotFoundError, NotADirectoryError):
        text = ""
    return KnownHosts(text.split("\n"), str(path))
