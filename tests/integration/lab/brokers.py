# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find, query, stop and kill the brokers of a lab."""

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

#: Start of the message, shown with -v, that a task does without a broker.
WITHOUT = "No broker, so each task connects by itself: "


def brokers(lab: Lab) -> list[int]:
    """Return the process ids of this lab's brokers."""
    return [pid for pid in lab.running() if b"/broker/__main__.py" in processes.command_line(pid)]


def the_broker(lab: Lab) -> int:
    """Return the process id of the only broker."""
    found = brokers(lab)
    assert len(found) == 1, f"{len(found)} brokers"
    return found[0]


def the_socket(lab: Lab) -> Path:
    """Return the socket of the only broker of this lab's runs."""
    (path,) = lab.broker_directory.glob("*.sock")
    return path


def status(lab: Lab) -> dict[str, Any]:
    """Return the status of the only broker of this lab's runs."""
    from ansible_collections.bastion.ssh.plugins.plugin_utils.broker.control import ask

    (answer,) = ask([str(lab.broker_directory)], "status")
    return answer


def leases(lab: Lab) -> int:
    """Return the number of leases of all its connections."""
    return sum(transport["leases"] for transport in status(lab)["transports"])


def log(lab: Lab) -> str:
    """Return the log of this lab's brokers."""
    return (lab.broker_directory / "broker.log").read_text()


def kill(pid: int) -> None:
    """Kill a process with SIGKILL, and wait until it is gone."""
    processes.send(pid, signal.SIGKILL)
    wait_until(lambda: not processes.is_alive(pid), 30, f"end of process {pid}")


@contextlib.contextmanager
def stopped(pid: int) -> Iterator[None]:
    """Stop a process with SIGSTOP for the duration of the context."""
    processes.send(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        processes.send(pid, signal.SIGCONT)


def open_files(pid: int) -> dict[int, str]:
    """Return the open descriptors of a process, and what each leads to."""
    folder, found = Path(f"/proc/{pid}/fd"), {}
    for number in os.listdir(folder):
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            found[int(number)] = os.readlink(folder / number)
    return found


def address_space(pid: int) -> int:
    """Return the size of a process's address space, which RLIMIT_AS limits, in bytes."""
    found = re.search(r"VmSize:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found[1]) * 1024


def peak_memory(pid: int) -> int:
    """Return the peak resident memory of a process since its start or :func:`forget_peak`, in bytes."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found
    return 1024 * int(found[1])


def forget_peak(pid: int) -> None:
    """Reset the peak memory of a process."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def playbooks(lab: Lab) -> list[int]:
    """Return the ansible-playbook processes of this lab, without those that another one has started."""
    found = [pid for pid in lab.running() if b"/ansible-playbook\0" in processes.command_line(pid)]
    return [pid for pid in found if processes.parent(pid) not in found]


@contextlib.contextmanager
def as_nobody(lab: Lab, program: str, *arguments: object) -> Iterator[subprocess.Popen[bytes]]:
    """Run a Python program as the user nobody."""
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
