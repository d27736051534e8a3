# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the broker as a process: how it starts and ends, who may use it, and what happens when it is killed."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import stat
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from lab import TRUE, Chain3, Lab, Run, play, playbook, processes, raw, wait_until
from lab.brokers import (
    NOBODY,
    WITHOUT,
    as_nobody,
    brokers,
    kill,
    leases,
    log,
    open_files,
    playbooks,
    status,
    stopped,
    the_broker,
    the_socket,
)
from sessions import options_of

from ansible_collections.bastion.ssh.plugins.plugin_utils.client import spawn
from ansible_collections.bastion.ssh.plugins.plugin_utils.client.address import Directory


@contextlib.contextmanager
def running(lab: Lab, inventory: dict[str, Any], *tasks: dict[str, Any], **more: Any) -> Iterator[Future[Run]]:
    """Run a playbook in the background."""
    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(playbook, lab, inventory, play(*tasks, **more))


def until_marked(marker: Path, run: Future[Run]) -> str:
    """Wait until a command has written a line to the file, and return it."""
    wait_until(lambda: marker.read_text().endswith("\n") or run.done(), 60, "the command has started")
    return marker.read_text().strip()


# Start


RACE = """
import sys, threading
root, directory = sys.argv[1:]
sys.path.insert(0, root)
from ansible_collections.bastion.ssh.plugins.plugin_utils.client import address, spawn, wire

def start():
    with address.Directory(directory) as opened:
        connection = wire.FrameStream(opened.connect("race.sock") or spawn.start(opened, "race"))
    connection.send({"op": "status"})
    found.append(connection.receive(60).header["status"]["pid"])
    connection.close()

found, threads = [], [threading.Thread(target=start) for _number in range(10)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(*found)
"""


def test_100_starts_at_once_are_one_broker(lab: Lab) -> None:  # trust: T30
    root = spawn.__file__.partition("/ansible_collections/")[0]
    command = [sys.executable, "-c", RACE, root, str(lab.broker_directory)]
    with contextlib.ExitStack() as racing:
        directory = racing.enter_context(Directory(str(lab.broker_directory)))
        with spawn.locked(directory, "race"):  # so that every process finds no broker, and tries to start one
            racers = [
                racing.enter_context(
                    subprocess.Popen(command, stdout=subprocess.PIPE, env=lab.environment(), text=True)
                )
                for _number in range(10)
            ]
            waiting = f":{directory.inode('race.lock')} "
            wait_until(lambda: waiters(waiting) == 100, 30, "100 who want to start it")
        found = " ".join(racer.communicate(timeout=60)[0] for racer in racers).split()
    assert len(found) == 100
    assert set(found) == {str(the_broker(lab))}
    assert log(lab).count(" serves ") == 1


def waiters(inode: str) -> int:
    """Return how many processes wait for the lock of a file."""
    return sum("-> FLOCK" in line and inode in line for line in Path("/proc/locks").read_text().splitlines())


def test_a_home_of_200_characters_is_not_too_long(lab: Lab, chain3: Chain3) -> None:  # trust: T30
    home = lab.home / ("x" * 200)
    shutil.copytree(lab.home / ".ssh", home / ".ssh")
    env = {"HOME": str(home), "ANSIBLE_HOME": str(home / ".ansible")}
    for _time in range(2):
        run = playbook(lab, chain3.inventory(), play(TRUE), env=env, args=["-v"]).check()
        assert WITHOUT not in run.text
    broker = the_broker(lab)
    assert str(home / ".ansible/bastion-ssh") in processes.command_line(broker).decode()
    chain3.settle()
    assert chain3.login_counts() == [1, 1, 1]


HAND_DOWN = """
import os, socket, sys
left, right = socket.socketpair()
for end in (left, right):
    end.set_inheritable(True)
os.execvp(sys.argv[1], sys.argv[1:])
"""


