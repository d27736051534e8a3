# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Create system users with random passwords and become rules."""

from __future__ import annotations

import pwd
import secrets
import shutil
import subprocess
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from . import processes

PREFIX = "bssh-"
SUDOERS = Path("/etc/sudoers.d")
SUDO_STATE = (Path("/var/lib/sudo/lectured"), Path("/run/sudo/ts"))
DOAS = Path("/etc/doas.conf")

Become = Literal["password", "nopasswd"]


@dataclass(frozen=True)
class User:
    """Hold one system user."""

    name: str
    password: str = field(repr=False)
    home: Path
    uid: int
    gid: int


def _run(*command: str, text: str | None = None) -> None:
    result = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    if result.returncode:
        raise RuntimeError(f"{' '.join(command)}: {result.stderr.strip()}")


def _edit_doas(drop: str, add: str = "") -> None:
    """Remove the rules of users with a prefix from doas.conf and add a rule; remove the file if it is empty then."""
    old = DOAS.read_text() if DOAS.exists() else ""
    kept = [line for line in old.splitlines(keepends=True) if not (drop and f" {drop}" in line)]
    new = "".join(kept) + add
    if new == old:
        return
    if new:
        DOAS.write_text(new)
        DOAS.chmod(0o600)
    else:
        DOAS.unlink()


class Users:
    """Hold the users of one test session, created on first use."""

    def __init__(self, homes: Path, session: str, lock: Callable[[], AbstractContextManager[None]]) -> None:
        self._homes = homes
        self._prefix = f"{PREFIX}{session}-"
        self._lock = lock
        self._users: dict[str, User] = {}
        self._rules: dict[str, tuple[Become | None, bool, Become | None]] = {}

    def get(
        self,
        role: str,
        *,
        sudo: Become | None = None,
        lecture: bool = False,
        doas: Become | None = None,
    ) -> User:
        """Return the user with this role; sudo and doas: how it may become another user, set at its creation."""
        rules = (sudo, lecture, doas)
        if role not in self._users:
            self._rules[role] = rules
            with self._lock():
                self._users[role] = self._create(role)
                if sudo:
                    self._allow_sudo(self._users[role], sudo, lecture)
                if doas:
                    self._allow_doas(self._users[role], doas)
        elif rules not in (self._rules[role], (None, False, None)):
            raise ValueError(f"user {role!r} exists; choose another role name for other become rules")
        return self._users[role]

    def _create(self, role: str) -> User:
        name = self._prefix + role
        home = self._homes / role
        _run(
            "useradd", "--no-create-home", "--no-user-group", "--gid", "nogroup", "--no-log-init",
            "--home-dir", str(home), "--shell", "/bin/bash", "--comment", "integration test",
            "--key", "SUB_UID_COUNT=0", "--key", "SUB_GID_COUNT=0",
            # Ids that no other user has, as all processes of a user are ended; in containers, ids begin at 1000, too.
            "--key", "UID_MIN=52000", "--key", "UID_MAX=57999", name,
        )  # fmt: skip
        password = f"pw-{role}-{secrets.token_hex(12)}"
        _run("chpasswd", text=f"{name}:{password}\n")
        entry = pwd.getpwnam(name)
        user = User(name, password, home, entry.pw_uid, entry.pw_gid)
        self.clean_home(user)
        return user

    @staticmethod
    def clean_home(user: User) -> None:
        """Give a user an empty home directory."""
        shutil.rmtree(user.home, ignore_errors=True)
        user.home.mkdir(parents=True)
        user.home.chmod(0o700)
        shutil.chown(user.home, user.uid, user.gid)

    @staticmethod
    def end_processes(uid: int) -> None:
        """End all processes of a user."""
        processes.end(pid for pid in processes.pids() if processes.owner(pid) == uid)

    @staticmethod
    def _allow_sudo(user: User, become: Become, lecture: bool) -> None:
        tag = "NOPASSWD: " if become == "nopasswd" else ""
        rule = SUDOERS / user.name
        rule.touch(mode=0o440)
        rule.write_text(
            f"Defaults:{user.name} timestamp_timeout=0, lecture={'always' if lecture else 'never'}\n"
            f"{user.name} ALL=(ALL:ALL) {tag}ALL\n"
        )
        _run("visudo", "-cqf", str(rule))

    @staticmethod
    def _allow_doas(user: User, become: Become) -> None:
        if not shutil.which("doas"):
            raise RuntimeError("doas is not installed")
        _edit_doas("", f"permit {'nopass ' if become == 'nopasswd' else ''}{user.name}\n")

    @classmethod
    def remove_all(cls, session: str) -> None:
        """Delete every user of a session, with its processes, become rules and sudo state."""
        prefix = f"{PREFIX}{session}-"
        for entry in [entry for entry in pwd.getpwall() if entry.pw_name.startswith(prefix)]:
            cls.end_processes(entry.pw_uid)
            _run("userdel", "--force", entry.pw_name)
            (SUDOERS / entry.pw_name).unlink(missing_ok=True)
            for state in SUDO_STATE:
                (state / entry.pw_name).unlink(missing_ok=True)
                (state / str(entry.pw_uid)).unlink(missing_ok=True)
        _edit_doas(prefix)
