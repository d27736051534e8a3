# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test that a confined or limited process stays so whatever brokers exist, and that no other process becomes so."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

from lab import TRUE, Chain3, Lab, play, playbook, wait_until
from lab.brokers import WITHOUT, brokers, kill, log, status, the_broker, the_socket
from lab.playbook import own_playbook
from sessions import options_of

# What a process may do, as the kernel reports it to the process itself.
RECORD = "grep -E '^(Uid|Gid|Groups|Cap...|NoNewPrivs|Seccomp):' /proc/self/status; readlink /proc/self/ns/user /proc/self/ns/ipc"
GROUPS = "setpriv --groups=4,5"
CONFINED = {
    "no new privileges": "setpriv --groups=4,5 --no-new-privs",
    "no groups": "setpriv --clear-groups",
    "fewer capabilities for ever": "setpriv --groups=4,5 --bounding-set=-mknod",
    "inherited capabilities": "setpriv --groups=4,5 --inh-caps=+mknod",
    "another group": "setpriv --groups=4,5 --regid=65534",
    "another user namespace": "setpriv --groups=4,5 unshare --user --map-root-user",
    "another IPC namespace": "setpriv --groups=4,5 unshare --ipc",
    "all at once": "setpriv --no-new-privs --clear-groups --bounding-set=-all --inh-caps=-all",
}
PLAYED = ["no groups", "another user namespace", "all at once"]
REFUSED = "the broker serves only processes with the same rights as its own; this one differs in: "


def recording(lab: Lab, name: str) -> str:
    """Return a ProxyCommand that connects, and records what it may do."""
    return f'sh -c "exec 3>{lab.path}/{name}; ({RECORD}) >&3; exec nc %h %p"'


def started(lab: Lab, words: str, name: str) -> str:
    """Return a line of shell that runs a playbook in a confinement, and records what the playbook may do."""
    return f'exec {words} sh -c "exec 3>{lab.path}/{name}; ({RECORD}) >&3; exec 3>&-; exec \\"\\$@\\"" sh "$@"'


def inventory_of(lab: Lab, name: str) -> dict[str, dict[str, Any]]:
    """Return an inventory of one host behind a ProxyCommand that records."""
    user, path = lab.user("target"), lab.path / "keys/target"
    if not lab.hosts:
        lab.trust(lab.sshd("target", users=[user], keys=[lab.key("target")]))
    (server,) = lab.hosts
    variables = {"ansible_host": server.address, "ansible_port": server.port, "ansible_user": user.name}
    variables |= {
        "ansible_ssh_persist": 600,
        "ansible_private_key_file": str(path),
        "ansible_proxy_command": recording(lab, name),
    }
    return {"target": {"ansible_connection": "bastion.ssh.jump"} | variables}


# trust: T58
def test_the_commands_of_a_confined_run_are_confined(lab: Lab) -> None:
    playbook(lab, inventory_of(lab, "outside"), play(TRUE), shell=started(lab, GROUPS, "shell")).check()
    assert (lab.path / "outside").read_text() == (lab.path / "shell").read_text()
    first = the_broker(lab)
    for number, what in enumerate(PLAYED):
        words = CONFINED[what]
        name = f"inside{number}"
        run = playbook(lab, inventory_of(lab, name), play(TRUE), shell=started(lab, words, f"shell{number}")).check()
        assert run.statuses() == {"target": ["ok"]}
        inside = (lab.path / name).read_text()
        assert inside == (lab.path / f"shell{number}").read_text(), what
        assert inside != (lab.path / "outside").read_text(), what
    assert len(brokers(lab)) == 1 + len(PLAYED)
    playbook(lab, inventory_of(lab, "again"), play(TRUE), shell=started(lab, GROUPS, "shell")).check()
    assert (lab.path / "again").read_text() == (lab.path / "outside").read_text()
    assert first in brokers(lab)


ASK = """
import socket, sys
sock = socket.socket(socket.AF_UNIX)
sock.connect(sys.argv[1])
data = sys.stdin.buffer.read()
try:
    sock.sendall(data)
except BrokenPipeError:
    pass
try:
    while data := sock.recv(65536):
        sys.stdout.buffer.write(data)
except ConnectionError:
    pass
"""


def asked(words: str, path: Path, *headers: dict[str, Any]) -> str:
    """Return a broker's answer to a process that connects to its socket by path, whatever its name."""
    data = b"".join(struct.pack(">II", len(text), 0) + text for text in [json.dumps(each).encode() for each in headers])
    command = [*words.split(), sys.executable, "-c", ASK, str(path)]
    return subprocess.run(command, input=data, stdout=subprocess.PIPE, timeout=60, check=True).stdout.decode(
        errors="replace"
    )


# trust: T58
def test_a_confined_process_has_nothing_done_by_another_broker(lab: Lab) -> None:
    playbook(lab, inventory_of(lab, "outside"), play(TRUE), shell=started(lab, GROUPS, "shell")).check()
    path = the_socket(lab)
    options = options_of(lab, inventory_of(lab, "stolen")["target"])
    request = {"op": "start", "command": "true", "pty": False, "options": options}
    for what, words in CONFINED.items():
        for header in (request, {"op": "status"}, {"op": "stop"}):
            answer = asked(words, path, header)
            assert REFUSED in answer, what
            assert answer.count('"event"') == 1, what
    assert not (lab.path / "stolen").exists()
    assert log(lab).count(f": {REFUSED}") == 3 * len(CONFINED)
    assert '"status"' in asked(GROUPS, path, {"op": "status"})
    assert '"exited"' in asked(GROUPS, path, request)
    assert (lab.path / "stolen").read_text() == (lab.path / "outside").read_text()


