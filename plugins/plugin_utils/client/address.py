# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection.
"""Where the broker of a worker is: a socket in a directory that no other user can look into, move or replace.

One broker serves those who would open the same connections, and may do the same: of one user, with one home and
Python, the same rights and limits, and the same code of this collection. Every worker loads this for every task, so it is short.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import socket
import stat
import struct
import sys
from collections.abc import Iterator

from .confinement import SELF, has_cpu_limit, own, read

_FOLDER = "bastion-ssh"
_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_CREDENTIALS = struct.Struct("3i")  # of SO_PEERCRED, unix(7): pid, uid, gid
_TIME = struct.Struct("@ll")  # struct timeval
_SECONDS = 20


# What passes, of errno(3): others give back what is short.
_PASSING = frozenset({errno.EAGAIN, errno.EINTR, errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class BrokerUnavailable(Exception):
    """There is no broker for this request; the text says why.

    :param lasting: whether there cannot be one for the next request either.
    """

    def __init__(self, why: str, lasting: bool = True) -> None:
        super().__init__(why)
        self.lasting = lasting


def is_lasting(error: OSError) -> bool:
    """Whether the next try would end in the same way."""
    return error.errno not in _PASSING


class Directory:
    """A directory of ours, open, so that it stays the same whatever happens to its name.

    :param create: whether to make it; else FileNotFoundError is raised where it is not there.
    :raises BrokerUnavailable: it cannot be made, or another user could put something into it, or another one into its place.
    """

    def __init__(self, path: str, create: bool = True) -> None:
        try:
            above, name = os.path.split(path)
            above = _checked(above)
            path = self.path = os.path.join(above, name)  # with no symlink in it that could lead elsewhere next time
            if create:
                _make(path)
            self._descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except ValueError as error:  # a NUL
            raise BrokerUnavailable(f"{path!r} is no path") from error
        except OSError as error:
            if error.errno == errno.ENOENT and not create:
                raise
            if error.errno in (errno.ELOOP, errno.ENOTDIR, errno.EEXIST):
                raise BrokerUnavailable(f"{path} is not a directory") from error
            raise BrokerUnavailable(f"{path}: {error.strerror}", is_lasting(error)) from error
        found = os.fstat(self._descriptor)
        if not _is_private(found):
            self.close()
            raise BrokerUnavailable(f"{path} is open to others than its user; it has to be ours, with mode 0700")

    def __enter__(self) -> Directory:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes it. Harmless when repeated."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def open(self, name: str, flags: int) -> int:
        """A descriptor of a file in it; raises OSError."""
        return os.open(name, flags | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600, dir_fd=self._descriptor)

    def inode(self, name: str) -> int | None:
        """The number of a file in it; None if there is none."""
        try:
            return os.stat(name, dir_fd=self._descriptor, follow_symlinks=False).st_ino
        except FileNotFoundError:
            return None

    def names(self) -> list[str]:
        """The files in it."""
        return sorted(os.listdir(self._descriptor))

    def rename(self, old: str, new: str) -> None:
        """Gives a file another name; raises OSError."""
        os.rename(old, new, src_dir_fd=self._descriptor, dst_dir_fd=self._descriptor)

    def remove(self, name: str) -> None:
        """Removes a file, if it is there."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self._descriptor)

    def address(self, name: str) -> str:
        """A file in it as bind(2) and connect(2) take it: in this very directory, and short enough for sockaddr_un."""
        return f"{SELF}/fd/{self._descriptor}/{name}"

    def connect(self, name: str) -> socket.socket | None:
        """A connection to the broker that listens there; None if there is none.

        Until :func:`without_limit`, sending fails when nothing is taken for 20 seconds.

        :raises BrokerUnavailable: somebody else listens there, or sockets do not work there.
        :raises TimeoutError: so many wait there already that nobody more can.
        """
        address = self.address(name)
        sock = socket.socket(socket.AF_UNIX)
        try:
            # As a socket's own timeout does not wait where the queue is full: connect(2), EAGAIN.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _TIME.pack(_SECONDS, 0))
            sock.connect(address)
        except (FileNotFoundError, ConnectionRefusedError):
            sock.close()
            return None
        except BlockingIOError as error:
            sock.close()
            raise TimeoutError from error
        except OSError as error:
            sock.close()
            raise BrokerUnavailable(f"{os.path.join(self.path, name)}: {error.strerror}", is_lasting(error)) from error
        if peer(sock).uid != os.geteuid():
            sock.close()
            raise BrokerUnavailable(f"{os.path.join(self.path, name)} is the socket of another user")
        return sock


