# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a provocation is: a message of docs/errors.md, and a host of a real playbook that comes to it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeVar

from lab import TRUE, Key, Lab, RecordingServer, Sshd, User, known_hosts_name
from lab.lab import Place
from lab.playbook import Task

T = TypeVar("T")
Variables = dict[str, Any]
Status = Literal["ok", "failed", "unreachable"]

#: Tasks of a host that comes when something has happened: a line with its ``words`` is in the file ``awaited``.
WAITING: tuple[Task, ...] = (
    {
        "name": "Wait",
        "ansible.builtin.wait_for": {"path": "{{ awaited | default('/etc/passwd') }}", "search_regex": "{{ words | default('.') }}", "timeout": 30},
        "delegate_to": "localhost",
        "connection": "local",
    },
    TRUE,
)  # fmt: skip

#: What stands before a message of ours: of ansible-core's, perhaps; and of our own, in the standard error of a command.
LEADS = {
    "msg": "(?:Task failed: )?(?:Failed to authenticate: )?",
    "stderr": r"bastion\.ssh\.jump: ",
    "output": ".*?",
}
#: What the name of a hop begins with in messages.
HOPS = ("jump host ", "target")
_LABEL = r"\S+@\S+:\d+"


class Stage:
    """The parts that the hosts of one section share, each made when it is first asked for."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        #: Hosts of the inventory that no play is for.
        self.others: dict[str, Variables] = {}
        #: Hosts that are in the play of those who wait for something.
        self.beside: dict[str, Variables] = {}
        self._count = 0
        self._made: dict[str, Any] = {}

    def once(self, what: str, make: Callable[[], T]) -> T:
        """What several hosts share, made when the first of them asks for it."""
        if what not in self._made:
            self._made[what] = make()
        made: T = self._made[what]
        return made

    def name(self, what: str = "part") -> str:
        """A name that nobody else has."""
        self._count += 1
        return f"{what}{self._count}"

    @cached_property
    def user(self) -> User:
        """Who logs in everywhere."""
        return self.lab.user("target")

    @cached_property
    def key(self) -> Key:
        """With which the user logs in."""
        return self.lab.key("stage")

    @cached_property
    def server(self) -> Sshd:
        """A server at which nothing is wrong."""
        return self.sshd()

    def sshd(self, **options: Any) -> Sshd:
        """A server of its own, with these options of Lab.sshd()."""
        return self.lab.sshd(self.name("sshd"), users=[self.user], keys=[self.key], **{"MaxStartups": 100} | options)

    def recorder(self, **options: Any) -> RecordingServer:
        """A server of its own that is no OpenSSH, with these options of RecordingServer."""
        return self.lab.recorder(self.name("recorder"), **{"keys": [self.key]} | options)

    def host(self, place: Place | tuple[str, int], **more: Any) -> Variables:
        """The variables of a target; it is known by the key that it shows, unless another is told. None takes one out."""
        address, port = place if isinstance(place, tuple) else (place.address, place.port)
        known = place.known_hosts_lines() if isinstance(place, (Sshd, RecordingServer)) else []
        variables = {
            "ansible_connection": "bastion.ssh.jump",
            "ansible_host": address,
            "ansible_port": port,
            "ansible_user": self.user.name,
            "ansible_ssh_private_key_file": str(self.key.path),
            "ansible_ssh_known_hosts": known or "/dev/null",
            **more,
        }
        return {name: value for name, value in variables.items() if value is not None}

    def hop(self, place: Place, **more: Any) -> Variables:
        """A bastion of ansible_ssh_jump."""
        known = place.known_hosts_lines() if isinstance(place, (Sshd, RecordingServer)) else []
        hop = {"host": place.address, "port": place.port, "user": self.user.name, "known_hosts": known or "/dev/null"}
        return hop | {"private_key_file": str(self.key.path), **more}

    def file(self, text: str) -> Path:
        """A file with a text."""
        path = self.lab.path / self.name("file")
        path.write_text(text)
        path.chmod(0o600)
        return path

    @staticmethod
    def known_as(shown: Sshd, place: Place) -> str:
        """The line of known_hosts for a server that is reached at another place."""
        return shown.known_hosts_line(known_hosts_name(place.address, place.port))


#: Keywords of lab.playbook() for a run that needs something of its own.
Around = Callable[[Stage], dict[str, Any]]


@dataclass(frozen=True)
class Provocation:
    """A message, and how it is come by.

    :param message: as it stands on the page, with ``…`` for what varies.
    :param names: what the message begins with, as on the page: the setting, or ``jump host 1 of 1`` for what a hop is called.
    :param variables: of the host that comes to it.
    :param then: what follows the message: the next step, if the message is not one itself.
    :param before: what stands between the beginning and the message, as a regular expression.
    :param where: the place in the result; ``output`` is all that the run has printed.
    :param tasks: the last of which comes to it; hosts with the same ones are in one play.
    :param around: what its run needs; hosts with the same are in one run.
    """

    message: str
    names: str
    variables: Callable[[Stage], Variables]
    then: str = ""
    status: Status = "unreachable"
    before: str = ""
    where: Literal["msg", "stderr", "output"] = "msg"
    tasks: tuple[Task, ...] = (TRUE,)
    around: Around | None = None

    @property
    def pattern(self) -> re.Pattern[str]:
        """What the text has to match from its beginning; that of a whole output from anywhere."""
        names = as_pattern(self.names)
        if self.names.startswith(HOPS):
            names += rf" {_LABEL}(?: \(via {_LABEL}\))?"
        colon = ": " if names else ""
        return re.compile(
            f"{LEADS[self.where]}{names}{colon}{self.before}{as_pattern(self.message)}.*{re.escape(self.then)}"
        )


def as_pattern(message: str) -> str:
    """A message of the page as a regular expression."""
    return ".+".join(map(re.escape, message.split("…")))


def setting(message: str, names: str, **variables: Any) -> Provocation:
    """A message about a variable, which is found before anything is connected or started."""

    def host(stage: Stage) -> Variables:
        user = {"ansible_connection": "bastion.ssh.jump", "ansible_host": "web", "ansible_user": "me"}
        return user | {name: filled(value, stage) for name, value in variables.items()}

    return Provocation(message, names, host, status="failed")


def filled(value: Any, stage: Stage) -> Any:
    """A text with the lab's directory in the place of ``{lab}``."""
    return value.replace("{lab}", str(stage.lab.path)) if isinstance(value, str) else value


def over(*hops: Mapping[str, Any]) -> Variables:
    """The variable of the bastions."""
    return {"ansible_ssh_jump": [dict(hop) for hop in hops]}


def first(act: Callable[[], object]) -> Callable[..., Awaitable[None]]:
    """The behaviour of a server that hears a word, lets something else happen, and answers nothing."""

    async def behave(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        await asyncio.to_thread(act)
        await asyncio.Event().wait()

    return behave
