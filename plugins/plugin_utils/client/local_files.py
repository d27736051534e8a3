# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection.
"""Open the controller's files of a transfer: one to be sent, or one to be replaced when all bytes have arrived.

A fetched file ends up as with sftp's get (OpenSSH's sftp-client.c, sftp_download), which opens its name for writing: a new file has the
source's permissions minus the umask, an existing one keeps everything but its content, links are followed, and devices written to.
Unlike sftp, a temporary file receives the bytes first, so that an error does not leave half a file.
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

#: Advice for a file that cannot be read or written, on the controller or on the target.
CHECK_FILE = "Check its path, its permissions and its disk."
#: The mode bits that are copied from a source: never setuid, setgid and sticky (as sftp_download).
PERMISSIONS = 0o777

_PRIVATE = 0o600
_LINKS = 40  # symlinks to follow, at most (Linux's MAXSYMLINKS)
_BLOCK = 1024 * 1024
# Opening a file in a directory requires no permission to read the directory.
_FOLDER = os.O_DIRECTORY | getattr(os, "O_PATH", os.O_RDONLY)
_SHARED = stat.S_ISVTX | stat.S_IWOTH
_FOREIGN_LINK = "it is another user's link in a directory where all may write"


class LocalFile:
    """Represent an open file on the controller.

    :param name: for messages.
    """

    def __init__(self, name: str, stream: BinaryIO) -> None:
        self.name = name
        self.stream = stream
        #: Permissions of the file that is fetched into it; None while unknown.
        self.mode: int | None = None

    def blocks(self, size: int) -> Iterator[bytes]:
        """Yield the content in blocks of ``size`` bytes."""
        with _named(f"cannot read {self.name}"):
            yield from iter(lambda: self.stream.read(size), b"")

    def write(self, data: bytes) -> None:
        """Write bytes."""
        with _named(f"cannot write {self.name}"):
            self.stream.write(data)

    def flush(self) -> None:
        """Flush buffered bytes to the system."""
        with _named(f"cannot write {self.name}"):
            self.stream.flush()


@contextlib.contextmanager
def source(name: str) -> Iterator[LocalFile]:
    """Open a file to be sent."""
    with _named(f"cannot read {name}"):
        stream = open(name, "rb")  # noqa: SIM115
    with stream:
        yield LocalFile(name, stream)


@contextlib.contextmanager
def complete(name: str) -> Iterator[LocalFile]:
    """Open a file to be fetched into: its content changes when all bytes have arrived, and is kept on an error.

    To a pipe or a device, the bytes are written as they arrive.
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
    """Return the mode of a new file: as of sftp_download, or for its owner alone if the source's is unknown."""
    return (_PRIVATE if source is None else source & PERMISSIONS | stat.S_IWUSR) & ~umask


class _Place(NamedTuple):
    """Locate the file that a name leads to."""

    folder: int  # descriptor of its directory
    base: str  # name in that directory; not a symlink, except to an open file
    to_open_file: bool  # whether it is a link in /proc to an open file, which only the kernel can follow


class _Temporary(NamedTuple):
    """Hold the bytes received so far in a file that only its owner can read."""

    descriptor: int
    folder: int
    base: str
    beside: bool  # whether it is in the same directory as the destination


@contextlib.contextmanager
def _followed(name: str, links: int = _LINKS) -> Iterator[_Place]:
    """Follow the symlinks at the end of a name; the last one may be dangling.

    The directory is used by its descriptor, so that a rename meanwhile leads nowhere else.
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
    """Return the target of a symlink; None if it is not one.

    :raises PermissionError: it may be an attack (fs.protected_symlinks in proc(5), which not every system has).
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
    """Return whether the links in a directory lead to open files of processes, whatever path they show (proc(5), /proc/pid/fd)."""
    try:
        return os.fstat(folder).st_dev == os.stat("/proc/self/fd").st_dev
    except FileNotFoundError:  # another system
        return False


def _opened(place: _Place) -> int | None:
    """Open an existing file for writing and return the descriptor; None if there is none."""
    if place.to_open_file:
        return os.open(place.base, os.O_WRONLY | os.O_TRUNC, dir_fd=place.folder)
    try:
        os.stat(place.base, dir_fd=place.folder, follow_symlinks=False)
    except FileNotFoundError:
        return None
    # With O_CREAT, as sftp does, since fs.protected_regular and fs.protected_fifos (proc(5)) apply only then.
    return os.open(place.base, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, _PRIVATE, dir_fd=place.folder)


@contextlib.contextmanager
def _temporary(place: _Place, old: int | None) -> Iterator[_Temporary]:
    """Create a temporary file beside the destination; elsewhere if the destination exists and its directory is not writable."""
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
        with contextlib.suppress(OSError):  # a failed write was reported before
            stream.close()


def _remove(base: str, folder: int) -> None:
    with contextlib.suppress(OSError):  # it was renamed
        os.unlink(base, dir_fd=folder)


def _settle(new: _Temporary, place: _Place, old: int | None, mode: int | None) -> None:
    """Rename the temporary file to its destination, or copy its content if the old file has properties that would be lost."""
    if old is None:
        os.fchmod(new.descriptor, new_mode(mode, _umask()))
        _rename(new, place)
        return
    if new.beside and _besides(old) == _besides(new.descriptor):
        os.fchmod(new.descriptor, os.fstat(old).st_mode & PERMISSIONS)
        try:
            _rename(new, place)
            return
        except OSError:  # for example a mount point
            pass
    _copy(new.descriptor, old)


def _rename(new: _Temporary, place: _Place) -> None:
    os.replace(new.base, place.base, src_dir_fd=new.folder, dst_dir_fd=place.folder)


def _besides(descriptor: int) -> tuple[object, ...]:
    """Return what a file has besides content and permissions: link count, owner, setuid, access lists, labels."""
    found = os.fstat(descriptor)
    try:
        attributes: object = {name: os.getxattr(descriptor, name) for name in os.listxattr(descriptor)}
    except (AttributeError, OSError):  # not supported, or failed: equal to no other file
        attributes = descriptor
    return found.st_nlink, found.st_uid, found.st_gid, found.st_mode & ~PERMISSIONS, attributes


def _copy(new: int, old: int) -> None:
    """Copy a file into another one; first what goes beyond the old end, so that the old content is kept if there is no space.

    Space is allocated before, as the old file may have holes. On a copy-on-write file system that guarantees nothing.
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
    """Allocate space for all of a file, where the system can do so; raise OSError if there is not enough."""
    try:
        os.posix_fallocate(descriptor, 0, size)
    except AttributeError:  # another system
        pass
    except OSError as error:  # other errors mean that it is not supported, or that the size is 0
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
    """Return the umask of this process, from /proc where possible, as umask(2) cannot read it without changing it for all threads."""
    with contextlib.suppress(OSError), open("/proc/self/status", encoding="latin-1", newline="\n") as status:
        for line in status:
            if line.startswith("Umask:"):  # since Linux 4.7
                return int(line.split()[1], 8)
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
