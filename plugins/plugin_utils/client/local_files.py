# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection.
"""The controller's end of a transfer: a file that is read, or one that changes when all has come.

A fetched file is left as sftp's get leaves it (OpenSSH's sftp-client.c, sftp_download), which opens its name for writing: a new
one has the source's permissions without those of the umask, one that exists keeps what it has besides its bytes, links are
followed, and devices written to. But sftp writes while the bytes come, and here a temporary file takes them first.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import tempfile
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from ..errors import CONTROLLER, CommandError

#: What to do about a file that cannot be read or written, here or on the target.
CHECK_FILE = "Check its path, its permissions and its disk."
#: All of a mode that a source has a say in: never setuid, setgid and sticky (as sftp_download).
PERMISSIONS = 0o777

_PRIVATE = 0o600
_LINKS = 40  # that lead to a file, at most (Linux's MAXSYMLINKS)
_BLOCK = 1024 * 1024
# To find what is in a directory, no permission to read it is needed.
_FOLDER = os.O_DIRECTORY | getattr(os, "O_PATH", os.O_RDONLY)
_SHARED = stat.S_ISVTX | stat.S_IWOTH
_FOREIGN_LINK = "it is another user's link in a directory where all may write"


class LocalFile:
    """A file of the controller, open.

    :param name: for messages.
    """

    def __init__(self, name: str, stream: BinaryIO) -> None:
        self.name = name
        self.stream = stream
        #: The permissions of what is fetched into it; None while they are not known.
        self.mode: int | None = None

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
    """A file to be fetched into: what is under its name changes when all has come, and stays as it was on an error.

    Where there is nothing that could be whole, such as in a pipe or a device, the bytes go there as they come.
    """
    with contextlib.ExitStack() as stack:
        with _named(f"cannot write {name}"):
            place = stack.enter_context(_followed(name))
            old = _opened(place)
            if old is not None:
                stack.callback(os.close, old)
            new: _Temporary | None = None
            if old is not None and (place.to_open_file or not stat.S_ISREG(os.fstat(old).st_mode)):
                descriptor = old
            else:
                new = stack.enter_context(_temporary(place, old))
                descriptor = new.descriptor
            file = LocalFile(name, stack.enter_context(_stream(descriptor)))
        yield file
        file.flush()
        if new is not None:
            with _named(f"cannot write {name}"):
                _settle(new, place, old, file.mode)


def new_mode(source: int | None, umask: int) -> int:
    """The mode of a file that was not there before: as sftp_download's, or its owner's alone if the source's is not known."""
    return (_PRIVATE if source is None else source & PERMISSIONS | stat.S_IWUSR) & ~umask


class _Place(NamedTuple):
    """Where a name leads."""

    folder: int  # a descriptor of the directory
    base: str  # in it: no link, if not one to an open file
    to_open_file: bool  # of some process, by a link that the system alone can follow


class _Temporary(NamedTuple):
    """A file for what has come so far, which its owner alone can read."""

    descriptor: int
    folder: int
    base: str
    beside: bool  # whether it is in the directory of the file that it is for


@contextlib.contextmanager
def _followed(name: str, links: int = _LINKS) -> Iterator[_Place]:
    """Follows the links at the end of a name, of which the last may lead to nothing.

    What is done in the directory is done by its descriptor: nothing that is renamed meanwhile leads elsewhere.
    """
    path, base = os.path.split(name)
    folder = os.open(path or ".", _FOLDER)
    try:
        place = _Place(folder, base or ".", False)
        target = _link(place)
        if target is None or _has_open_files(folder):
            yield place._replace(to_open_file=target is not None)
            return
    finally:
        os.close(folder)
    if not links:
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
    with _followed(os.path.join(path, target), links - 1) as place:
        yield place


def _link(place: _Place) -> str | None:
    """Where a link leads; None if it is none.

    :raises PermissionError: it may be there to lead us astray (fs.protected_symlinks in proc(5), which not every system has).
    """
    try:
        found = os.stat(place.base, dir_fd=place.folder, follow_symlinks=False)
    except FileNotFoundError:
        return None
    if not stat.S_ISLNK(found.st_mode):
        return None
    folder = os.fstat(place.folder)
    if folder.st_mode & _SHARED == _SHARED and found.st_uid not in (os.geteuid(), folder.st_uid):
        raise PermissionError(errno.EACCES, _FOREIGN_LINK)
    return os.readlink(place.base, dir_fd=place.folder)


def _has_open_files(folder: int) -> bool:
    """Whether the links in a directory lead to what processes have open, whatever they read (proc(5), /proc/pid/fd)."""
    try:
        return os.fstat(folder).st_dev == os.stat("/proc/self/fd").st_dev
    except FileNotFoundError:  # another system
        return False