# trust: T58
def test_a_run_that_is_refused_connects_by_itself(lab: Lab, chain3: Chain3) -> None:
    confined = 'exec setpriv --no-new-privs "$@"'
    playbook(lab, chain3.inventory(), play(TRUE), shell=confined).check()
    kill(the_broker(lab))
    theirs = the_socket(lab)
    theirs.unlink()
    playbook(lab, chain3.inventory(), play(TRUE)).check()
    the_socket(lab).rename(theirs)
    run = playbook(lab, chain3.inventory(), play(TRUE, TRUE), shell=confined, args=["-v"]).check()
    assert run.text.count(f"{WITHOUT}{REFUSED}NoNewPrivs") == run.text.count(WITHOUT) == 1
    assert status(lab)["transports"] != []
    answer = own_playbook(lab, "bastion.ssh.sessions")
    assert f"broker {the_broker(lab)} since" in answer


# trust: T58
def test_a_broker_with_other_rights_is_shown_with_how_to_end_it(lab: Lab, chain3: Chain3) -> None:
    playbook(lab, chain3.inventory(), play(TRUE), shell='exec setpriv --no-new-privs "$@"').check()
    broker = the_broker(lab)
    shown = own_playbook(lab, "bastion.ssh.sessions")
    assert f"{the_socket(lab)}: {REFUSED}" in shown
    assert f"to end it: kill {broker}" in shown
    assert f"to end it: kill {broker}" in own_playbook(
        lab, "bastion.ssh.sessions", "-e", "bastion_ssh_stop=true", expected=2
    )
    assert brokers(lab) == [broker]


# trust: T58
def test_a_process_that_cannot_be_looked_at_is_refused(lab: Lab, chain3: Chain3) -> None:
    """It hides itself (PR_SET_DUMPABLE); root's broker sees everything, as long as it may."""
    playbook(lab, chain3.inventory(), play(TRUE), shell='exec setpriv --bounding-set=-sys_ptrace "$@"').check()
    hide = "import ctypes; ctypes.CDLL(None).prctl(4, 0, 0, 0, 0)\n"
    path = str(the_socket(lab))
    data = struct.pack(">II", 15, 0) + b'{"op":"status"}'
    command = ["setpriv", "--bounding-set=-sys_ptrace", sys.executable, "-c", hide + ASK, path]
    answer = subprocess.run(command, input=data, stdout=subprocess.PIPE, timeout=60, check=True).stdout.decode(
        errors="replace"
    )
    assert "the broker cannot see the rights of this process: " in answer
    assert '"status"' not in answer


LITTLE = 'ulimit -f 1000; echo 900 >/proc/$$/oom_score_adj; exec nice -n 15 "$@"'


def test_a_run_with_little_leaves_its_limits_to_no_other(lab: Lab, chain3: Chain3) -> None:
    big, fetched = chain3.users[2].home / "big", lab.path / "fetched"
    big.write_bytes(os.urandom(3_000_000))
    fetch = {"name": "Fetch", "ansible.builtin.fetch": {"src": str(big), "dest": f"{fetched}/", "flat": True}}
    shutil.chown(big, chain3.users[2].uid)
    inventory = chain3.inventory(ansible_ssh_persist=600)
    playbook(lab, inventory, play(TRUE), shell=LITTLE).check()
    little = the_broker(lab)
    assert os.getpriority(os.PRIO_PROCESS, little) == 15
    run = playbook(lab, inventory, play(fetch), args=["-v"]).check()
    assert WITHOUT not in run.text
    assert (fetched / "big").read_bytes() == big.read_bytes()
    (usual,) = [broker for broker in brokers(lab) if broker != little]
    assert os.getpriority(os.PRIO_PROCESS, usual) == os.getpriority(os.PRIO_PROCESS, 0)
    assert Path(f"/proc/{usual}/oom_score_adj").read_text() == Path("/proc/self/oom_score_adj").read_text()
    playbook(lab, inventory, play(TRUE), shell=LITTLE).check()
    assert {little, usual} == {*brokers(lab)}


def test_a_run_with_little_processor_time_has_no_broker(lab: Lab, chain3: Chain3) -> None:
    run = playbook(lab, chain3.inventory(), play(TRUE), shell='ulimit -t 1000; exec "$@"', args=["-v"]).check()
    assert f"{WITHOUT}a limit on processor time (ulimit -t) would soon end" in run.text
    assert brokers(lab) == []


DEAF = """
import os, signal, sys
for number in (signal.SIGHUP, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1):
    signal.signal(number, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGUSR2])
os.execv(sys.argv[1], sys.argv[1:])
"""


def test_the_commands_of_a_broker_hear_all_signals(lab: Lab) -> None:
    """Whatever signals the run that starts it ignores or blocks, as under nohup."""
    inventory = inventory_of(lab, "unused")
    command = f"sh -c \"exec 3>{lab.path}/signals; grep -E 'Sig(Blk|Ign)' /proc/self/status >&3; exec nc %h %p\""
    inventory["target"]["ansible_proxy_command"] = command
    program = lab.path / "deaf.py"
    program.write_text(DEAF)
    playbook(lab, inventory, play(TRUE), shell=f'exec {sys.executable} {program} "$@"').check()
    found = re.findall(r"Sig(?:Blk|Ign):\t(\w+)\n", (lab.path / "signals").read_text())
    # Signal 32 is reserved by the C library, and cannot be reset.
    assert [int(mask, 16) & ~(1 << 31) for mask in found] == [0, 0]
    os.kill(the_broker(lab), signal.SIGTERM)
    wait_until(lambda: not brokers(lab), 30, "the end of the broker")
    assert "ended by signal 15" in log(lab)
