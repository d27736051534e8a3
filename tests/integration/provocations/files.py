# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Transfers that fail, on the target or on the controller."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import asyncssh
from lab.playbook import PING
from lab.sshd import sftp_server

from .provocation import Provocation, Stage, Variables

_PING = (PING,)
_FETCH = ({"name": "Fetch", "ansible.builtin.fetch": {"src": "/etc/services", "dest": "{{ dest }}", "flat": True}},)
# A file of the system that can be opened, and not be read.
_UNARCHIVE = (
    {"name": "Unarchive", "ansible.builtin.unarchive": {"src": "/proc/self/mem", "dest": "/tmp", "decrypt": False}},
)
_PUT = ({"name": "Put", "lab_put": {"src": "/nonexistent"}},)


_TALKS, _QUIET = "the shell prints before SFTP begins: …", "Let no startup file of its shell"
_CHECK = "Check its path, its permissions and its disk."


def _denying(request: str) -> Any:
    """A server whose SFTP refuses a kind of request."""

    def host(stage: Stage) -> Variables:
        server = stage.sshd(sftp=None, Subsystem=f"sftp {sftp_server()} -P {request}")
        return stage.host(server, dest=str(stage.lab.path / stage.name("fetched")))

    return host


class _Short(asyncssh.SFTPServer):
    """Somebody else takes a byte of each file away before it is looked at."""

    def stat(self, path: bytes) -> Any:
        attributes = asyncssh.SFTPAttrs.from_local(Path(path.decode()).stat())
        attributes.size = max(0, (attributes.size or 0) - 1)
        return attributes


def _short(stage: Stage) -> Variables:
    return stage.host(stage.recorder(sftp_factory=_Short))


def _to_a_full_disk(stage: Stage) -> Variables:
    return stage.host(stage.server, dest=str(stage.lab.disk("4k") / "fetched"))


def _with_an_action_of_the_lab(_stage: Stage) -> dict[str, Any]:
    """No module of ansible-core hands over a file that is not there."""
    return {"env": {"ANSIBLE_ACTION_PLUGINS": str(Path(__file__).parents[1] / "lab/action_plugins")}}


def _plain(stage: Stage) -> Variables:
    return stage.host(stage.server)


def _without_sftp(stage: Stage) -> Variables:
    return stage.host(stage.sshd(sftp=None), ansible_ssh_transfer_method="sftp")


def _talking(method: str, line: str) -> Any:
    """A shell whose startup file does something."""

    def host(stage: Stage) -> Variables:
        user, dest = stage.lab.user(stage.name("talks")), stage.lab.path / stage.name("fetched")
        (user.home / ".bashrc").write_text(line)
        server = stage.lab.sshd(stage.name("sshd"), users=[user], keys=[stage.key], sftp="external")
        return stage.host(server, ansible_user=user.name, ansible_ssh_transfer_method=method, dest=str(dest))

    return host


def _failed(message: str, host: Any, tasks: Any, names: str = "", **more: Any) -> Provocation:
    return Provocation(message, names, host, status="failed", tasks=tasks, **more)


PROVOCATIONS = [
    _failed("cannot write …: …", _denying("write"), _PING, "target", then=_CHECK),
    _failed("cannot read …: …", _denying("read"), _FETCH, "target", then=_CHECK),
    _failed("cannot read …: …", _plain, _UNARCHIVE, "on the controller", then=_CHECK),
    _failed("cannot write …: …", _to_a_full_disk, _FETCH, "on the controller", then=_CHECK),
    _failed("cannot write …: … of … bytes arrived", _short, _PING, "target", then=_CHECK),
    _failed("it offers no SFTP", _without_sftp, _PING, "target", then="Let ansible_ssh_transfer_method be 'smart'"),
    _failed(_TALKS, _talking("sftp", "echo Welcome"), _PING, "target", then=_QUIET),
    Provocation(
        f"{_TALKS}, so files go through dd",
        "target",
        _talking("smart", "echo Welcome"),
        _QUIET,
        "ok",
        where="output",
        tasks=_FETCH,
    ),
    _failed(
        "file or module does not exist: …",
        _plain,
        _PUT,
        "on the controller",
        then="Check its path.",
        around=_with_an_action_of_the_lab,
    ),
]