def _opened(place: _Place) -> int | None:
    """What is there, open for writing; None if nothing is."""
    if place.to_open_file:
        return os.open(place.base, os.O_WRONLY | os.O_TRUNC, dir_fd=place.folder)
    try:
        os.stat(place.base, dir_fd=place.folder, follow_symlinks=False)
    except FileNotFoundError:
        return None
    # O_CREAT, as sftp does: fs.protected_regular and fs.protected_fifos (proc(5)) are for that.
    return os.open(place.base, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, _PRIVATE, dir_fd=place.folder)


@contextlib.contextmanager
def _temporary(place: _Place, old: int | None) -> Iterator[_Temporary]:
    """A temporary file beside a place; elsewhere, if there is a file already that can be written and its directory cannot."""
    base = f".{place.base[:40]}.{os.urandom(8).hex()}"
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    with contextlib.ExitStack() as stack:
        folder, beside = place.folder, True
        try:
            descriptor = os.open(base, flags, _PRIVATE, dir_fd=folder)
        except OSError as error:
            if old is None or error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
                raise
            folder, beside = os.open(tempfile.gettempdir(), _FOLDER), False
            stack.callback(os.close, folder)
            descriptor = os.open(base, flags, _PRIVATE, dir_fd=folder)
        stack.callback(os.close, descriptor)
        stack.callback(_remove, base, folder)
        yield _Temporary(descriptor, folder, base, beside)


@contextlib.contextmanager
def _stream(descriptor: int) -> Iterator[BinaryIO]:
    stream = os.fdopen(descriptor, "wb", closefd=False)
    try:
        yield stream
    finally:
        with contextlib.suppress(OSError):  # what could not be written was told before
            stream.close()


def _remove(base: str, folder: int) -> None:
    with contextlib.suppress(OSError):  # it has its name by now
        os.unlink(base, dir_fd=folder)


def _settle(new: _Temporary, place: _Place, old: int | None, mode: int | None) -> None:
    """Brings what has come under its name: as a file of its own, unless one is there that has what a new one would not."""
    if old is None:
        os.fchmod(new.descriptor, new_mode(mode, _umask()))
        _rename(new, place)
        return
    if new.beside and _besides(old) == _besides(new.descriptor):
        os.fchmod(new.descriptor, os.fstat(old).st_mode & PERMISSIONS)
        try:
            _rename(new, place)
            return
        except OSError:  # something is mounted there, for one
            pass
    _copy(new.descriptor, old)


def _rename(new: _Temporary, place: _Place) -> None:
    os.replace(new.base, place.base, src_dir_fd=new.folder, dst_dir_fd=place.folder)


def _besides(descriptor: int) -> tuple[object, ...]:
    """What a file has besides its bytes and its permissions: other names, owner, setuid, access lists, labels."""
    found = os.fstat(descriptor)
    try:
        attributes: object = {name: os.getxattr(descriptor, name) for name in os.listxattr(descriptor)}
    except (AttributeError, OSError):  # no such call here, or no answer: it may have what no other has
        attributes = descriptor
    return found.st_nlink, found.st_uid, found.st_gid, found.st_mode & ~PERMISSIONS, attributes


def _copy(new: int, old: int) -> None:
    """Copies a file into another one; first what goes beyond its end, as it is as it was where there is no room for that.

    Room within it is taken before, as it may have holes. Where a disk copies what is written, that says nothing.
    """
    end, size = os.fstat(old).st_size, os.fstat(new).st_size
    try:
        _allocate(old, size)
        _copy_range(new, old, end, size)
    except BaseException:
        os.ftruncate(old, end)
        raise
    _copy_range(new, old, 0, min(end, size))
    os.ftruncate(old, size)


def _allocate(descriptor: int, size: int) -> None:
    """Takes room for all of a file, where the system can do so; raises OSError if there is none."""
    try:
        os.posix_fallocate(descriptor, 0, size)
    except AttributeError:  # another system
        pass
    except OSError as error:  # the others say that it cannot be done there, or with nothing
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise


def _copy_range(new: int, old: int, start: int, end: int) -> None:
    while start < end:
        start += os.pwrite(old, os.pread(new, min(_BLOCK, end - start), start), start)


@contextlib.contextmanager
def _named(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise CommandError(CONTROLLER, f"{what}: {error.strerror or error}", CHECK_FILE) from error


def _umask() -> int:
    """That of our process: by itself, the call that tells it changes it, also for the files of other threads."""
    with contextlib.suppress(OSError), open("/proc/self/status", encoding="latin-1", newline="\n") as status:
        for line in status:
            if line.startswith("Umask:"):  # since Linux 4.7
                return int(line.split()[1], 8)
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
