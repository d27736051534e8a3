# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files to and from the target: by SFTP with requests in flight, or through dd where there is no SFTP.

A transfer is whole or an error. What is fetched gets its name only when it is complete.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import tempfile
from collections.abc import Callable, Iterator
from typing import IO

from ..chain.become import Stream
from ..errors import CommandError, HopError, said
from .interface import Exited, Output, Process
from .library import paramiko
from .transport import BROKEN

_BLOCK = 32768  # the largest request that every server takes (draft-ietf-secsh-filexfer-02 section 6.4)
_IN_FLIGHT = 64
_DD_BLOCK = 65536


class NoSftp(Exception):
    """The server has no SFTP subsystem."""


class SftpFiles:
    """Transfers by SFTP.

    :param channel: a fresh session channel.
    :param lost: makes the error for a connection that ended.
    :raises NoSftp: the server does not start the subsystem, or it does not speak.
    """

    def __init__(self, channel: paramiko.Channel, lost: Callable[[], HopError | None]) -> None:
        self._lost = lost
        try:
            channel.invoke_subsystem("sftp")
            self._client = paramiko.SFTPClient(channel)
        except BROKEN as error:
            channel.close()
            link_lost = lost()
            if link_lost is not None:
                raise link_lost from error
            raise NoSftp(said(str(error))) from error

    def put(self, source: str, target: str) -> None:
        """Writes without waiting for each answer; all answers are read, and the size compared, before it is done."""
        with open(source, "rb") as stream, self._named(f"cannot write {target} on the target"):
            self._client.putfo(stream, _name(target), confirm=True)

    def fetch(self, source: str, target: str) -> None:
        """Reads ahead; the server's end of file ends it, since files such as those in /proc have no size."""
        with _complete(target) as stream:
            for data in self._blocks(source):
                stream.write(data)

    def _blocks(self, source: str) -> Iterator[bytes]:
        with self._named(f"cannot read {source} on the target"), self._client.open(_name(source), "rb") as remote:
            size = remote.stat().st_size
            if size:
                _fail_quietly(remote)
                remote.prefetch(size, _IN_FLIGHT)
            yield from iter(lambda: remote.read(_BLOCK), b"")

    def close(self) -> None:
        """Ends the subsystem."""
        self._client.close()

    @contextlib.contextmanager
    def _named(self, what: str) -> Iterator[None]:
        """Turns the library's errors into ones that name the file, or the hop if the connection ended."""
        try:
            yield
        except BROKEN as error:
            # A status of the server's is an OSError, and so is, alas, the library's own closed channel.
            if isinstance(error, OSError) and str(error) != "Socket is closed":
                words = said(error.strerror or str(error)) or "the server gives no reason"
                raise CommandError(f"{what}: {words}") from error
            raise self._lost() or CommandError(f"{what}: the server ended SFTP") from error


def _fail_quietly(remote: paramiko.SFTPFile) -> None:
    """The thread that asks for blocks ahead does not see the end of the connection coming; whoever reads does."""
    ask = remote._prefetch_thread  # type: ignore[attr-defined]

    def ask_quietly(*arguments: object) -> None:
        with contextlib.suppress(*BROKEN):
            ask(*arguments)

    remote._prefetch_thread = ask_quietly  # type: ignore[attr-defined]


class PipedFiles:
    """Transfers through ``dd`` on the target, for servers without SFTP.

    :param start: starts a command on the target.
    """

    def __init__(self, start: Callable[[str], Process]) -> None:
        self._start = start

    def put(self, source: str, target: str) -> None:
        """Streams the file into ``dd``; its exit status decides."""
        with open(source, "rb") as stream:
            process = self._start(f"dd of={shlex.quote(target)} bs={_DD_BLOCK}")
            try:
                with contextlib.suppress(OSError):  # dd has ended: its status says why
                    for data in iter(lambda: stream.read(_DD_BLOCK), b""):
                        process.write(data)
                process.close_stdin()
                self._finish(process, None, f"cannot write {target} on the target")
            finally:
                process.close()

    def fetch(self, source: str, target: str) -> None:
        """Streams the file out of ``dd``; its exit status decides."""
        with _complete(target) as stream:
            process = self._start(f"dd if={shlex.quote(source)} bs={_DD_BLOCK}")
            try:
                process.close_stdin()
                self._finish(process, stream, f"cannot read {source} on the target")
            finally:
                process.close()

    def close(self) -> None:
        """Nothing is kept between transfers."""

    @staticmethod
    def _finish(process: Process, stream: IO[bytes] | None, what: str) -> None:
        words = b""
        while True:
            event = process.read(None)
            if isinstance(event, Output) and event.stream is Stream.STDERR:
                words = (words + event.data)[-4096:]
            elif isinstance(event, Output) and stream is not None:
                stream.write(event.data)
            elif isinstance(event, Exited):
                if event.status != 0:
                    raise CommandError(f"{what}: {said(words) or f'dd ended with {event.status or event.signal}'}")
                return


@contextlib.contextmanager
def _complete(target: str) -> Iterator[IO[bytes]]:
    """A file that appears under its name only when it is complete; no half of it stays behind."""
    directory, name = os.path.split(os.path.abspath(target))
    with tempfile.NamedTemporaryFile(dir=directory, prefix=f".{name[:40]}.", delete=False) as stream:
        try:
            yield stream
            stream.flush()
            os.chmod(stream.name, 0o666 & ~_umask())
            os.replace(stream.name, target)
        except BaseException as error:
            os.unlink(stream.name)
            if isinstance(error, OSError):
                raise CommandError(f"cannot write {target} on the controller: {error.strerror or error}") from error
            raise


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _name(path: str) -> bytes:
    """A path as the target's bytes."""
    return path.encode("utf-8", "surrogateescape")
