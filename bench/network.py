# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The servers of a measurement: two bastions in a row, and targets that are reached through both of them only."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab import Key, Lab, Sshd, User


@dataclass(frozen=True)
class Network:
    """Each bastion forwards to what comes next and nowhere else. One key opens all; each server has its own user."""

    lab: Lab
    a: Sshd
    b: Sshd
    targets: list[Sshd]
    users: tuple[User, User, User]
    key: Key

    @property
    def places(self) -> list[tuple[str, int]]:
        """Address and port of every target."""
        return [(address, target.port) for target in self.targets for address in target.addresses]

    @property
    def jump_string(self) -> str:
        """The bastions as -J takes them."""
        return ",".join(
            f"{user.name}@{host.endpoint}" for user, host in zip(self.users[:2], (self.a, self.b), strict=True)
        )

    def logins(self) -> tuple[int, int]:
        """How often each bastion has let somebody in."""
        return len(self.a.logins()), len(self.b.logins())

    def settle(self) -> None:
        """Wait until nobody is connected through the bastions."""
        self.a.settle(60)
        self.b.settle(60)

    def home(self, name: str) -> Path:
        """A home directory for runs: new, and therefore without connections that are kept."""
        home = self.lab.path / "h" / name
        (home / ".ssh").mkdir(parents=True, mode=0o700)
        shutil.copy(self.lab.home / ".ssh/known_hosts", home / ".ssh/known_hosts")
        return home


def build(lab: Lab, count: int, *, one_server: bool = False) -> Network:
    """Start the servers.

    Each target is a server of its own, with the limits that sshd has by default, as each host has its own. With
    one_server a single one plays all targets: thousands of servers would not fit on one machine. It gets room for all.
    """
    users = (lab.user("jump1"), lab.user("jump2"), lab.user("target"))
    key = lab.key("everywhere")
    # Not the debug log of the tests, which costs time; it tells of logins, too.
    common: dict[str, Any] = {"keys": [key], "LogLevel": "VERBOSE"}
    room: dict[str, Any] = {"MaxStartups": str(4 * count), "count": count} if one_server else {}
    targets = [
        lab.sshd(f"t{number}", users=users[2:], permit_open=[], **common, **room)
        for number in range(1 if one_server else count)
    ]
    endpoints = [endpoint for target in targets for endpoint in target.endpoints]
    b = lab.sshd("b", users=users[1:2], permit_open=endpoints, **common)
    a = lab.sshd("a", users=users[:1], permit_open=[b.endpoint], **common)
    lab.trust(a, b, *targets)
    return Network(lab, a, b, targets, users, key)
