# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection.
"""Find the broker of a worker: a socket in a directory that no other user can read, move or replace.

One broker serves processes that would open the same connections and may do the same: same user, home, Python, rights, limits and code
of this collection. Every worker loads this for every task, so it is short.
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


# Temporary errors of errno(3): other processes will release the resource.
_PASSING = frozenset({errno.EAGAIN, errno.EINTR, errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class BrokerUnavailable(Exception):
    """Report that no broker can serve a request; the message says why.

    :param lasting: whether the next request would fail, too.
    """

    def __init__(self, why: str, lasting: bool = True) -> None:
        super().__init__(why)
        self.lasting = lasting


def is_lasting(error: OSError) -> bool:
    """Return whether another attempt would fail in the same way."""
    return error.errno not in _PASSING


class Directory:
    """Hold a private directory open, so that it stays the same whatever happens to its name.

    :param create: whether to create it if it is missing; else FileNotFoundError is raised.
    :raises BrokerUnavailable: it cannot be created, or another user could write to it or replace it.
    """

    def __init__(self, path: str, create: bool = True) -> None:
        try:
            above, name = os.path.split(path)
            above = _checked(above)
            path = self.path = os.path.join(above, name)  # without symlinks, which could lead elsewhere next time
            if create:
                _make(path)
            self._descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except ValueError as error:  # it contains a NUL
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
        """Close the directory. Idempotent."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def open(self, name: str, flags: int) -> int:
        """Open a file in it and return the descriptor; raise OSError."""
        return os.open(name, flags | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600, dir_fd=self._descriptor)

    def inode(self, name: str) -> int | None:
        """Return the inode number of a file in it; None if there is none."""
        try:
            return os.stat(name, dir_fd=self._descriptor, follow_symlinks=False).st_ino
        except FileNotFoundError:
            return None

    def names(self) -> list[str]:
        """Return the names of the files in it, sorted."""
        return sorted(os.listdir(self._descriptor))

    def rename(self, old: str, new: str) -> None:
        """Rename a file in it; raise OSError."""
        os.rename(old, new, src_dir_fd=self._descriptor, dst_dir_fd=self._descriptor)

    def remove(self, name: str) -> None:
        """Remove a file in it, if it exists."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self._descriptor)

    def address(self, name: str) -> str:
        """Return a path for bind(2) and connect(2) that leads to this very directory, and is short enough for sockaddr_un."""
        return f"{SELF}/fd/{self._descriptor}/{name}"

    def connect(self, name: str) -> socket.socket | None:
        """Connect to the broker that listens at a name; return None if there is none.

        Until :func:`without_limit` is called, sending fails if the peer reads nothing for 20 seconds.

        :raises BrokerUnavailable: another user's process listens there, or sockets do not work there.
        :raises TimeoutError: the socket's queue is full.
        """
        address = self.address(name)
        sock = socket.socket(socket.AF_UNIX)
        try:
            # Python's socket timeout does not wait while the queue is full: connect(2), EAGAIN.
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
    """Remove the send timeout that :meth:`Directory.connect` has set."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _TIME.pack(0, 0))


class Peer:
    """Identify the process at the other end of a Unix socket: the one that connected, or that called listen(2) last."""

    __slots__ = ("pid", "uid")

    def __init__(self, pid: int, uid: int) -> None:
        self.pid = pid
        self.uid = uid


def peer(sock: socket.socket) -> Peer:
    """Return the process at the other end; raise OSError."""
    pid, uid, _gid = _CREDENTIALS.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    return Peer(pid, uid)


def _is_private(found: os.stat_result) -> bool:
    return found.st_uid == os.geteuid() and not stat.S_IMODE(found.st_mode) & 0o077


def _checked(path: str) -> str:
    """Return the path without symlinks, if no other user can replace a directory in it.

    As OpenSSH's safe_path() (misc.c), but sticky directories such as /tmp are allowed, as only a file's owner may move it there.

    :raises BrokerUnavailable: a user other than root and ours can replace a directory in it.
    """
    # abspath() keeps two leading slashes.
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
    """Return lstat(2) of a path and of all directories above it; missing ones are left out, as this process will create them."""
    found = {}
    while True:
        with contextlib.suppress(FileNotFoundError):
            found[path] = os.lstat(path)
        if path == os.sep:
            return found
        path = os.path.dirname(path)


