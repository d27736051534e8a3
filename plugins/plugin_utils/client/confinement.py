# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection.
"""Read what a process may do and use on Linux. A broker serves only processes with the same rights as its own.

A broker reads files and runs commands (ProxyCommand, KnownHostsCommand, Match exec) for its workers. A confined process (setpriv(1), a
container, a security module) would escape its confinement through a broker without it. Limits are not rights, but a broker keeps
those of its starter for ever, so they are part of its name (:func:`address.broker_name`). Every worker loads this for every task, so it
is short.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import socket
from collections.abc import Callable, Mapping

#: Our own process, as an argument of the functions below.
SELF = "/proc/self"
#: The kernel's value of each right, by the name of the right.
Rights = Mapping[str, object]

# Lines of /proc/PID/status, proc_pid_status(5); the last one since Linux 5.9.
_LINES = re.compile(
    r"^(Uid|Gid|Groups|CapInh|CapPrm|CapEff|CapBnd|CapAmb|NoNewPrivs|Seccomp|Seccomp_filters):[\t ]*(.*?)[\t ]*$",
    re.MULTILINE,
)
# The mode of new files, and the processors and memory nodes that may be used.
_LINES_OF_USE = re.compile(r"^(Umask|Cpus_allowed|Mems_allowed):[\t ]*(.*?)[\t ]*$", re.MULTILINE)
# The scope of a login (pam_systemd(8)), or of a terminal of VTE or tmux(1); these have no limits of their own. Other scopes may have
# some, such as those of systemd-run(1), which can have any name.
_SCOPE = re.compile(
    r"((?<=/user\.slice)/user-[0-9]+\.slice)/session-c?[0-9]+\.scope$|/(?:vte|tmux)-spawn-[0-9a-f-]{32,36}\.scope$",
    re.MULTILINE,
)
# All of namespaces(7).
_NAMESPACES = ("cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts")
_CHUNK = 65536
# asm-generic/socket.h, since Linux 6.5; Python has no name for it.
_SO_PEERPIDFD = 77


def rights(process: str) -> Rights:
    """Return what a process may do.

    :param process: its directory in /proc.
    :raises OSError: the process is gone, or may not be inspected.
    """
    return _rights(process, read(f"{process}/status"), lambda: read(f"{process}/cgroup"))


def own() -> tuple[Rights, Rights]:
    """Return the rights of our own process, and its limits, priorities, control group and audit user.

    An unprivileged process can only lower most of the latter, so a broker that was started with less cannot serve processes with more.
    systemd limits and ends units, which are control groups. The priority of ionice(1) is not included.

    :raises OSError: they cannot be read.
    """
    status, groups = read(f"{SELF}/status"), read(f"{SELF}/cgroup")
    found: dict[str, object] = dict(_LINES_OF_USE.findall(status))
    found["limits"] = read(f"{SELF}/limits")
    found["priority"] = _priority(read(f"{SELF}/stat"))
    found["out of memory"] = read(f"{SELF}/oom_score_adj")
    found["control group"] = shared_group(groups)
    with contextlib.suppress(OSError):  # a kernel without it
        found["login"] = read(f"{SELF}/loginuid")  # as audit(8) has it: the user behind sudo(8)
    return _rights(SELF, status, lambda: groups), found


def _rights(process: str, status: str, groups: Callable[[], str]) -> Rights:
    found: dict[str, object] = dict(_LINES.findall(status))
    for kind in _NAMESPACES:
        found[f"namespace {kind}"] = _namespace(process, kind)
    found["root directory"] = _root(process)
    found["security label"] = _label(process)
    if (found.get("NoNewPrivs"), found.get("Seccomp")) != ("0", "0"):
        # What seccomp or Landlock forbids cannot be read, so a process that may be restricted by them shares a broker only within
        # its control group: a container, or a unit of systemd.
        found["control group"] = groups()
    return found


def has_cpu_limit(found: Rights) -> bool:
    """Return whether these limits end a process after some processor time."""
    (line,) = [line for line in str(found["limits"]).split("\n") if line.startswith("Max cpu time")]
    return line.split()[3] != "unlimited"


def shared_group(groups: str) -> str:
    """Return control groups (/proc/PID/cgroup) without the scope of a login or terminal, so that all of a user's are equal."""
    return _SCOPE.sub(r"\1", groups)