def test_it_inherits_nothing_and_holds_nobody(lab: Lab, chain3: Chain3) -> None:  # trust: T31
    canary, program = lab.path / "canary", lab.path / "hand-down.py"
    program.write_text(HAND_DOWN)
    shell = f'exec 7>{canary}; {sys.executable} {program} "$@" | cat'
    playbook(lab, chain3.inventory(), play(TRUE), shell=shell).check()
    broker = the_broker(lab)
    wait_until(lambda: not leases(lab), 30, "the end of the last task")

    def sockets() -> int:
        return sum(name.startswith("socket:") for name in open_files(broker).values())

    # It listens on one, wakes itself over two, and is connected to the first hop.
    wait_until(lambda: sockets() == 4, 30, "four sockets, and those of conversations closed")
    directory = str(lab.broker_directory)
    files = set(open_files(broker).values())
    assert {name for name in files if not name.startswith("socket:")} <= {
        "/dev/null", directory, f"{directory}/broker.log"
    }  # fmt: skip
    assert os.getsid(broker) == broker
    assert os.readlink(f"/proc/{broker}/cwd") == "/"


def test_it_outlives_the_worker_that_started_it(lab: Lab, chain3: Chain3, marker: Path) -> None:  # trust: T31
    with running(lab, chain3.inventory(), raw(SILENT.format(marker))) as run:
        until_marked(marker, run)
        broker = the_broker(lab)
        worker = processes.parent(broker)
        assert [processes.parent(worker)] == playbooks(lab)
        kill(worker)
        wait_until(lambda: not leases(lab), 30, "the end of its leases")
        assert run.result().rc != 0
    playbook(lab, chain3.inventory(), play(TRUE)).check()
    assert brokers(lab) == [broker]
    chain3.settle()
    assert chain3.login_counts() == [1, 1, 1]


# End


def test_a_broker_writes_on_request_where_its_threads_are(lab: Lab, chain3: Chain3) -> None:
    playbook(lab, chain3.inventory(), play(TRUE)).check()
    broker = the_broker(lab)
    os.kill(broker, signal.SIGUSR1)
    wait_until(lambda: "most recent call first" in log(lab), 30, "the stacks")
    assert "server.py" in log(lab)
    playbook(lab, chain3.inventory(), play(TRUE)).check()
    assert the_broker(lab) == broker
    chain3.settle()
    assert chain3.login_counts() == [1, 1, 1]


def test_nothing_but_its_log_is_left_after_the_idle_time(lab: Lab, chain3: Chain3) -> None:  # trust: T33
    before, temporary = set(lab.home.rglob("*")), lab.path / "temporary"
    temporary.mkdir()
    playbook(lab, chain3.inventory(ansible_ssh_persist=5), play(TRUE), env={"TMPDIR": str(temporary)}).check()
    assert b"TMPDIR=" + bytes(temporary) in processes.environment(the_broker(lab))
    wait_until(lambda: all(idle >= 1 for idle in idle_times(lab)), 30, "half of the idle time")
    assert len(idle_times(lab)) == 3
    wait_until(lambda: not brokers(lab), 30, "the end of the idle broker")
    assert [path.name for path in lab.broker_directory.iterdir()] == ["broker.log"]
    left = {path for path in lab.home.rglob("*") if not path.is_dir()} - before
    assert left == {lab.broker_directory / "broker.log"}
    assert list(temporary.iterdir()) == []
    wait_until(lambda: not any(host.sessions() for host in chain3.hosts), 30, "the end of its connections")


def idle_times(lab: Lab) -> list[float]:
    """Return how long each of the broker's connections has been unused, in seconds."""
    return [transport["idle"] for transport in status(lab)["transports"]]


# Privilege


def frame(header: object) -> bytes:
    """Return a request as a frame."""
    data = json.dumps(header).encode()
    return struct.pack(">II", len(data), 0) + data


STATUS = frame({"op": "status"})

