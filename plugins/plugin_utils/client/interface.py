# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection.
"""Define what a session on a target offers, with or without a broker. Does not import paramiko, which its users need not load.

Every worker loads this for every task, hence plain classes: creating a dataclass takes a millisecond.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from .become import Stream


def _nothing() -> None:
    pass


def _ignored(_line: str) -> None:
    pass


class Report:
    """Receive the progress of work on connections.

    :param note: takes one line of verbose output, without secrets.
    :param warn: takes one line of a warning, without secrets.
    :param commit: called just before anything is sent that may take effect.
    :param remark: takes one line on settings that have no effect.
    :param waits: called every few seconds while a login is in progress.
    """

    __slots__ = ("commit", "note", "remark", "waits", "warn")

    def __init__(
        self,
        note: Callable[[str], None],
        warn: Callable[[str], None],
        commit: Callable[[], None] = _nothing,
        remark: Callable[[str], None] = _ignored,
        waits: Callable[[], None] = _nothing,
    ) -> None:
        self.note = note
        self.warn = warn
        self.commit = commit
        self.remark = remark
        self.waits = waits


class Output:
    """Hold bytes of one stream, as received."""

    __slots__ = ("data", "stream")

    def __init__(self, stream: Stream, data: bytes) -> None:
        self.stream = stream
        self.data = data


class Exited:
    """Report the end of a command: its 32-bit status (RFC 4254 section 6.10), or the name of the signal, without SIG."""

    __slots__ = ("signal", "status")

    def __init__(self, status: int | None, signal: str | None = None) -> None:
        self.status = status
        self.signal = signal


class Process(Protocol):
    """Define a command that was started on the target; ``place`` describes the target."""

    place: str

    def read(self, timeout: float | None) -> Output | Exited | None:
        """Return the next output or the end; None after ``timeout`` seconds. Raise HopError if the link is lost."""

    def write(self, data: bytes) -> None:
        """Send to stdin; block while the other side reads nothing. Raise OSError if it accepts no more."""

    def close_stdin(self) -> None:
        """Send the end of stdin."""

    def close(self) -> None:
        """Close the command's channel, even if the command still runs."""


class Session(Protocol):
    """Define what a target offers."""

    def start(self, command: str, pty: bool = False) -> Process:
        """Start a command line in the login shell of the target's user."""

    def put(self, source: str, target: str) -> None:
        """Copy a file from the controller to the target, completely or with an error."""

    def fetch(self, source: str, target: str) -> None:
        """Copy a file from the target to the controller, completely or with an error."""

    def reset(self) -> None:
        """Close the connection to the target, and allow a login that it refused to be tried again; jump hosts stay connected."""

    def connect(self) -> list[dict[str, Any]]:
        """Connect to all hops on the route that are not connected yet.

        :returns: per hop ``hop``, ``label``, ``login`` (seconds that its login took) and ``age`` (seconds since then).
        """

    def scan_host_keys(self, accept: bool, fingerprints: list[str] | None) -> list[dict[str, Any]]:
        """Check the host key of each hop on the route, without logging in to the target.

        :param accept: whether to add unknown keys to known_hosts.
        :param fingerprints: add only keys with these; None for all.
        :returns: per hop ``hop``, ``label``, ``target``, ``status`` (known, new, added, refused, unreachable), and, if available,
            ``key_type``, ``fingerprint``, ``certified``, ``line`` and ``msg``.
        """

    def close(self) -> None:
        """End the session."""
