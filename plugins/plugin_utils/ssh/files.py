# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection.
"""Copy files to and from the target: by SFTP with requests in flight, or through dd where there is no SFTP.

A transfer is complete or raises an error.
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

_BLOCK = 32768  # bytes; the largest request that every server accepts (draft-ietf-secsh-filexfer-02 section 6.4)
_LARGE_BLOCK = 255 * 1024  # bytes; OpenSSH's server accepts and announces it since 8.5
_IN_FLIGHT = 64
_BYTES_IN_FLIGHT = 4 * 1024 * 1024
_LIMITS = b"limits@openssh.com"
_MESSAGE = 256 * 1024  # bytes; OpenSSH's sftp-common.h, SFTP_MAX_MSG_LENGTH
_SHOWN = 100  # bytes of a shell's output
_HANDLE = 256  # bytes; draft-ietf-secsh-filexfer-02 section 3
_DD_BLOCK = 65536


class NoSftp(Exception):
    """Signal that the server has no SFTP subsystem.

    :param shell_says: the beginning of a shell's output in place of SFTP, sanitized; empty if there is none.
    """

    def __init__(self, problem: str, shell_says: str = "") -> None:
        super().__init__(problem)
        self.shell_says = shell_says


class _Client(paramiko.SFTPClient):
    """Extend paramiko's client: bounds, and the extensions that the server announces, which paramiko drops.

    A response must be to a pending request, as in OpenSSH's client; paramiko ignores any other and keeps waiting.
    """

    extensions = b""

    def __init__(self, channel: HopChannel) -> None:
        self._begun = False
        self._askers: dict[int, Any] = {}  # requesters by the numbers of their requests in flight
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
        """Return what a shell's startup file printed before SFTP, sanitized.

        It ends at the first zero byte, with which the length of SFTP's first message begins.
        """
        waiting = self.sock.recv(_SHOWN) if self.sock.recv_ready() else b""
        return sanitize((begin + waiting).partition(b"\0")[0], _SHOWN) or "a blank line"

    def _async_request(self, asker: Any, kind: int, *arguments: Any) -> int:
        number: int = super()._async_request(asker, kind, *arguments)  # type: ignore[misc]
        self._askers[number] = asker
        return number

    def _read_response(self, waitfor: int | None = None) -> tuple[int | None, paramiko.Message | None]:
        """Return the response to one request, and pass on those that come before it.

        :param waitfor: the number of the request; None to pass on only the next response.
        :returns: the message's type and the message; None for both without ``waitfor``.
        """
        while True:
            try:
                kind, data = self._read_packet()
            except EOFError as error:  # would be taken for the end of a file
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
        """Raise the error of a status. Its message may be missing, as OpenSSH's client does not read it."""
        super()._convert_status(Incoming(answer.get_remainder() + bytes(4)))  # type: ignore[misc]

    def open(self, *arguments: Any) -> paramiko.SFTPFile:
        """Open a file as paramiko does, but bound the length of its handle."""
        file = super().open(*arguments)
        handle: Any = file.handle
        if len(handle) > _HANDLE:
            raise self.violation(f"it sent an SFTP handle of {len(handle)} bytes, and {_HANDLE} are the most")
        return file

    def violation(self, words: str) -> Violation:
        """Return the error that ends the connection. Close the subsystem first, so that no other response is awaited."""
        self.close()
        return Violation(words)

    def largest_block(self) -> int:
        """Return how many bytes of data a request may carry (OpenSSH's PROTOCOL, section 4.8)."""
        if _LIMITS not in self.extensions:
            return _BLOCK
        try:
            kind, answer = self._request(paramiko.sftp.CMD_EXTENDED, _LIMITS)  # type: ignore[attr-defined]
        except OSError:  # announced, but refused
            return _BLOCK
        if kind != paramiko.sftp.CMD_EXTENDED_REPLY:
            return _BLOCK
        answer.get_int64()  # max-packet-length
        read, write = answer.get_int64(), answer.get_int64()
        return max(_BLOCK, min(int(read), int(write), _LARGE_BLOCK))