CURIOUS = """
import socket, sys
sock = socket.socket(socket.AF_UNIX)
sock.connect(sys.argv[1])
try:
    sock.sendall(bytes.fromhex(sys.argv[2]))
    answer = sock.recv(100)
except ConnectionError:
    answer = b""
print(len(answer))
"""


def test_another_user_is_not_heard_even_if_the_door_is_open(lab: Lab, chain3: Chain3) -> None:  # trust: T26
    playbook(lab, chain3.inventory(), play(TRUE)).check()
    path = the_socket(lab)
    assert [stat.S_IMODE(place.stat().st_mode) for place in (path, lab.broker_directory)] == [0o600, 0o700]
    for folder in (lab.home, lab.home / ".ansible", lab.broker_directory):
        folder.chmod(0o777)
    path.chmod(0o666)
    with as_nobody(lab, CURIOUS, path, STATUS.hex()) as process:
        assert process.communicate(timeout=60)[0] == b"0\n"
        assert process.returncode == 0
    assert f"refused user {NOBODY}" in log(lab)


LISTENER = """
import os, socket, sys
path, told = sys.argv[1:]
sock = socket.socket(socket.AF_UNIX)
sock.bind(path)
os.chmod(path, 0o777)
sock.listen()
print("ready", flush=True)
while True:
    end, _address = sock.accept()
    while data := end.recv(65536):
        with open(told, "ab") as file:
            file.write(data)
"""


PLANTED = {
    "a symlink": "{} is not a directory",
    "a directory": "{} is open to others than its user",
    "a socket": "{}/{} is the socket of another user",
}


@pytest.mark.parametrize("planted", PLANTED)
def test_what_another_user_has_planted_is_not_used(lab: Lab, chain3: Chain3, planted: str) -> None:  # trust: T27
    playbook(lab, chain3.inventory(), play(TRUE)).check()  # which shows the name of the socket
    name = the_socket(lab).name
    theirs, wanted, told = lab.path / "theirs", lab.path / "wanted", lab.path / "told"
    theirs.mkdir(0o700)
    os.chown(theirs, NOBODY, NOBODY)
    told.touch()
    os.chown(told, NOBODY, NOBODY)
    with as_nobody(lab, LISTENER, theirs / name, told) as process:
        assert process.stdout
        assert process.stdout.readline() == b"ready\n"
        if planted == "a symlink":
            wanted.symlink_to(theirs)
        elif planted == "a directory":
            theirs.rename(wanted)
        else:
            wanted.mkdir(0o700)
            (theirs / name).rename(wanted / name)
        env = {"ANSIBLE_SSH_PERSIST_DIRECTORY": str(wanted)}
        inventory = {f"host{number}": chain3.variables for number in range(5)}
        run = playbook(lab, inventory, play(TRUE, TRUE), env=env, args=["-v"]).check()
        assert process.poll() is None
    assert run.text.count(WITHOUT + PLANTED[planted].format(wanted, name)) == run.text.count(WITHOUT) == 1
    assert told.read_bytes() == b""
    assert len(brokers(lab)) == 1  # the first


def test_there_is_no_broker_where_another_user_could_replace_its_directory(
    lab: Lab, chain3: Chain3
) -> None:  # trust: T27
    """As with sudo -E."""
    other = lab.user("other")
    home = other.home / ".ansible"
    home.mkdir(0o700)
    shutil.chown(home, other.uid)
    run = playbook(lab, chain3.inventory(), play(TRUE), env={"ANSIBLE_HOME": str(home)}, args=["-v"]).check()
    assert f"{WITHOUT}{home} belongs to another user, who could replace what is in it" in run.text
    assert brokers(lab) == []
    assert not (home / "bastion-ssh").exists()


