# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Commands that do not begin, or do not come to their end."""

from __future__ import annotations

import asyncio
import threading
from functools import partial
from typing import Any

import asyncssh
from ansible.release import __version__ as core
from lab import raw
from lab.hostile import Plan, ends, send

from .provocation import Provocation, Stage, Status, Variables

HOP = "target"
_IGNORE = 2  # RFC 4250 section 4.1.2
#: Whatever the host's variables say.
COMMAND = (raw("{{ command | default('true') }}"),)
_CHECK = ({"name": "Check", "bastion.ssh.check": {}},)
_ESCALATION_TIMEOUT: Status = "failed" if core.startswith(("2.17.", "2.18.")) else "unreachable"
_MAY_HAVE_TAKEN_EFFECT = "What the task did may have taken effect"


def _without_sessions(stage: Stage) -> Variables:
    return stage.host(stage.sshd(MaxSessions=0))


def _without_an_answer(stage: Stage) -> Variables:
    """A server that lets the user in and serves, and says nothing when a session is asked for."""

    def wait(transport: object) -> None:
        send(transport, _IGNORE, b"")
        threading.Event().wait(20)

    return _hostile(stage, Plan(opening=wait), ansible_ssh_timeout=2)


def _hostile(stage: Stage, plan: Plan, **more: Any) -> Variables:
    server = stage.lab.hostile(stage.name("hostile"), plan)
    known = server.known_hosts_lines()
    return stage.host((server.address, server.port), ansible_ssh_known_hosts=known, **more)


def _without_commands(stage: Stage) -> Variables:
    return stage.host(stage.recorder(process_factory=None))


def _without_terminals(stage: Stage) -> Variables:
    return stage.host(stage.sshd(PermitTTY=False), ansible_ssh_use_tty=True, ansible_become=True)


def _ending_its_server(stage: Stage) -> Variables:
    return stage.host(stage.sshd(), command="kill -9 $PPID")


def _without_a_status(stage: Stage) -> Variables:
    def close(process: asyncssh.SSHServerProcess[bytes]) -> None:
        process.close()

    return stage.host(stage.recorder(process_factory=close))


def _with_a_long_status(stage: Stage) -> Variables:
    return _hostile(stage, Plan(command=partial(ends, status=256)))


def _falling_silent(stage: Stage) -> Variables:
    """A link that stops when the command has come."""

    async def silent(_process: object) -> None:
        await asyncio.to_thread(link.stall)
        await asyncio.Event().wait()

    server = stage.recorder(process_factory=silent)
    link = stage.lab.forwarder(server)
    known = server.known_hosts_line(f"[{link.address}]:{link.port}")
    patience = {"ansible_ssh_server_alive_interval": 1, "ansible_ssh_server_alive_count_max": 1}
    return stage.host(link, ansible_ssh_known_hosts=known, **patience)


def _escalating(stage: Stage, **more: Any) -> Variables:
    user = stage.lab.user("sudo-password", sudo="password")
    server = stage.once("sudo", lambda: stage.lab.sshd("sudo", users=[user], keys=[stage.key]))
    return stage.host(server, ansible_user=user.name, ansible_become=True, **more)


def _without_a_shell(stage: Stage) -> Variables:
    return stage.host(stage.server, ansible_shell_executable="/nonexistent")


PROVOCATIONS = [
    Provocation("no session: …", HOP, _without_sessions, "Does its MaxSessions leave room"),
    Provocation("no session within … seconds", HOP, _without_an_answer, "Is it overloaded?"),
    Provocation("the server refused to run the command: …", HOP, _without_commands, "May this account run commands"),
    Provocation(
        "it gives no terminal (PermitTTY)", HOP, _without_terminals, "Let ansible_ssh_use_tty be false.", status="failed"
    ),
    Provocation("the connection was lost: …", HOP, _ending_its_server, _MAY_HAVE_TAKEN_EFFECT, tasks=COMMAND),
    Provocation(
        "the server ended the command without saying how", HOP, _without_a_status, "Its log says why.", tasks=COMMAND
    ),
    Provocation(
        "no answer to keepalives for … seconds", HOP, _falling_silent, _MAY_HAVE_TAKEN_EFFECT,
        before="the connection was lost: ", tasks=COMMAND,
    ),
    Provocation(
        "Incorrect … password", HOP, lambda stage: _escalating(stage, ansible_become_password="wrong"),
        "Check ansible_become_password.", status="failed", tasks=COMMAND,
    ),
    Provocation(
        "Missing … password", HOP, _escalating, "Check ansible_become_password.", status="failed", tasks=COMMAND
    ),
    Provocation(
        "Timeout (…s) waiting for privilege escalation prompt: … showed neither its password prompt nor the start of the command",
        HOP,
        lambda stage: _escalating(stage, ansible_become_exe="sleep 60;", ansible_ssh_timeout=1),
        "Look at become_method, become_flags and become_exe", status=_ESCALATION_TIMEOUT, tasks=COMMAND,
    ),
    Provocation(
        "logged in, but the shell did not run a command: it ended with …", HOP, _without_a_shell,
        "ansible_shell_executable", status="failed", tasks=_CHECK,
    ),
    Provocation(
        "the command ended with status …", HOP, _with_a_long_status, "A status has eight bits",
        status="failed", where="stderr", tasks=COMMAND,
    ),
    Provocation(
        "the command was ended by signal …", HOP, lambda stage: stage.host(stage.server, command="kill -9 $$"),
        "look at the limits of the target", status="failed", where="stderr", tasks=COMMAND,
    ),
]  # fmt: skip