class SftpFiles:
    """Transfer files by SFTP.

    :param place: the target as errors name it.
    :param channel: a new session channel.
    :param lost: returns the error for a connection that ended, None if it has not.
    :param abort: ends the connection of a server that violates the protocol; takes the reason.
    :raises NoSftp: the server does not start the subsystem, or the subsystem does not speak SFTP.
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
        speaks = False  # until then, a shell's output may look like an overlong message
        try:
            channel.drops_stderr = True
            channel.invoke_subsystem("sftp")
            self._client = _Client(channel)
            speaks = True
            self._block = self._client.largest_block()
        except NoSftp:
            channel.close()
            raise
        except Exception as error:  # whatever parsing raises: responses are read in this thread
            channel.close()
            broken = as_broken(error)
            if speaks and isinstance(broken, Violation):
                abort(str(broken))
            link_lost = lost()
            if link_lost is not None:
                raise link_lost from broken
            raise NoSftp(sanitize(str(broken))) from broken

    def put(self, source: LocalFile, target: str) -> None:
        """Write a file with requests in flight. Check every response, and the file's size at the end."""
        what = f"cannot write {target}"
        with self._named(what):
            remote = self._client.open(_name(target), "wb")
        try:
            size = self._write(remote, source, what)
            with self._named(what):
                remote.close()  # a server may report only here that it could not write
                found = self._client.stat(_name(target)).st_size
        except BaseException:
            with contextlib.suppress(*BROKEN):
                remote.close()
            raise
        if found != size:
            raise CommandError(self._place, f"{what}: {found} of {size} bytes arrived", CHECK_FILE)

    def _write(self, remote: paramiko.SFTPFile, source: LocalFile, what: str) -> int:
        """Send a whole file. Return its size in bytes."""
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
        """Read a file ahead until the server reports its end, since files such as those in /proc have no size."""
        for data in self._blocks(source, target):
            target.write(data)

    def _blocks(self, source: str, target: LocalFile) -> Iterator[bytes]:
        with self._named(f"cannot read {source}"), self._client.open(_name(source), "rb") as remote:
            found = remote.stat()
            target.mode = None if found.st_mode is None else found.st_mode & PERMISSIONS
            yield from _ReadRequests(self._client, remote, self._block).blocks(found.st_size or 0)

    def close(self) -> None:
        """Close the subsystem."""
        self._client.close()

    @contextlib.contextmanager
    def _named(self, what: str) -> Iterator[None]:
        """Turn errors of the server's responses into one that names the file, or the hop if the connection ended.

        :param what: the problem, with the name of the file.
        """
        try:
            yield
        except Exception as error:
            broken = as_broken(error)
            # paramiko raises OSError for a server's status, and for its own closed channel, too.
            if isinstance(broken, OSError) and str(broken) != "Socket is closed":
                words = sanitize(broken.strerror or str(broken)) or "the server gives no reason"
                raise CommandError(self._place, f"{what}: {words}", CHECK_FILE) from error
            if isinstance(broken, Violation):
                self._abort(str(broken))
            ended = CommandError(self._place, f"{what}: the server ended SFTP", "The server's log says why.")
            raise self._lost() or ended from error


class _WriteRequests:
    """Keep writes in flight. paramiko's pipelined file never reads the responses to the last of them.

    :param remote: open for writing.
    :param block: the maximum bytes of data in a request.
    """

    def __init__(self, client: paramiko.SFTPClient, remote: paramiko.SFTPFile, block: int) -> None:
        self._allowed = _requests(block)
        self._client: Any = client
        self._handle = remote.handle
        self._in_flight = 0
        self._error: Exception | None = None

    def send(self, offset: int, data: bytes) -> None:
        """Send one write, and read responses while too many are pending; raise OSError if a write failed."""
        self._client._async_request(self, paramiko.sftp.CMD_WRITE, self._handle, paramiko.sftp.int64(offset), data)
        self._in_flight += 1
        self._await(self._allowed - 1)

    def finish(self) -> None:
        """Read all pending responses; raise OSError if a write failed."""
        self._await(0)

    def _await(self, allowed: int) -> None:
        while self._in_flight > allowed:
            self._client._read_response()
            if self._error is not None:
                raise self._error

    def _async_response(self, _kind: int, message: paramiko.Message, _number: int) -> None:
        """Handle a response. paramiko calls this in any order, and also while it waits for another response."""
        self._in_flight -= 1
        try:
            self._client._convert_status(message)
        except (OSError, EOFError) as error:
            self._error = self._error or error


class _ReadRequests:
    """Keep reads in flight. paramiko's prefetch ends as soon as none is pending.

    :param remote: open for reading.
    :param block: the bytes to request at once.
    """

    def __init__(self, client: paramiko.SFTPClient, remote: paramiko.SFTPFile, block: int) -> None:
        self._block = block
        self._allowed = _requests(block)
        self._client: Any = client
        self._handle = remote.handle
        self._offsets: dict[int, tuple[int, int]] = {}  # offsets and lengths by the numbers of requests in flight
        self._answers: dict[int, bytes | Exception] = {}  # by offset; empty bytes at the end of the file

    def blocks(self, size: int) -> Iterator[bytes]:
        """Yield the file's data in order until the server reports its end; raise OSError if a read failed.

        :param size: the bytes to read ahead; beyond it, one block is requested at a time.
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
            if wanted % self._block:  # a server may send less than was requested
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
        """Handle a response. paramiko calls this in any order."""
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
    """Transfer files through ``dd`` on the target, for servers without SFTP.

    :param place: the target as errors name it.
    :param start: starts a command on the target.
    """

    def __init__(self, place: str, start: Callable[[str], Process]) -> None:
        self._place = place
        self._start = start

    def put(self, source: LocalFile, target: str) -> None:
        """Stream the file into ``dd``, whose exit status decides."""
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
        """Stream the file out of ``dd``, whose exit status decides.

        Discard what the shell prints around the output. The file's permissions stay unknown, as they would take another command.
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
        """Do nothing, as no session is kept between transfers."""

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
    """Return how many requests of ``block`` bytes to keep in flight."""
    return min(_IN_FLIGHT, _BYTES_IN_FLIGHT // block)


def _name(path: str) -> bytes:
    """Return a path as the target's bytes."""
    return path.encode("utf-8", "surrogateescape")
