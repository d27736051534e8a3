# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a session on a target offers, whoever carries it. Imports no paramiko: its users need not have it loaded.

Every worker loads this for every task: no dataclass is in it, which takes Python a millisecond each.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import NamedTuple, Protocol

from ..chain.become import Stream


class Report(NamedTuple):
    """Where work on connections says what it does.

    :param note: takes one line without secrets.
    :param warn: the same, for what everybody should see.
    :param commit: called just before the first thing is sent that may have an effect.
    """

    note: Callable[[str], None]
    warn: Callable[[str], None]
    commit: Callable[[], None] = lambda: None


class TransferMethod(Enum):
    """How files go to and from the target."""

    SMART = "smart"
    SFTP = "sftp"
    PIPED = "piped"


class Output(NamedTuple):
    """Bytes of one stream, as they came."""

    stream: Stream
    data: bytes


class Exited(NamedTuple):
    """The end of a command: its status, 0 to 255, or the name of the signal that ended it, without SIG."""

    status: int | None
    signal: str | None = None


class Process(Protocol):
    """A command on the target that was started."""

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

    def close(self) -> None:
        """Ends the session."""