def without_limit(sock: socket.socket) -> None:
    """Lets sending wait for as long as it takes."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _TIME.pack(0, 0))


class Peer:
    """The process at the other end of a Unix socket: who connected, or who listened last."""

    __slots__ = ("pid", "uid")

    def __init__(self, pid: int, uid: int) -> None:
        self.pid = pid
        self.uid = uid


def peer(sock: socket.socket) -> Peer:
    """The process at the other end; raises OSError."""
    pid, uid, _gid = _CREDENTIALS.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    return Peer(pid, uid)


def _is_private(found: os.stat_result) -> bool:
    return found.st_uid == os.geteuid() and not stat.S_IMODE(found.st_mode) & 0o077


def _checked(path: str) -> str:
    """The path without symlinks. As OpenSSH's safe_path() (misc.c), which does not know of directories such as /tmp, where only its
    owner may move a file.

    :raises BrokerUnavailable: a user who is neither root nor ours can put another directory into the place of one in it.
    """
    # abspath() leaves two slashes at the beginning.
    found = _components(path) if path == os.path.abspath(path) and not path.startswith("//") else {}
    if not found or any(stat.S_ISLNK(each.st_mode) for each in found.values()):
        path = os.path.realpath(path)
        found = _components(path)
    for each, state in found.items():
        if state.st_uid not in (0, os.geteuid()) and not _has_no_number(state.st_uid):
            raise BrokerUnavailable(f"{each} belongs to another user, who could replace what is in it")
        if _is_writable_by_others(each, state):
            raise BrokerUnavailable(f"{each} can be written by other users, who could replace what is in it")
    return path


def _components(path: str) -> dict[str, os.stat_result]:
    """What is there on the way from a path to the root; what is missing is to be made by us."""
    found = {}
    while True:
        with contextlib.suppress(FileNotFoundError):
            found[path] = os.lstat(path)
        if path == os.sep:
            return found
        path = os.path.dirname(path)


def _has_no_number(uid: int) -> bool:
    """Whether this stands for all users who have no number in our user namespace (user_namespaces(7)).

    The owner of ``/`` and ``/run`` is one of them in a namespace without the system's root (bwrap(1)), and the system does not tell
    them apart. What another of them could put into the place of our directory is still not ours, and so refused.
    """
    try:
        overflow = int(read("/proc/sys/kernel/overflowuid"))
    except OSError:
        overflow = 65534  # DEFAULT_OVERFLOWUID in linux/highuid.h
    if uid != overflow:
        return False
    try:
        extents = [[int(word) for word in line.split()] for line in read(f"{SELF}/uid_map").splitlines()]
    except OSError:  # a kernel without namespaces
        return False
    return not any(first <= uid < first + count for first, _outside, count in extents)


def _is_writable_by_others(path: str, found: os.stat_result) -> bool:
    if found.st_mode & stat.S_ISVTX:
        return False
    if found.st_mode & stat.S_IWOTH:
        return True
    return bool(found.st_mode & stat.S_IWGRP) and (_has_acl(path) or not _is_own_group(found.st_gid))


def _has_acl(path: str) -> bool:
    """Whether more users and groups than those of its mode may have rights; the group's bits there are then the most of any (acl(5)).

    :raises OSError: it cannot be known.
    """
    try:
        os.getxattr(path, "system.posix_acl_access", follow_symlinks=False)
    except (AttributeError, OSError) as error:  # Python made for another system
        if isinstance(error, OSError) and error.errno not in (errno.ENODATA, errno.EOPNOTSUPP):
            raise
        return False
    return True


def _is_own_group(number: int) -> bool:
    """Whether a group is root's, or that of our user alone: called the same, and without other members, as where the umask is 002.

    Images for any user id have homes that root's group may write to, which is that of the process (OpenShift, execution environments).
    """
    if number == 0:
        return True
    import grp
    import pwd

    try:
        group, user = grp.getgrgid(number), pwd.getpwuid(os.geteuid())
    except KeyError:
        return False
    if (group.gr_name, number) != (user.pw_name, user.pw_gid) or not {*group.gr_mem} <= {user.pw_name}:
        return False
    # A group does not name those who have it as their first one.
    return all(each.pw_uid == user.pw_uid for each in pwd.getpwall() if each.pw_gid == number)


def _make(path: str, mode: int = 0o700) -> None:
    """Makes a directory; those above it that are missing cannot be written by other users, whatever the umask is."""
    try:
        os.mkdir(path, mode)
    except FileExistsError:
        pass
    except FileNotFoundError:
        _make(os.path.dirname(path), 0o755)
        with contextlib.suppress(FileExistsError):
            os.mkdir(path, mode)


def directories(wanted: str | None, ansible_home: str) -> Iterator[str]:
    """The paths to try in turn.

    :param wanted: the user's choice, which is the only one then.
    """
    if wanted:
        yield os.path.abspath(os.path.expanduser(wanted))
        return
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    with contextlib.suppress(OSError):
        # sudo(8) may have kept that of another user; a relative one is none, says the specification.
        if os.path.isabs(runtime) and _is_private(os.stat(runtime)):
            yield os.path.join(runtime, _FOLDER)
    yield os.path.join(os.path.abspath(os.path.expanduser(ansible_home)), _FOLDER)


def open_directory(wanted: str | None, ansible_home: str) -> Directory:
    """The first of the directories that can be used.

    :raises BrokerUnavailable: none can.
    """
    if not hasattr(socket, "SO_PEERCRED"):
        raise BrokerUnavailable("this system does not tell who is at the other end of a socket")
    problems, lasting = [], True
    for path in directories(wanted, ansible_home):
        try:
            return Directory(path)
        except BrokerUnavailable as error:
            problems.append(str(error))
            lasting = lasting and error.lasting
    raise BrokerUnavailable("; ".join(problems), lasting)


def broker_name() -> str:
    """The name of our broker: the same for those who would open the same connections, and may do and use the same.

    :raises BrokerUnavailable: the system does not say what we may do, or a broker would be ended in the middle of its work.
    """
    try:
        ours, use = own()
    except OSError as error:
        why = f"the rights of this process cannot be read: {error.filename}: {error.strerror}"
        raise BrokerUnavailable(why, is_lasting(error)) from error
    if has_cpu_limit(use):
        raise BrokerUnavailable("a limit on processor time (ulimit -t) would soon end a process that serves many tasks")
    same = [
        os.uname().nodename,  # as a home may be shared by machines
        sorted(ours.items()),
        sorted(use.items()),
        os.geteuid(),
        os.environ.get("HOME"),
        os.environ.get("PYTHONPATH"),
        sys.executable,
        sys.version,
        _PACKAGE,
        *_code(),
    ]
    return hashlib.sha256(repr(same).encode()).hexdigest()[:16]


def _code() -> Iterator[tuple[str, str, int, int]]:
    """The files of this collection that a broker runs: another version of them is another broker."""
    for folder in ("", "chain", "ssh", "broker"):
        descriptor = os.open(os.path.join(_PACKAGE, folder), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for name in sorted(os.listdir(descriptor)):
                if name.endswith(".py"):
                    found = os.stat(name, dir_fd=descriptor)  # the whole path takes longer
                    yield folder, name, found.st_size, found.st_mtime_ns
        finally:
            os.close(descriptor)