def differing(ours: Rights, theirs: Rights) -> str:
    """Return the names of the rights that differ, separated by commas; empty if none do."""
    return ", ".join(name for name in sorted({*ours, *theirs}) if ours.get(name) != theirs.get(name))


def rights_of_peer(sock: socket.socket, number: int) -> Rights:
    """Return the rights of the process that connected a Unix socket.

    :param number: process id, from SO_PEERCRED. Before Linux 6.5, its reuse by another process meanwhile cannot be detected.
    :raises OSError: the process is gone, or may not be inspected.
    """
    descriptor = _peer_descriptor(sock, number)
    if descriptor < 0:
        return rights(f"/proc/{number}")
    try:
        # The id in the PID namespace of the mounted /proc, which may not be our own.
        number = _number(descriptor)
        found = rights(f"/proc/{number}")
        if _number(descriptor) != number:
            raise ProcessLookupError(errno.ESRCH, os.strerror(errno.ESRCH))
        return found
    finally:
        os.close(descriptor)


def _peer_descriptor(sock: socket.socket, number: int) -> int:
    """Return a pidfd of the peer; -1 where pidfds are not supported."""
    try:
        return sock.getsockopt(socket.SOL_SOCKET, _SO_PEERPIDFD)
    except OSError as error:
        if error.errno != errno.ENOPROTOOPT:
            raise
    try:
        return os.pidfd_open(number)
    except (AttributeError, OSError) as error:  # Python built for another system, or Linux before 5.3
        if isinstance(error, OSError) and error.errno != errno.ENOSYS:
            raise
        return -1


def _number(descriptor: int) -> int:
    """Return the id of the process of a pidfd; raise ProcessLookupError if it was reaped, as its id may be reused then."""
    fields = dict(line.split(":", 1) for line in read(f"{SELF}/fdinfo/{descriptor}").split("\n") if ":" in line)
    number = int(fields.get("Pid", "-1"))
    if number <= 0:
        raise ProcessLookupError(errno.ESRCH, os.strerror(errno.ESRCH))
    return number


def read(path: str) -> str:
    """Return the content of a file in /proc; raise OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        pieces = iter(lambda: os.read(descriptor, _CHUNK), b"")
        return b"".join(pieces).decode("latin-1")
    finally:
        os.close(descriptor)


def _priority(stat: str) -> tuple[str, ...]:
    """Return nice value, real-time priority and policy of /proc/PID/stat (proc_pid_stat(5)); musl has no calls for the last two."""
    fields = stat.rpartition(")")[2].split()  # from the third on; the second, a name, may contain anything
    return fields[19 - 3], fields[40 - 3], fields[41 - 3]


def _namespace(process: str, kind: str) -> str:
    try:
        return os.readlink(f"{process}/ns/{kind}")
    except FileNotFoundError:  # the kernel has none of this kind
        return ""


def _root(process: str) -> tuple[str, int]:
    """Return the mount (fdinfo, proc_pid_fdinfo(5)) and the inode number of the root directory of a process."""
    descriptor = os.open(f"{process}/root", os.O_PATH | os.O_CLOEXEC)
    try:
        return read(f"{SELF}/fdinfo/{descriptor}"), os.fstat(descriptor).st_ino
    finally:
        os.close(descriptor)


def _label(process: str) -> str:
    """Return the label that AppArmor, SELinux or Smack gives to a process."""
    try:
        return read(f"{process}/attr/current")
    except OSError:  # no such module; a label hidden for only one of two processes differs
        return ""
