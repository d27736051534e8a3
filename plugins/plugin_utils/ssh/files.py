# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection.
"""Files to and from the target: by SFTP with requests in flight, or through dd where there is no SFTP.

A transfer is whole or an error.
"""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Callable, Iterator
from typing import Any

from ..client.become import Stream
from ..client.interface import Exited, Output, Process
from ..client.local_files import CHECK_FILE, PERMISSIONS, LocalFile
from ..errors import CommandError, HopError, sanitize
from ..patched_paramiko.channel import HopChannel
from ..patched_paramiko.compat import BROKEN, paramiko
from ..patched_paramiko.packetizer import Incoming
from ..patched_paramiko.violation import Violation, as_broken
from .marks import Marks

_BLOCK = 32768  # the largest request that every server takes (draft-ietf-secsh-filexfer-02 section 6.4)
_LARGE_BLOCK = 255 * 1024  # what OpenSSH's server takes since 8.5, and says so
_IN_FLIGHT = 64
_BYTES_IN_FLIGHT = 4 * 1024 * 1024
_LIMITS = b"limits@openssh.com"
_MESSAGE = 256 * 1024  # OpenSSH's sftp-common.h, SFTP_MAX_MSG_LENGTH
_SHOWN = 100  # bytes of what a shell prints
_HANDLE = 256  # draft-ietf-secsh-filexfer-02 section 3
_DD_BLOCK = 65536


class NoSftp(Exception):
    """The server has no SFTP subsystem.

    :param shell_says: the first words of a shell that come in place of SFTP, safe to show; empty where there are none.
    """

    def __init__(self, problem: str, shell_says: str = "") -> None:
        super().__init__(problem)
        self.shell_says = shell_says


class _Client(paramiko.SFTPClient):
    """The library's client, the extensions that the server announces, which the library drops, and bounds.

    Each answer is to a request that waits for it, as for OpenSSH's; the library passes over all others, and waits on.
    """

    extensions = b""

    def __init__(self, channel: HopChannel) -> None:
        self._begun = False
        self._askers: dict[int, Any] = {}  # of the requests in flight, by their numbers
        super().__init__(channel)

    def _read_packet(self) -> tuple[int, bytes]:
        head: bytes = self._read_all(4)  # type: ignore[attr-defined]
        size = int.from_bytes(head, "big")
        if not 0 < size <= _MESSAGE and not self._begun:
            raise NoSftp("what comes first is no SFTP", self._shell_says(head))
        self._begun = True
        if not 0 < size <= _MESSAGE:
            raise self.violation(f"it sent an SFTP message of {size} bytes, and {_MESSAGE} are the most")
        data: bytes = self._read_all(size)  # type: ignore[attr-defined]
        if data[0] == paramiko.sftp.CMD_VERSION:
            self.extensions = data[5:]
        return data[0], data[1:]

    def _shell_says(self, begin: bytes) -> str:
        """What a startup file of the shell has printed, up to where SFTP begins, with the length of its first message."""
        waiting = self.sock.recv(_SHOWN) if self.sock.recv_ready() else b""
        return sanitize((begin + waiting).partition(b"\0")[0], _SHOWN) or "a blank line"

    def _async_request(self, asker: Any, kind: int, *arguments: Any) -> int:
        number: int = super()._async_request(asker, kind, *arguments)  # type: ignore[misc]
        self._askers[number] = asker
        return number

    def _read_response(self, waitfor: int | None = None) -> tuple[int | None, paramiko.Message | None]:
        """The answer to one request, or the next one; those that come before it go to who waits for them."""
        while True:
            try:
                kind, data = self._read_packet()
            except EOFError as error:  # which would be taken for the end of a file
                raise paramiko.SSHException("the server ended SFTP") from error
            answer = Incoming(data)
            number = answer.get_int()
            if number not in self._askers:
                raise self.violation("it answered an SFTP request that was not made, or twice")
            asker = self._askers.pop(number)
            if number == waitfor:
                if kind == paramiko.sftp.CMD_STATUS:
                    self._convert_status(answer)
                return kind, answer
            if hasattr(asker, "_async_response"):
                asker._async_response(kind, answer, number)
            if waitfor is None:
                return None, None

    def _convert_status(self, answer: paramiko.Message) -> None:
        """Raises what a status says. Its words may be missing, as OpenSSH's client does not read them."""
        super()._convert_status(Incoming(answer.get_remainder() + bytes(4)))  # type: ignore[misc]

    def open(self, *arguments: Any) -> paramiko.SFTPFile:
        """As the library's."""
        file = super().open(*arguments)
        handle: Any = file.handle
        if len(handle) > _HANDLE:
            raise self.violation(f"it sent an SFTP handle of {len(handle)} bytes, and {_HANDLE} are the most")
        return file

    def violation(self, words: str) -> Violation:
        """An error for the end of the connection; the subsystem is closed here, so that no other answer is waited for."""
        self.close()
        return Violation(words)

    def largest_block(self) -> int:
        """How many bytes a request may carry (OpenSSH's PROTOCOL, section 4.8)."""
        if _LIMITS not in self.extensions:
            return _BLOCK
        try:
            kind, answer = self._request(paramiko.sftp.CMD_EXTENDED, _LIMITS)  # type: ignore[attr-defined]
        except OSError:  # it announces what it then refuses
            return _BLOCK
        if kind != paramiko.sftp.CMD_EXTENDED_REPLY:
            return _BLOCK
        answer.get_int64()  # the longest packet
        read, write = answer.get_int64(), answer.get_int64()
        return max(_BLOCK, min(int(read), int(write), _LARGE_BLOCK))