def test_a_broker_writes_to_its_directory_only_when_another_has_its_name(
    lab: Lab, chain3: Chain3
) -> None:  # trust: T27
    playbook(lab, chain3.inventory(), play(TRUE)).check()
    broker, victim = the_broker(lab), lab.path / "victim"
    aside = lab.broker_directory.with_name("aside")
    victim.write_text("not the broker's\n")
    lab.broker_directory.rename(aside)
    lab.broker_directory.mkdir(0o700)
    for name in ("broker.log", "broker.log.1"):
        (lab.broker_directory / name).symlink_to(victim)
    processes.send(broker, signal.SIGTERM)
    wait_until(lambda: not processes.is_alive(broker), 30, "the end of the broker")
    assert "ended by signal 15" in (aside / "broker.log").read_text()
    assert victim.read_text() == "not the broker's\n"
    assert [path.name for path in aside.iterdir()] == ["broker.log"]


def hostile(options: dict[str, Any]) -> dict[str, tuple[bytes, str]]:
    """Return requests that no worker sends, each with the words by which the answer rejects it."""
    pickled = b"\x80\x04\x95\x1d\0\0\0\0\0\0\0\x8c\x05posix\x94\x8c\x06system\x94\x93\x94\x8c\x02id\x94\x85R."
    return {
        "a pickle": (pickled, "the frame is too long"),
        "4 GiB": (b"\xff\xff\xff\xff\0\0\0\0" + bytes(100_000), "the frame is too long"),
        "a body of 4 GiB": (b"\0\0\0\2\xff\xff\xff\xff{}", "the frame is too long"),
        "no JSON": (struct.pack(">II", 4, 0) + b"\xff\xfe\0\1", "the header is not JSON"),
        "a deep list": (struct.pack(">II", 500_000, 0) + b"[" * 500_000, "the header is not JSON"),
        "no object": (frame([1, 2]), "the header is no object"),
        "half a frame": (STATUS[:-1], "half a frame"),
        "a request that there is not": (frame({"op": "shutdown"}), "no such request"),
        "a list of requests": (frame({"op": ["status"]}), "no such request"),
        "no options": (frame({"op": "start", "command": "id"}), "no options"),
        "options of a wrong type": (frame({"op": "start", "command": "id", "options": "all"}), "no options"),
        "a reset of nothing": (frame({"op": "reset", "options": None}), "no options"),
        "no command": (frame({"op": "start", "options": options}), "no command"),
        "a command of a wrong type": (
            frame({"op": "start", "command": {"a": 1}, "pty": [], "options": options}),
            "no command",
        ),
        "a file without a descriptor": (
            frame({"op": "put", "source": "/etc/shadow", "target": "x", "options": options}),
            "no descriptor",
        ),
        "a target of a wrong type": (
            frame({"op": "fetch", "source": "/etc/shadow", "target": ["x"], "options": options}),
            "no target",
        ),
    }


def test_a_hostile_client_is_told_and_dropped_and_the_others_are_served(lab: Lab, chain3: Chain3) -> None:  # trust: T28
    def connected() -> socket.socket:
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(20)
        sock.connect(str(path))
        return sock

    def rest(sock: socket.socket) -> str:
        """Return what it still sends before it closes the connection."""
        data = b""
        with contextlib.suppress(ConnectionResetError), sock:
            while piece := sock.recv(65536):
                data += piece
        return data.decode(errors="replace")

    playbook(lab, chain3.inventory(), play(TRUE)).check()
    broker, path = the_broker(lab), the_socket(lab)
    silent = connected()
    silent.sendall(STATUS[:5])
    for what, (data, words) in hostile(options_of(lab, chain3.variables)).items():
        sock = connected()
        sock.settimeout(5)  # much less than the time that there is for a request
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            sock.sendall(data)
            if what == "half a frame":
                sock.shutdown(socket.SHUT_WR)
        answer = rest(sock)
        assert f"the broker cannot read the request: {words}" in answer, what
        assert '"status"' not in answer, what
    slow = connected()
    for number in range(len(STATUS)):
        slow.sendall(STATUS[number : number + 1])
    assert '"status"' in rest(slow)
    playbook(lab, chain3.inventory(), play(TRUE)).check()
    assert "the broker cannot read the request: not whole within " in rest(silent)
    wait_until(lambda: not status(lab)["workers"], 5, "the end of all conversations")
    assert brokers(lab) == [broker]
    chain3.settle()
    assert chain3.login_counts() == [1, 1, 1]


