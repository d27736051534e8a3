# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a process may do, and what is seen of it from outside."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from ansible_collections.bastion.ssh.plugins.plugin_utils.client import confinement
from ansible_collections.bastion.ssh.plugins.plugin_utils.client.confinement import (
    SELF,
    differing,
    rights,
    rights_of_peer,
    shared_group,
)

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can confine itself in all of these ways")
ROOT = confinement.__file__.partition("/ansible_collections/")[0]
FIND = f"import sys; sys.path.insert(0, {ROOT!r}); from {confinement.__name__} import *; "
NAME = f"{FIND} from {confinement.__name__.replace('confinement', 'address')} import broker_name; print(broker_name())"

# seccomp(2): a filter that lets everything through.
FILTERED = """
import ctypes, os, sys
class Filter(ctypes.Structure):
    _fields_ = [("code", ctypes.c_ushort), ("jt", ctypes.c_ubyte), ("jf", ctypes.c_ubyte), ("k", ctypes.c_uint)]
class Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.POINTER(Filter))]
allow = Filter(6, 0, 0, 0x7FFF0000)
assert ctypes.CDLL(None).prctl(22, 2, ctypes.byref(Program(1, ctypes.pointer(allow)))) == 0
os.execv(sys.argv[1], sys.argv[1:])
"""

PLAIN = ["setpriv", "--groups=4,5"]
WAYS = {
    "no new privileges": ["setpriv", "--groups=4,5", "--no-new-privs"],
    "no groups": ["setpriv", "--clear-groups"],
    "fewer groups": ["setpriv", "--groups=4"],
    "another group": [*PLAIN, "--regid=65534"],
    "another effective group": [*PLAIN, "--egid=65534"],
    "another real user": [*PLAIN, "--ruid=65534"],
    "fewer capabilities for ever": [*PLAIN, "--bounding-set=-mknod"],
    "inherited capabilities": [*PLAIN, "--inh-caps=+mknod"],
    "ambient capabilities": [*PLAIN, "--inh-caps=+mknod", "--ambient-caps=+mknod"],
    "a filter": [*PLAIN, sys.executable, "-c", FILTERED],
    "two filters": [*PLAIN, sys.executable, "-c", FILTERED, sys.executable, "-c", FILTERED],
    "another user namespace": [*PLAIN, "unshare", "--user"],
    "another user namespace of root": [*PLAIN, "unshare", "--user", "--map-root-user"],
    "another PID namespace": [*PLAIN, "unshare", "--pid", "--fork"],
    "another IPC namespace": [*PLAIN, "unshare", "--ipc"],
    "another cgroup namespace": [*PLAIN, "unshare", "--cgroup"],
    "another time namespace": [*PLAIN, "unshare", "--time", "--fork"],
    "another network": [*PLAIN, "unshare", "--net"],
    "another tree of files": [*PLAIN, "unshare", "--mount"],
}


LIMITED = {
    "smaller files": ["prlimit", "--fsize=1000000"],
    "smaller files unless it wants larger ones": ["prlimit", "--fsize=1000000:"],
    "less memory": ["prlimit", "--as=4000000000"],
    "fewer files": ["prlimit", "--nofile=512"],
    "fewer processes": ["prlimit", "--nproc=1000"],
    "another priority": ["nice", "-n", "5"],
    "other scheduling": ["chrt", "--batch", "0"],
    "one processor": ["taskset", "1"],
    "another umask": ["sh", "-c", 'umask 027; exec "$@"', "sh"],
    "ended sooner": ["sh", "-c", 'echo 500 >/proc/self/oom_score_adj; exec "$@"', "sh"],
}


def output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


# trust: T58
@as_root
def test_each_confinement_has_a_broker_of_its_own() -> None:
    names = {way: output(*words, sys.executable, "-c", NAME) for way, words in {"plain": PLAIN, **WAYS}.items()}
    assert [[way, *[other for other in names if names[other] == names[way] and other != way]] for way in names] == [
        [way] for way in names
    ]
    assert output(*PLAIN, sys.executable, "-c", NAME) == names["plain"]


def test_each_limit_has_a_broker_of_its_own() -> None:
    names = {way: output(*words, sys.executable, "-c", NAME) for way, words in {"plain": [], **LIMITED}.items()}
    assert len(set(names.values())) == len(names), names
    assert output(sys.executable, "-c", NAME) == names["plain"]