class SftpFiles:
    """Transfers by SFTP.

    :param place: of the target.
    :param channel: a fresh session channel.
    :param lost: makes the error for a connection that ended.
    :param abort: ends the connection of a server that breaks the protocol, with the reason.
    :raises NoSftp: the server does not start the subsystem, or it does not speak.
    """

    def __init__(
        self,
        place: str,
        channel: HopChannel,
        lost: Callable[[], HopError | None],
        abort: Callable[[str], None],
    ) -> None:
        self._place = place
        self._lost = lost
        self._abort = abort
        speaks = False  # before that, it may be the words of a shell, which look like an endless message
        try:
            channel.drops_stderr = True
            channel.invoke_subsystem("sftp")
            self._client = _Client(channel)
            speaks = True
            self._block = self._client.largest_block()
        except NoSftp:
            channel.close()
            raise
        except Exception as error:  # what the server says is read here, in our thread
            channel.close()
            broken = as_broken(error)
            if speaks and isinstance(broken, Violation):
                abort(str(broken))
            link_lost = lost()
            if link_lost is not None:
                raise link_lost from broken
            raise NoSftp(sanitize(str(broken))) from broken

    def put(self, source: LocalFile, target: str) -> None:
        """Writes with requests in flight; every answer is read, and the size compared, before it is done."""
        what = f"cannot write {target}"
        with self._named(what):
            remote = self._client.open(_name(target), "wb")
        try:
            size = self._write(remote, source, what)
            with self._named(what):
                remote.close()  # a server may tell only now that it could not write
                found = self._client.stat(_name(target)).st_size
        except BaseException:
            with contextlib.suppress(*BROKEN):
                remote.close()
            raise
        if found != size:
            raise CommandError(self._place, f"{what}: {found} of {size} bytes arrived", CHECK_FILE)

    def _write(self, remote: paramiko.SFTPFile, source: LocalFile, what: str) -> int:
        """Sends a whole file; returns its size in bytes."""
        size = 0
        requests = _WriteRequests(self._client, remote, self._block)
        for data in source.blocks(self._block):
            with self._named(what):
                requests.send(size, data)
            size += len(data)
        with self._named(what):
            requests.finish()
        return size

    def fetch(self, source: str, target: LocalFile) -> None:
        """Reads ahead; the server's end of file ends it, since files such as those in /proc have no size."""
        for data in self._blocks(source, target):
            target.write(data)

    def _blocks(self, source: str, target: LocalFile) -> Iterator[bytes]:
        with self._named(f"cannot read {source}"), self._client.open(_name(source), "rb") as remote:
            found = remote.stat()
            target.mode = None if found.st_mode is None else found.st_mode & PERMISSIONS
            yield from _ReadRequests(self._client, remote, self._block).blocks(found.st_size or 0)

    def close(self) -> None:
        """Ends the subsystem."""
        self._client.close()

    @contextlib.contextmanager
    def _named(self, what: str) -> Iterator[None]:
        """Turns whatever comes of the server's answers into an error that names the file, or the hop if the connection ended."""
        try:
            yield
        except Exception as error:
            broken = as_broken(error)
            # A status of the server's is an OSError, and so is, alas, the library's own closed channel.
            if isinstance(broken, OSError) and str(broken) != "Socket is closed":
                words = sanitize(broken.strerror or str(broken)) or "the server gives no reason"
                raise CommandError(self._place, f"{what}: {words}", CHECK_FILE) from error
            if isinstance(broken, Violation):
                self._abort(str(broken))
            ended = CommandError(self._place, f"{what}: the server ended SFTP", "The server's log says why.")
            raise self._lost() or ended from error


class _WriteRequests:
    """Writes that are on their way; the library's own pipelined file forgets the answers to the last of them.

    :param remote: open for writing.
    :param block: bytes in a request, at most.
    """

    def __init__(self, client: paramiko.SFTPClient, remote: paramiko.SFTPFile, block: int) -> None:
        self._allowed = _requests(block)
        self._client: Any = client
        self._handle = remote.handle
        self._in_flight = 0
        self._error: Exception | None = None

    def send(self, offset: int, data: bytes) -> None:
        """Asks for one write, and reads answers while too many are missing; raises OSError for one that failed."""
        self._client._async_request(self, paramiko.sftp.CMD_WRITE, self._handle, paramiko.sftp.int64(offset), data)
        self._in_flight += 1
        self._await(self._allowed - 1)

    def finish(self) -> None:
        """Reads all answers that are missing; raises OSError for one that failed."""
        self._await(0)

    def _await(self, allowed: int) -> None:
        while self._in_flight > allowed:
            self._client._read_response()
            if self._error is not None:
                raise self._error

    def _async_response(self, _kind: int, message: paramiko.Message, _number: int) -> None:
        """Called by the library with an answer, in whatever order they come, perhaps while it waits for another."""
        self._in_flight -= 1
        try:
            self._client._convert_status(message)
        except (OSError, EOFError) as error:
            self._error = self._error or error