# Faults


def test_a_killed_broker_is_replaced(lab: Lab, chain3: Chain3) -> None:  # trust: T30
    playbook(lab, chain3.inventory(), play(TRUE)).check()
    first = the_broker(lab)
    kill(first)
    assert the_socket(lab).exists()
    run = playbook(lab, chain3.inventory(), play(TRUE), args=["-v"]).check()
    assert WITHOUT not in run.text
    assert the_broker(lab) != first


def test_a_broker_killed_in_mid_command_is_unreachable_and_nothing_runs_twice(
    lab: Lab, chain3: Chain3, marker: Path
) -> None:  # trust: T48
    wait = raw(f"echo x >> {marker}; exec sleep 60", "Wait", ignore_unreachable=True)
    inventory = chain3.inventory(ansible_ssh_retries=3)
    with running(lab, inventory, wait, raw("echo next", "Next")) as run:
        until_marked(marker, run)
        first = the_broker(lab)
        kill(first)
        result = run.result().result("target", "Wait")
    assert result.status == "unreachable"
    assert f"target {chain3.users[2].name}@{chain3.target.endpoint}" in result.result["msg"]
    assert "the broker on the controller ended" in result.result["msg"]
    assert marker.read_text() == "x\n"
    assert run.result().result("target", "Next").result["stdout"] == "next\n"
    assert the_broker(lab) != first


def test_a_broker_killed_in_mid_dial_is_replaced(lab: Lab, chain3: Chain3, marker: Path) -> None:  # trust: T48
    link = lab.forwarder(chain3.a)
    lab.trust(chain3.a.known_hosts_line(f"[{link.address}]:{link.port}"), chain3.b, chain3.target)
    first, second = chain3.jump_list
    jump = [first | {"host": link.address, "port": link.port}, second]
    link.stall()
    with running(lab, chain3.inventory(ansible_ssh_jump=jump), raw(f"echo x >> {marker}")) as run:
        wait_until(lambda: link.connections or run.done(), 60, "the dial")
        broker = the_broker(lab)
        kill(broker)
        link.resume()
        assert run.result().result("target").status == "ok"
    assert marker.read_text() == "x\n"
    assert the_broker(lab) != broker


def test_a_silent_broker_is_unreachable_and_nothing_runs_later(lab: Lab, chain3: Chain3, marker: Path) -> None:
    playbook(lab, chain3.inventory(), play(TRUE)).check()
    broker = the_broker(lab)
    with stopped(broker):
        started = time.monotonic()
        result = playbook(lab, chain3.inventory(), play(raw(f"echo x >> {marker}"))).result("target")
        assert 20 < time.monotonic() - started < 45
        assert result.status == "unreachable"
        assert "on the controller: the broker gave no answer in time; nothing was done" in result.result["msg"]
    wait_until(lambda: "a worker is gone" in log(lab), 30, "the end of the request, which the broker has read now")
    wait_until(lambda: not status(lab)["workers"], 30, "the end of all conversations")
    assert marker.read_text() == ""
    run = playbook(lab, chain3.inventory(), play(raw(f"echo y >> {marker}"))).check()
    assert WITHOUT not in run.text
    assert marker.read_text() == "y\n"
    assert brokers(lab) == [broker]
    chain3.settle()
    assert chain3.login_counts() == [1, 1, 1]


ECHO = "echo $$ >> {}; while echo here; do sleep 0.1; done"  # ends as soon as its output is closed