def test_a_process_with_little_time_has_no_broker() -> None:
    for limit in ("--cpu=1000", "--cpu=1000:"):
        command = ["prlimit", limit, sys.executable, "-c", NAME]
        told = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False).stderr
        assert "BrokerUnavailable: a limit on processor time (ulimit -t) would soon end" in told


def test_nothing_is_read_twice_to_name_a_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Since each task does so; in a container, where a filter of system calls is the rule, the control group is of both kinds."""
    before, seen = confinement.read, list[str]()
    filtered = before(f"{SELF}/status").replace("Seccomp:\t0", "Seccomp:\t2")

    def read(path: str) -> str:
        seen.append(path)
        return filtered if path.endswith("/status") else before(path)

    monkeypatch.setattr(confinement, "read", read)
    ours, use = confinement.own()
    assert (ours["control group"], use["control group"]) == (
        before(f"{SELF}/cgroup"),
        shared_group(before(f"{SELF}/cgroup")),
    )
    assert len({*seen}) == len(seen)
    assert ours == rights(SELF)


MUSL = f"""
import os
def refuse(*_arguments):
    raise OSError(38, "Function not implemented")
os.sched_getscheduler = os.sched_getparam = refuse
{NAME}"""


def test_a_c_library_that_does_not_tell_the_scheduling_has_a_broker() -> None:
    """As musl, whose calls are played."""
    assert output(sys.executable, "-c", MUSL) == output(sys.executable, "-c", NAME)
    assert output("chrt", "--batch", "0", sys.executable, "-c", MUSL) != output(sys.executable, "-c", NAME)


def test_a_name_of_a_process_says_nothing_of_its_priority() -> None:
    script = "open('/proc/self/comm', 'w').write(') S 1 2 ('); os.nice(3); print(own()[1]['priority'])"
    nice = os.getpriority(os.PRIO_PROCESS, 0) + 3
    assert output(sys.executable, "-c", FIND + script) == f"{(str(nice), '0', '0')}\n"


SLICE = "0::/user.slice/user-1000.slice"
APPS = f"{SLICE}/user@1000.service/app.slice"
UUID = "01234567-89ab-cdef-0123-456789abcdef"


# trust: T58
@pytest.mark.parametrize(
    ("group", "shared"),
    [
        ("0::/\n", "0::/\n"),
        (f"{SLICE}/session-3.scope\n", f"{SLICE}\n"),
        (f"{SLICE}/session-c12.scope\n", f"{SLICE}\n"),
        (f"{APPS}/vte-spawn-{UUID}.scope\n", f"{APPS}\n"),
        (f"{APPS}/tmux-spawn-{UUID}.scope\n", f"{APPS}\n"),
        (f"{APPS}/tmux-spawn-{UUID.replace('-', '')}.scope\n", f"{APPS}\n"),
        (f"{APPS}/run-r1.scope\n", None),
        (f"{APPS}/confined-build.scope\n", None),
        (f"{APPS}/app-gnome-org.gnome.Console-7.scope\n", None),
        (f"{APPS}/vte-spawn-build.scope\n", None),
        (f"{APPS}/session-3.scope\n", None),
        (f"{SLICE}/session-build.scope\n", None),
        (f"{SLICE}/session-3.scope/build\n", None),
        ("0::/atk.slice/confined-build.scope\n", None),
        ("0::/atk.slice/session-3.scope\n", None),
        ("0::/atk.slice/user-1000.slice/session-3.scope\n", None),
        ("0::/init.scope\n", None),
        ("0::/system.slice/nightly.service\n", None),
        ("0::/docker/0123\n", None),
        (
            "4:memory:/user.slice/user-0.slice/session-1.scope\n1:name=systemd:/user.slice/user-0.slice/session-1.scope\n",
            "4:memory:/user.slice/user-0.slice\n1:name=systemd:/user.slice/user-0.slice\n",
        ),
    ],
)
def test_logins_of_a_user_share_a_control_group_and_units_do_not(group: str, shared: str | None) -> None:
    assert shared_group(group) == (group if shared is None else shared)


IN_A_TREE = """
set -e
mount --rbind / "$1"
shift
"$@"
chroot "$0" "$@"
chroot / "$@"
"""


# trust: T58
@as_root
def test_another_root_directory_has_a_broker_of_its_own(tmp_path: Path) -> None:
    shell = ["unshare", "--mount", "sh", "-c", IN_A_TREE, str(tmp_path), str(tmp_path)]
    plain, other, same = output(*shell, sys.executable, "-c", NAME).split()
    assert plain != other
    assert plain == same


def test_what_differs_is_named() -> None:
    ours = rights(SELF)
    assert differing(ours, ours) == ""
    assert differing(ours, {**ours, "NoNewPrivs": "?", "Groups": "7"}) == "Groups, NoNewPrivs"
    assert differing(ours, {}) == differing({}, ours) == ", ".join(sorted(ours))


def test_a_filter_is_the_same_in_one_control_group_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """As two filters of the same number look the same. It is not known how to get other groups on each machine."""
    before = confinement.read
    found = {"/status": "NoNewPrivs:\t1\nSeccomp:\t2\n", "/cgroup": "0::/one\n"}
    monkeypatch.setattr(confinement, "read", lambda path: found.get(path.removeprefix(SELF)) or before(path))
    one = rights(SELF)
    found["/cgroup"] = "0::/two\n"
    assert differing(one, rights(SELF)) == "control group"
    found["/status"] = "NoNewPrivs:\t0\nSeccomp:\t0\n"
    assert "control group" not in rights(SELF)


def test_a_name_of_a_process_says_nothing_of_its_rights() -> None:
    script = "open('/proc/self/comm', 'w').write('x\\r\\x0b\\nCapEff: 0'); print(rights(SELF))"
    assert output(sys.executable, "-c", FIND + script) == f"{rights(SELF)}\n"


def test_the_rights_of_a_peer_are_those_of_the_process_that_has_connected() -> None:
    ours, theirs = socket.socketpair()
    before = len(os.listdir("/proc/self/fd"))
    with ours, theirs:
        assert rights_of_peer(ours, os.getpid()) == rights(SELF)
        assert len(os.listdir("/proc/self/fd")) == before


# In a PID namespace of its own, where the number of the next process can be chosen. The first one has connected and left its
# socket to another, who waits until an honest process has its number.
REUSED = f"""{FIND}
import os, socket, subprocess, time
listening = socket.socket(socket.AF_UNIX)
listening.bind(sys.argv[1])
listening.listen()
program = '''
import os, socket, sys, time
sock = socket.socket(socket.AF_UNIX)
sock.connect(sys.argv[1])
if os.fork() == 0:
    time.sleep(60)
'''
first = subprocess.Popen(["setpriv", "--no-new-privs", sys.executable, "-c", program, sys.argv[1]])
sock = listening.accept()[0]
first.wait()
with open("/proc/sys/kernel/ns_last_pid", "w") as last:
    last.write(str(first.pid - 1))