class _ReadRequests:
    """Reads that are on their way; the library's own read-ahead stops at the first moment without any.

    :param remote: open for reading.
    :param block: bytes that one request asks for.
    """

    def __init__(self, client: paramiko.SFTPClient, remote: paramiko.SFTPFile, block: int) -> None:
        self._block = block
        self._allowed = _requests(block)
        self._client: Any = client
        self._handle = remote.handle
        self._offsets: dict[int, tuple[int, int]] = {}  # and lengths, of the requests in flight, by their numbers
        self._answers: dict[int, bytes | Exception] = {}  # by their offsets; no bytes at the end of the file

    def blocks(self, size: int) -> Iterator[bytes]:
        """The file in order, to where the server says that it ends; raises OSError for a read that failed.

        :param size: bytes that are asked for ahead; what comes after is asked for one by one.
        """
        asked = wanted = 0
        while True:
            while asked <= wanted or (asked < size and len(self._offsets) + len(self._answers) < self._allowed):
                self._ask(asked, self._block)
                asked += self._block
            data = self._answer(wanted)
            if not data:
                return
            yield data
            wanted += len(data)
            if wanted % self._block:  # a server may send less than it was asked for
                self._ask(wanted, self._block - wanted % self._block)

    def _ask(self, offset: int, length: int) -> None:
        number = self._client._async_request(
            self, paramiko.sftp.CMD_READ, self._handle, paramiko.sftp.int64(offset), length
        )
        self._offsets[number] = offset, length

    def _answer(self, offset: int) -> bytes:
        while offset not in self._answers:
            self._client._read_response()
        answer = self._answers.pop(offset)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _async_response(self, kind: int, message: paramiko.Message, number: int) -> None:
        """Called by the library with an answer, in whatever order they come."""
        offset, length = self._offsets.pop(number)
        if kind == paramiko.sftp.CMD_DATA:
            data = message.get_binary()
            if len(data) > length:
                raise self._client.violation(f"it sent a block of {len(data)} bytes, and {length} were asked for")
            self._answers[offset] = data or OSError("the server sent a block without bytes")
            return
        try:
            self._client._convert_status(message)
            self._answers[offset] = OSError("the server answered without a block")
        except EOFError:
            self._answers[offset] = b""
        except OSError as error:
            self._answers[offset] = error


class PipedFiles:
    """Transfers through ``dd`` on the target, for servers without SFTP.

    :param place: of the target.
    :param start: starts a command on the target.
    """

    def __init__(self, place: str, start: Callable[[str], Process]) -> None:
        self._place = place
        self._start = start

    def put(self, source: LocalFile, target: str) -> None:
        """Streams the file into ``dd``; its exit status decides."""
        process = self._start(f"dd of={shlex.quote(target)} bs={_DD_BLOCK}")
        try:
            for data in source.blocks(_BLOCK):
                try:
                    process.write(data)
                except OSError:  # dd has ended: its status says why
                    break
            process.close_stdin()
            self._finish(process, lambda _data: None, f"cannot write {target}")
        finally:
            process.close()

    def fetch(self, source: str, target: LocalFile) -> None:
        """Streams the file out of ``dd``; its exit status decides.

        What the shell prints around it is not the file's. The file's permissions stay unknown: it would take another command
        to ask for them.
        """
        marks = Marks()
        process = self._start(marks.around(f"dd if={shlex.quote(source)} bs={_DD_BLOCK}"))
        what = f"cannot read {source}"
        try:
            process.close_stdin()
            self._finish(process, lambda data: target.write(marks.feed(data)), what)
            if not marks.ended:
                raise CommandError(self._place, f"{what}: its shell lost the begin or the end of it", CHECK_FILE)
        finally:
            process.close()

    def close(self) -> None:
        """Nothing is kept between transfers."""

    def _finish(self, process: Process, take: Callable[[bytes], object], what: str) -> None:
        words = b""
        while True:
            event = process.read(None)
            if isinstance(event, Output) and event.stream is Stream.STDERR:
                words = (words + event.data)[-4096:]
            elif isinstance(event, Output):
                take(event.data)
            elif isinstance(event, Exited):
                if event.status != 0:
                    why = sanitize(words) or f"dd ended with {event.status or event.signal}"
                    raise CommandError(self._place, f"{what}: {why}", CHECK_FILE)
                return


def _requests(block: int) -> int:
    """How many requests of a size are on their way at once."""
    return min(_IN_FLIGHT, _BYTES_IN_FLIGHT // block)


def _name(path: str) -> bytes:
    """A path as the target's bytes."""
    return path.encode("utf-8", "surrogateescape")
