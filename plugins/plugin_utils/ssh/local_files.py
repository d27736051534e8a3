# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's end of a transfer: a file that is read, or one that appears when it is complete."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from enum import Enum
from typing import BinaryIO

from ..errors import CONTROLLER, CommandError

#: What to do about a file that cannot be read or written, here or on the target.
CHECK_FILE = "Check its path, its permissions and its disk."


class TransferMethod(Enum):
    """How files go to and from the target."""

    SMART = "smart"
    SFTP = "sftp"
    PIPED = "piped"


class LocalFile:
    """A file of the controller, open.

    :param name: for messages.
    """

    def __init__(self, name: str, stream: BinaryIO) -> None:
        self.name = name
        self.stream = stream

    def blocks(self, size: int) -> Iterator[bytes]:
        """What is in it, ``size`` bytes at a time."""
        with _named(f"cannot read {self.name}"):
            yield from iter(lambda: self.stream.read(size), b"")

    def write(self, data: bytes) -> None:
        """Adds bytes."""
        with _named(f"cannot write {self.name}"):
            self.stream.write(data)

    def flush(self) -> None:
        """Hands the bytes over to the system."""
        with _named(f"cannot write {self.name}"):
            self.stream.flush()


@contextlib.contextmanager
def source(name: str) -> Iterator[LocalFile]:
    """A file to be sent."""
    with _named(f"cannot read {name}"):
        stream = open(name, "rb")  # noqa: SIM115
    with stream:
        yield LocalFile(name, stream)


@contextlib.contextmanager
def complete(name: str) -> Iterator[LocalFile]:
    """A file that appears under its name only when it is complete; no half of it stays behind."""
    directory, base = os.path.split(os.path.abspath(name))
    with contextlib.ExitStack() as stack:
        stack.enter_context(_named(f"cannot write {name}"))
        stream = stack.enter_context(tempfile.NamedTemporaryFile(dir=directory, prefix=f".{base[:40]}.", delete=False))
        try:
            yield LocalFile(name, stream)  # type: ignore[arg-type]
            stream.flush()
            os.chmod(stream.name, 0o666 & ~_umask())
            os.replace(stream.name, name)
        except BaseException:
            os.unlink(stream.name)
            raise


@contextlib.contextmanager
def _named(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise CommandError(CONTROLLER, f"{what}: {error.strerror or error}", CHECK_FILE) from error


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