second = subprocess.Popen(["sleep", "60"])
assert second.pid == first.pid
while not os.readlink(f"/proc/{{second.pid}}/exe").endswith("sleep"):
    time.sleep(0.01)
assert not differing(rights(SELF), rights(f"/proc/{{second.pid}}"))
try:
    print(differing(rights(SELF), rights_of_peer(sock, first.pid)) or "taken for the other")
except OSError:
    print("gone")
"""


def _names_its_peers() -> bool:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        try:
            os.close(ours.getsockopt(socket.SOL_SOCKET, confinement._SO_PEERPIDFD))
        except OSError:
            return False
        return True


# trust: T58
@as_root
@pytest.mark.skipif(not _names_its_peers(), reason="Linux before 6.5 has no descriptors of peers")
def test_a_process_that_has_left_is_not_taken_for_the_next_one_with_its_number(tmp_path: Path) -> None:
    space = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
    assert output(*space, sys.executable, "-c", REUSED, str(tmp_path / "socket")) == "gone\n"


# trust: T58
@as_root
def test_without_descriptors_of_processes_their_numbers_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """As before Linux 6.5, and before 5.3, which cannot be had here."""

    def unknown(_number: int) -> int:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(confinement, "_SO_PEERPIDFD", 9999)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert rights_of_peer(ours, os.getpid()) == rights(SELF)
        with pytest.raises(ProcessLookupError):
            rights_of_peer(ours, 4194305)
        monkeypatch.setattr(os, "pidfd_open", unknown)
        assert rights_of_peer(ours, os.getpid()) == rights(SELF)
        with pytest.raises(FileNotFoundError):
            rights_of_peer(ours, 4194305)
