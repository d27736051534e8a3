# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One input: what is asked for, where the hostile server stands, and what it does when."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

#: Where it stands: the target; a target behind a healthy bastion; a bastion before a healthy target.
PLACES = ("target", "behind", "bastion")

_GREETED = ("version", "kexinit", "kex", "newkeys")
_LOGINS = {
    "key": ("key",),
    "password": ("password",),
    "questions": ("question", "question:1", "answered"),
    "both": ("key", "password"),
}
_ENDING = ("status", "eof", "close")
_SFTP = ("open", "subsystem", "data", "data:1", "data:2", "sftp version", "sftp limits", "sftp handle")
_REQUESTS = {
    "start": ("open", "exec", "data", "errors", *_ENDING),
    "pty": ("open", "pty", "env", "exec", "data", *_ENDING),
    "agent": ("open", "request", "exec", "agent", "agent data", *_ENDING),
    "feed": ("open", "exec", "window", "window:1", *_ENDING),
    "wait": ("open", "exec", "alive", "alive:1", *_ENDING),
    "put": (*_SFTP, "sftp written", "sftp written:1", "sftp attributes", "sftp closed"),
    "fetch": (*_SFTP, "sftp attributes", "sftp data", "sftp data:1", "sftp end", "sftp closed"),
    "piped put": ("open", "exec", "window", *_ENDING),
    "piped fetch": ("open", "exec", "data", "data:1", *_ENDING),
}
_RELAYED = ("data", *(f"data:{number}" for number in range(1, 6)), "window")
_KEYS_ONLY = _GREETED[:3]
#: What is said when keys are exchanged once more.
AGAIN = ("kexinit:1", "kex:1", "newkeys:1")

#: What is asked for; ``scan_host_keys`` looks at the host key alone.
REQUESTS = (*_REQUESTS, "survey")
LOGINS = tuple(_LOGINS)


def steps(request: str, place: str, login: str) -> tuple[str, ...]:
    """What the server says in turn; ``step:1`` is the second time."""
    if request == "survey":
        return _KEYS_ONLY
    begun = (*_GREETED, "extensions", "service", "none", *_LOGINS[login])
    if place == "bastion":
        return (*begun, "forward", *_RELAYED)
    return (*begun, *_REQUESTS[request])


@dataclass(frozen=True)
class Case:
    """An input.

    :param login: what the server wants.
    :param strict: whether it takes part in strict key exchange, which ends at the first message out of order.
    :param patience: seconds of the client's silence after which the server ends the connection.
    :param plan: at which step what is changed, see :func:`message.changed`.
    """

    request: str = "start"
    place: str = "target"
    login: str = "key"
    strict: bool = False
    patience: float = 1.0
    plan: dict[str, list[list[Any]]] = field(default_factory=dict)


def from_json(value: dict[str, Any]) -> Case:
    """A case as a corpus has it; what is not there is usual."""
    return Case(**value)


def to_json(case: Case) -> dict[str, Any]:
    """The other way round, without what is usual."""
    usual = Case()
    return {name: value for name, value in vars(case).items() if value != getattr(usual, name)}