SILENT = "echo $$ >> {}; exec sleep 60"


def test_a_broker_killed_in_mid_fetch_leaves_no_half_file(lab: Lab, chain3: Chain3) -> None:  # trust: T45, T48
    link = lab.forwarder(chain3.a)
    lab.trust(chain3.a.known_hosts_line(f"[{link.address}]:{link.port}"), chain3.b, chain3.target)
    first, second = chain3.jump_list
    inventory = chain3.inventory(ansible_ssh_jump=[first | {"host": link.address, "port": link.port}, second])
    big, fetched = chain3.users[2].home / "big", lab.path / "fetched"
    big.write_bytes(os.urandom(20 * 1024 * 1024))
    shutil.chown(big, chain3.users[2].uid)
    fetch = {"name": "Fetch", "ansible.builtin.fetch": {"src": str(big), "dest": f"{fetched}/", "flat": True}}
    playbook(lab, inventory, play(TRUE)).check()
    broker = the_broker(lab)
    link.stall_after("down", 5 * 1024 * 1024)
    with running(lab, inventory, fetch | {"ignore_unreachable": True}, raw("echo next", "Next")) as run:
        wait_until(lambda: link.stalled or run.done(), 60, "the middle of the file")
        assert fetched.exists()
        kill(broker)
        link.resume()
        result = run.result().result("target", "Fetch")
    assert result.status == "unreachable"
    assert "the broker on the controller ended" in result.result["msg"]
    assert list(fetched.iterdir()) == []
    assert run.result().result("target", "Next").result["stdout"] == "next\n"
    assert brokers(lab) != [broker]


@pytest.mark.parametrize("command", [ECHO, SILENT])
def test_a_killed_worker_ends_its_command_and_no_other_work(
    lab: Lab, chain3: Chain3, marker: Path, command: str
) -> None:  # trust: T31
    done = lab.path / "done"
    patient = raw(f"echo x; while ! [ -e {done} ]; do sleep 0.1; done; echo y")
    with running(lab, chain3.inventory(), patient) as other:
        wait_until(lambda: chain3.target.count("Starting session") or other.done(), 60, "the other command")
        before = playbooks(lab)
        with running(lab, chain3.inventory(), raw(command.format(marker))) as victim:
            pid = int(until_marked(marker, victim))
            assert leases(lab) == 6
            (main,) = [main for main in playbooks(lab) if main not in before]
            (worker,) = processes.descendants(main)
            kill(worker)
            wait_until(lambda: leases(lab) == 3, 30, "the end of its leases")
            chain3.target.wait_log("session_close_by_channel: channel 1 child")
            if command == ECHO:
                wait_until(lambda: not processes.is_alive(pid), 30, "the end of the command")
            assert victim.result().rc != 0
        broker = the_broker(lab)
        done.touch()
        assert other.result().check().result("target").result["stdout"] == "x\ny\n"
    assert the_broker(lab) == broker
    wait_until(lambda: not leases(lab), 30, "the end of all leases")


def test_an_interrupted_play_leaves_the_idle_broker_only(lab: Lab, chain3: Chain3, marker: Path) -> None:
    servers = lab.running()
    with running(lab, chain3.inventory(), raw(ECHO.format(marker))) as run:
        command = int(until_marked(marker, run))
        (main,) = playbooks(lab)
        os.killpg(main, signal.SIGINT)  # the whole group, as a terminal does
        assert run.result().rc not in (0, 4)
    wait_until(lambda: not processes.is_alive(command), 20, "the end of the command")
    wait_until(lambda: not leases(lab), 30, "the end of the lease")
    sessions = [pid for host in chain3.hosts for pid in host.sessions()]
    assert [pid for pid in lab.running() if pid not in servers and pid not in sessions] == [the_broker(lab)]
    wait_until(lambda: not status(lab)["workers"], 30, "the end of all conversations")
