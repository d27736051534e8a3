# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Brokers that end, are stopped, are full, or have a defect; each has a directory of its own."""

from __future__ import annotations

import itertools
import os
import resource
from pathlib import Path
from typing import Any

from lab import TRUE, play, playbook, processes
from lab.brokers import open_files

from .provocation import WAITING, Provocation, Stage, Variables, first, over
from .sessions import COMMAND

HOP = "target"
CONTROLLER = "on the controller"
DIRECTORY = "ansible_ssh_persist_directory"
_LOG_SAYS = "Its log may say why"


# Ended and stopped


def _signalled(stage: Stage, signal: str) -> Variables:
    """A command as root, on the same machine, that sends a signal to the broker that runs it."""
    server = stage.once("root", lambda: stage.lab.sshd("root", users=["root"], keys=[stage.key]))
    directory = stage.lab.path / stage.name("broker")
    process = f"$(awk '/ serves /{{print $3}}' {directory}/broker.log)"
    command = f"kill -{signal} {process}; sleep 20"
    return stage.host(server, ansible_user="root", command=command, **{DIRECTORY: str(directory)})


def _by_what_it_starts(stage: Stage, signal: str) -> Variables:
    """A ProxyCommand that sends a signal to the broker that starts it."""
    return stage.host(
        stage.server, ansible_proxy_command=f"sh -c 'kill -{signal} $PPID; sleep 20'", ansible_ssh_timeout=1,
        **{DIRECTORY: str(stage.lab.path / stage.name("broker"))},
    )  # fmt: skip


def _waiting_for_a_dial(stage: Stage) -> Variables:
    """Comes when another task waits for a server that answers nothing, and has less time."""
    begun = stage.lab.path / stage.name("begun")
    silent = stage.lab.sink(first(lambda: begun.write_text("x\n")))
    host = stage.host(silent, ansible_ssh_timeout=15)
    stage.beside[stage.name("first")] = host
    return host | {"awaited": str(begun), "ansible_ssh_jump_timeout": 1}


# Full, or defect


def _without_a_directory(stage: Stage) -> dict[str, Any]:
    """A directory that others may look into."""
    directory = stage.lab.path / stage.name("open")
    directory.mkdir(mode=0o755)
    return {"env": {"ANSIBLE_SSH_PERSIST_DIRECTORY": str(directory)}, "args": ["-v"]}


def _without_descriptors(stage: Stage) -> dict[str, Any]:
    """A broker that has run, and may open nothing more."""
    broker, env = _one_that_has_run(stage)
    files = processes.settled(lambda: open_files(broker))
    free = next(number for number in itertools.count() if number not in files)
    resource.prlimit(broker, resource.RLIMIT_NOFILE, (free, resource.prlimit(broker, resource.RLIMIT_NOFILE)[1]))
    return {"env": env}


def _without_threads(stage: Stage) -> dict[str, Any]:
    """A broker that has run, and has no room for one stack more; the limit on threads does not bind root."""
    broker, env = _one_that_has_run(stage)
    processes.settled(lambda: open_files(broker))
    pages = int(Path(f"/proc/{broker}/statm").read_text().split()[0])
    size = pages * resource.getpagesize() + 1024 * 1024
    resource.prlimit(broker, resource.RLIMIT_AS, (size, resource.prlimit(broker, resource.RLIMIT_AS)[1]))
    return {"env": env}


def _one_that_has_run(stage: Stage) -> tuple[int, dict[str, str]]:
    """A broker that keeps a connection, and the environment that leads to it."""
    directory = stage.lab.path / stage.name("full")
    env = {"ANSIBLE_SSH_PERSIST_DIRECTORY": str(directory)}
    playbook(stage.lab, {"host": stage.host(stage.server, ansible_ssh_persist=600)}, play(TRUE), env=env).check()
    return int((directory / "broker.log").read_text().split()[2]), env


# Descriptors cannot be made to run out for one call only, and no defect is known: both are played to the Python that runs
# the broker and the tasks. What a task asks for, it says in its command.
_FAULTS = """
import os, socket, sys
sendall, pipe = socket.socket.sendall, os.pipe

def damaged(sock, data, *flags):
    if b"unreadable" in data:
        data = data.replace(b'"op":"start"', b'"op":"steal"')
    if b"defect" in data:
        data = data.replace(b'"directory":', b'"directorx":')
    return sendall(sock, data, *flags)

def none_left():
    if "paramiko" in sys._getframe(1).f_code.co_filename:
        raise OSError(24, "Too many open files")
    return pipe()

socket.socket.sendall, os.pipe = damaged, none_left
"""


def _with_faults(stage: Stage) -> dict[str, Any]:
    site = stage.lab.path / stage.name("site")
    site.mkdir()
    (site / "sitecustomize.py").write_text(_FAULTS)
    return {"env": {"PYTHONPATH": os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")])}}


def _at_fault(stage: Stage, fault: str = "") -> Variables:
    return stage.host(stage.server, command=f"true {fault}")


def _far_away(stage: Stage) -> Variables:
    """More threads than have ended, whose stacks the system keeps."""
    return stage.host(stage.sshd(), **over(*(stage.hop(stage.sshd()) for _bastion in range(3))))


def _plain(stage: Stage) -> Variables:
    return stage.host(stage.server)


PROVOCATIONS = [
    Provocation(
        "No broker, so each task connects by itself: …", "", _plain, status="ok", where="output",
        around=_without_a_directory,
    ),
    Provocation(
        "the broker on the controller ended, which held the connection", HOP,
        lambda stage: _signalled(stage, "KILL"), _LOG_SAYS, tasks=COMMAND,
    ),
    Provocation(
        "the connection was lost: the broker on the controller was stopped", HOP,
        lambda stage: _signalled(stage, "TERM"), "What the task did may have taken effect", tasks=COMMAND,
    ),
    Provocation(
        "the broker ended before it did anything, more than once", CONTROLLER,
        lambda stage: _by_what_it_starts(stage, "KILL"), _LOG_SAYS,
    ),
    Provocation(
        "the broker gave no answer in time; nothing was done", HOP, lambda stage: _by_what_it_starts(stage, "STOP"),
        "Is the controller overloaded?", tasks=WAITING,
    ),
    Provocation(
        "the broker cannot serve this task: no file descriptor is left", CONTROLLER, _plain, "ulimit -n",
        around=_without_descriptors,
    ),
    Provocation(
        "no thread can be started", CONTROLLER, _far_away, "ulimit -u",
        around=_without_threads,
    ),
    Provocation(
        "no file descriptor is left on the controller (…)", HOP, _at_fault, "ulimit -n", tasks=COMMAND,
        around=_with_faults,
    ),
    Provocation(
        "the broker cannot read the request: …", CONTROLLER, lambda stage: _at_fault(stage, "unreadable"),
        "Its log says more", status="failed", tasks=COMMAND, around=_with_faults,
    ),
    Provocation(
        "the broker failed with …", CONTROLLER, lambda stage: _at_fault(stage, "defect"), "Its log says more",
        status="failed", tasks=COMMAND, around=_with_faults,
    ),
    Provocation(
        "another task did not connect to it within … seconds", HOP, _waiting_for_a_dial,
        "See the error of that task", tasks=WAITING,
    ),
]  # fmt: skip
