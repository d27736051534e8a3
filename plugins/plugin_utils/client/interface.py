# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection.
"""What a session on a target offers, whoever carries it. Imports no paramiko: its users need not have it loaded.

Every worker loads this for every task. Therefore plain classes: a dataclass takes Python a millisecond to make.
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
    """Where work on connections says what it does.

    :param note: takes one line without secrets.
    :param warn: the same, for what everybody should see.
    :param commit: called just before the first thing is sent that may have an effect.
    :param remark: takes one line for who wants to know what becomes of settings.
    :param waits: called now and then while a login takes its time.
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
    """Bytes of one stream, as they came."""

    __slots__ = ("data", "stream")

    def __init__(self, stream: Stream, data: bytes) -> None:
        self.stream = stream
        self.data = data


class Exited:
    """The end of a command: its status, which has 32 bits (RFC 4254 section 6.10), or the name of the signal, without SIG."""

    __slots__ = ("signal", "status")

    def __init__(self, status: int | None, signal: str | None = None) -> None:
        self.status = status
        self.signal = signal


class Process(Protocol):
    """A command on the target that was started, and the target's place on its chain."""

    place: str

    def read(self, timeout: float | None) -> Output | Exited | None:
        """The next output or the end; None after ``timeout`` seconds. Raises HopError if the link is lost."""

    def write(self, data: bytes) -> None:
        """Sends to stdin; blocks while the other side takes nothing. Raises OSError if it takes no more."""

    def close_stdin(self) -> None:
        """Ends stdin."""

    def close(self) -> None:
        """Lets go of the command; one that still runs is hung up on."""


class Session(Protocol):
    """What a target offers."""

    def start(self, command: str, pty: bool = False) -> Process:
        """Starts a command line in the login shell of the target's user."""

    def put(self, source: str, target: str) -> None:
        """Copies a file of the controller to the target, whole or with an error."""

    def fetch(self, source: str, target: str) -> None:
        """Copies a file of the target to the controller, whole or with an error."""

    def reset(self) -> None:
        """Ends the connection to the target, and lets a login that it refused be tried again; its bastions stay."""

    def connect(self) -> list[dict[str, Any]]:
        """Connects to all hops on the way that are not connected yet.

        :returns: of each hop ``hop``, ``label``, ``login`` (seconds that its login took) and ``age`` (seconds since then).
        """

    def scan_host_keys(self, accept: bool, fingerprints: list[str] | None) -> list[dict[str, Any]]:
        """Looks at the host key of each hop on the way, without logging in to the target.

        :param accept: whether keys that are not known are added to known_hosts.
        :param fingerprints: of the only ones that are; None for all.
        :returns: of each hop ``hop``, ``label``, ``target``, ``status`` (known, new, added, refused, unreachable), and, as far as they
            are there, ``key_type``, ``fingerprint``, ``certified``, ``line`` and ``msg``.
        """

    def close(self) -> None:
        """Ends the session."""
