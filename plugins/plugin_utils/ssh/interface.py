# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a session on a target offers, whoever carries it. Imports no paramiko: its users need not have it loaded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from ..chain.become import Stream


@dataclass(frozen=True)
class Report:
    """Where work on connections says what it does; each takes one line without secrets."""

    note: Callable[[str], None]
    warn: Callable[[str], None]


class TransferMethod(Enum):
    """How files go to and from the target."""

    SMART = "smart"
    SFTP = "sftp"
    PIPED = "piped"


@dataclass(frozen=True)
class SessionOptions:
    """What a session needs to know besides the chain.

    :param run_directory: private to the user and this run, for what its workers remember together; None for none.
    """

    transfer_method: TransferMethod = TransferMethod.SMART
    run_directory: str | None = None


@dataclass(frozen=True)
class Output:
    """Bytes of one stream, as they came."""

    stream: Stream
    data: bytes


@dataclass(frozen=True)
class Exited:
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

    def close(self) -> None:
        """Ends the session."""