def _has_no_number(uid: int) -> bool:
    """Return whether this is the overflow id, which all users have that are not mapped in our user namespace (user_namespaces(7)).

    In a namespace without the system's root (bwrap(1)), ``/`` and ``/run`` have this owner, and the users behind it cannot be told
    apart. A directory that another of them put in place of ours would not be owned by our user, and so be refused.
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
    """Return whether an ACL may grant rights to further users and groups; the group bits of the mode are their mask then (acl(5)).

    :raises OSError: it cannot be determined.
    """
    try:
        os.getxattr(path, "system.posix_acl_access", follow_symlinks=False)
    except (AttributeError, OSError) as error:  # Python built for another system
        if isinstance(error, OSError) and error.errno not in (errno.ENODATA, errno.EOPNOTSUPP):
            raise
        return False
    return True


def _is_own_group(number: int) -> bool:
    """Return whether a group is root's, or our user's private one: of the same name, without other members, as used with umask 002.

    Images for arbitrary user ids have homes that root's group may write to; the process has that group (OpenShift, execution
    environments).
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
    # gr_mem does not list the users whose primary group it is.
    return all(each.pw_uid == user.pw_uid for each in pwd.getpwall() if each.pw_gid == number)


def _make(path: str, mode: int = 0o700) -> None:
    """Create a directory and its missing parents, which other users cannot write to, whatever the umask is."""
    try:
        os.mkdir(path, mode)
    except FileExistsError:
        pass
    except FileNotFoundError:
        _make(os.path.dirname(path), 0o755)
        with contextlib.suppress(FileExistsError):
            os.mkdir(path, mode)


def directories(wanted: str | None, ansible_home: str) -> Iterator[str]:
    """Yield the paths to try, in order.

    :param wanted: the user's choice; if set, no other is tried.
    :param ansible_home: Ansible's home directory (ANSIBLE_HOME).
    """
    if wanted:
        yield os.path.abspath(os.path.expanduser(wanted))
        return
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    with contextlib.suppress(OSError):
        # sudo(8) may have kept that of another user; the XDG specification says to ignore a relative path.
        if os.path.isabs(runtime) and _is_private(os.stat(runtime)):
            yield os.path.join(runtime, _FOLDER)
    yield os.path.join(os.path.abspath(os.path.expanduser(ansible_home)), _FOLDER)


def open_directory(wanted: str | None, ansible_home: str) -> Directory:
    """Return the first usable directory; see :func:`directories`.

    :raises BrokerUnavailable: none is usable.
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
    """Return the name of our broker: equal for processes that would open the same connections, with the same rights and limits.

    :raises BrokerUnavailable: our rights cannot be read, or a limit would end the broker during its work.
    """
    try:
        ours, use = own()
    except OSError as error:
        why = f"the rights of this process cannot be read: {error.filename}: {error.strerror}"
        raise BrokerUnavailable(why, is_lasting(error)) from error
    if has_cpu_limit(use):
        raise BrokerUnavailable("a limit on processor time (ulimit -t) would soon end a process that serves many tasks")
    same = [
        os.uname().nodename,  # machines may share a home
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
    """Yield folder, name, size and mtime of the files that a broker runs, as another version of them needs another broker."""
    with os.scandir(_PACKAGE) as entries:
        folders = [entry.name for entry in entries if entry.is_dir() and entry.name != "__pycache__"]
    for folder in ("", *sorted(folders)):
        descriptor = os.open(os.path.join(_PACKAGE, folder), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for name in sorted(os.listdir(descriptor)):
                if name.endswith(".py"):
                    found = os.stat(name, dir_fd=descriptor)  # faster than the whole path
                    yield folder, name, found.st_size, found.st_mtime_ns
        finally:
            os.close(descriptor)
