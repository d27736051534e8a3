# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The brokers of a lab: which there are, what they say of themselves, and when they are gone."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from . import processes
from .lab import Lab
from .playbook import environment
from .processes import wait_until

NOBODY = 65534

#: How a task begins to tell, with -v, that it does without a broker.
WITHOUT = "No broker, so each task connects by itself: "


def brokers(lab: Lab) -> list[int]:
    """The processes of this lab that are brokers."""
    return [pid for pid in lab.running() if b"/broker/__main__.py" in processes.command_line(pid)]


def the_broker(lab: Lab) -> int:
    """The only one."""
    found = brokers(lab)
    assert len(found) == 1, f"{len(found)} brokers"
    return found[0]


def the_socket(lab: Lab) -> Path:
    """Where the only broker of this lab's runs listens."""
    (path,) = lab.broker_directory.glob("*.sock")
    return path


def status(lab: Lab) -> dict[str, Any]:
    """What the only broker of this lab's runs says."""
    from ansible_collections.bastion.ssh.plugins.plugin_utils.broker.control import ask

    (answer,) = ask([str(lab.broker_directory)], "status")
    return answer


def leases(lab: Lab) -> int:
    """How many claims on connections there are."""
    return sum(transport["leases"] for transport in status(lab)["transports"])


def log(lab: Lab) -> str:
    """What the brokers of this lab have written down."""
    return (lab.broker_directory / "broker.log").read_text()


def kill(pid: int) -> None:
    """End a process without letting it do anything."""
    processes.send(pid, signal.SIGKILL)
    wait_until(lambda: not processes.is_alive(pid), 30, f"end of process {pid}")


@contextlib.contextmanager
def stopped(pid: int) -> Iterator[None]:
    """A process that does nothing meanwhile."""
    processes.send(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        processes.send(pid, signal.SIGCONT)


def open_files(pid: int) -> dict[int, str]:
    """What the descriptors of a process are, those that are open now."""
    folder, found = Path(f"/proc/{pid}/fd"), {}
    for number in os.listdir(folder):
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            found[int(number)] = os.readlink(folder / number)
    return found


def address_space(pid: int) -> int:
    """What a process may touch of its memory, and what RLIMIT_AS bounds, in bytes."""
    found = re.search(r"VmSize:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found[1]) * 1024


def peak_memory(pid: int) -> int:
    """The most memory that a process has had since it started or :func:`forget_peak`, in bytes."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found
    return 1024 * int(found[1])


def forget_peak(pid: int) -> None:
    """Begin to measure anew."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def playbooks(lab: Lab) -> list[int]:
    """The ansible-playbook processes of this lab that no other one has started."""
    found = [pid for pid in lab.running() if b"/ansible-playbook\0" in processes.command_line(pid)]
    return [pid for pid in found if processes.parent(pid) not in found]


@contextlib.contextmanager
def as_nobody(lab: Lab, program: str, *arguments: object) -> Iterator[subprocess.Popen[bytes]]:
    """A Python program that another user runs."""
    python = environment(lab)["ANSIBLE_PYTHON_INTERPRETER"]
    process = subprocess.Popen(
        [python, "-c", program, *map(str, arguments)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, cwd="/",
        env={"BSSH_LAB": str(lab.path)}, user=NOBODY, group=NOBODY, extra_groups=[],
    )  # fmt: skip
    with process:
        try:
            yield process
        finally:
            processes.end_child(process)
