# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a process may do, as Linux tells it: a broker does nothing for a process with other rights than its own.

It reads files and runs commands (ProxyCommand, KnownHostsCommand, Match exec) for those who ask. A process that was
confined (setpriv(1), a container, a security module) would leave its confinement through a broker that is not.
Every worker loads this for every task, so it is short.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Mapping

#: A process as the functions below take it: our own.
SELF = "/proc/self"
#: What the functions below return: the name of each right, and what the kernel says of it.
Rights = Mapping[str, object]

# Lines of /proc/PID/status, proc_pid_status(5); the last one since Linux 5.9.
_LINES = (
    "Uid", "Gid", "Groups", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp", "Seccomp_filters",
)  # fmt: skip
# All of namespaces(7).
_NAMESPACES = ("cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts")
_CHUNK = 65536
# asm-generic/socket.h, since Linux 6.5; Python has no name for it.
_SO_PEERPIDFD = 77


def rights(process: str) -> Rights:
    """What a process may do.

    :param process: its directory in /proc.
    :raises OSError: it is gone, or may not be looked at.
    """
    found: dict[str, object] = _lines(process)
    for kind in _NAMESPACES:
        found[f"namespace {kind}"] = _namespace(process, kind)
    found["root directory"] = _root(process)
    found["security label"] = _label(process)
    if (found.get("NoNewPrivs"), found.get("Seccomp")) != ("0", "0"):
        # What a filter of system calls or Landlock forbids cannot be seen, so a process that may have one shares only
        # with those that were started together: in a container, or in a unit of systemd.
        found["control group"] = read(f"{process}/cgroup")
    return found


def differing(ours: Rights, theirs: Rights) -> str:
    """The names of those that are not the same; empty if all are."""
    return ", ".join(name for name in sorted({*ours, *theirs}) if ours.get(name) != theirs.get(name))


def rights_of_peer(sock: socket.socket, number: int) -> Rights:
    """What the process may do that has connected a Unix socket; if it is gone by now, OSError is raised.

    :param number: of the process, as SO_PEERCRED has it. Before Linux 6.5 nothing says whether another process has got
        it meanwhile.
    """
    descriptor = _peer_descriptor(sock, number)
    if descriptor < 0:
        return rights(f"/proc/{number}")
    try:
        # As the file system in /proc has it, which may be that of another PID namespace.
        number = _number(descriptor)
        found = rights(f"/proc/{number}")
        if _number(descriptor) != number:
            raise ProcessLookupError(errno.ESRCH, os.strerror(errno.ESRCH))
        return found
    finally:
        os.close(descriptor)


def _peer_descriptor(sock: socket.socket, number: int) -> int:
    """A pidfd; -1 where there are none."""
    try:
        return sock.getsockopt(socket.SOL_SOCKET, _SO_PEERPIDFD)
    except OSError as error:
        if error.errno != errno.ENOPROTOOPT:
            raise
    try:
        return os.pidfd_open(number)
    except (AttributeError, OSError) as error:  # Python made for another system, or Linux before 5.3
        if isinstance(error, OSError) and error.errno != errno.ENOSYS:
            raise
        return -1


def _number(descriptor: int) -> int:
    """The number of a process that has not been reaped; it is no other one's until then."""
    fields = dict(line.split(":", 1) for line in read(f"{SELF}/fdinfo/{descriptor}").split("\n") if ":" in line)
    number = int(fields.get("Pid", "-1"))
    if number <= 0:
        raise ProcessLookupError(errno.ESRCH, os.strerror(errno.ESRCH))
    return number


def read(path: str) -> str:
    """A file in /proc; raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        pieces = iter(lambda: os.read(descriptor, _CHUNK), b"")
        return b"".join(pieces).decode("latin-1")
    finally:
        os.close(descriptor)


def _lines(process: str) -> dict[str, object]:
    found: dict[str, object] = {}
    for line in read(f"{process}/status").split("\n"):
        name, _colon, value = line.partition(":")
        if name in _LINES:
            found[name] = value.strip()
    return found


def _namespace(process: str, kind: str) -> str:
    try:
        return os.readlink(f"{process}/ns/{kind}")
    except FileNotFoundError:  # the kernel has none of this kind
        return ""


def _root(process: str) -> tuple[str, int]:
    """Its root directory: the mount (fdinfo, proc_pid_fdinfo(5)) and the number of the file there."""
    descriptor = os.open(f"{process}/root", os.O_PATH | os.O_CLOEXEC)
    try:
        return read(f"{SELF}/fdinfo/{descriptor}"), os.fstat(descriptor).st_ino
    finally:
        os.close(descriptor)


def _label(process: str) -> str:
    """What AppArmor, SELinux or Smack call it."""
    try:
        return read(f"{process}/attr/current")
    except OSError:  # there is no such module; if it is hidden for the other process only, that differs
        return ""
