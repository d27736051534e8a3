# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection.
"""What a process may do and use, as Linux tells it: a broker does nothing for a process with other rights than its own.

It reads files and runs commands (ProxyCommand, KnownHostsCommand, Match exec) for those who ask. A process that was
confined (setpriv(1), a container, a security module) would leave its confinement through a broker that is not. Limits
are no rights, but a broker has those of its starter for ever, so they are part of its name (:func:`address.broker_name`).
Every worker loads this for every task, so it is short.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import socket
from collections.abc import Callable, Mapping

#: A process as the functions below take it: our own.
SELF = "/proc/self"
#: What the functions below return: the name of each right, and what the kernel says of it.
Rights = Mapping[str, object]

# Lines of /proc/PID/status, proc_pid_status(5); the last one since Linux 5.9.
_LINES = re.compile(
    r"^(Uid|Gid|Groups|CapInh|CapPrm|CapEff|CapBnd|CapAmb|NoNewPrivs|Seccomp|Seccomp_filters):[\t ]*(.*?)[\t ]*$",
    re.MULTILINE,
)
# The mode of new files, and the processors and memory that may be used.
_LINES_OF_USE = re.compile(r"^(Umask|Cpus_allowed|Mems_allowed):[\t ]*(.*?)[\t ]*$", re.MULTILINE)
# The scope of a login (pam_systemd(8)), or of a terminal of VTE or tmux(1), as they name it; none has limits of its own.
# Any other may have some, as those of systemd-run(1), which bear any name.
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
    """What a process may do.

    :param process: its directory in /proc.
    :raises OSError: it is gone, or may not be looked at.
    """
    return _rights(process, read(f"{process}/status"), lambda: read(f"{process}/cgroup"))


def own() -> tuple[Rights, Rights]:
    """The rights of our own process, and what it may use of the machine, in what order it gets that, and who it is on record.

    An unprivileged process can only lower most of the latter, so one that was started with less cannot serve those with more.
    What systemd limits and ends is a unit, which is a control group. Not seen is the priority of ionice(1).

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
        # What a filter of system calls or Landlock forbids cannot be seen, so a process that may have one shares only
        # with those that were started together: in a container, or in a unit of systemd.
        found["control group"] = groups()
    return found


def has_cpu_limit(found: Rights) -> bool:
    """Whether a process with these limits is ended after some time at work."""
    (line,) = [line for line in str(found["limits"]).split("\n") if line.startswith("Max cpu time")]
    return line.split()[3] != "unlimited"


def shared_group(groups: str) -> str:
    """The control groups (/proc/PID/cgroup) that all logins and terminals of a user have in common."""
    return _SCOPE.sub(r"\1", groups)


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


def _priority(stat: str) -> tuple[str, ...]:
    """Nice value, priority and policy of /proc/PID/stat (proc_pid_stat(5)); musl has no calls that tell the last two."""
    fields = stat.rpartition(")")[2].split()  # from the third on; there may be anything in a name, which is the second
    return fields[19 - 3], fields[40 - 3], fields[41 - 3]


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
