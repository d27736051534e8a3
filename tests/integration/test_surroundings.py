# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test real environments of Ansible: users without a name, minimal containers, systems that allow few algorithms."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab import TRUE, Lab, play, playbook
from lab.playbook import PING
from lab.surroundings import FIPS, path_without

#: A user id that is not in the user database, as container platforms choose at random, in root's group.
NAMELESS = 1_234_567
# It may read all files, as this Python may be readable by root only.
_AS_NAMELESS = f"exec setpriv --reuid={NAMELESS} --regid=0 --clear-groups --inh-caps=+dac_read_search --ambient-caps=+dac_read_search"


@dataclass(frozen=True)
class Surroundings:
    """Describe how an environment differs from the usual one.

    :param env: variables of the environment; None takes one out.
    :param lacks: programs that are not there.
    :param nameless: whether a user runs it whom nobody knows.
    :param home: what $HOME is: a directory of the user's, one that cannot be written, or not set.
    :param kept: whether there can be a broker, which needs a directory of its own.
    """

    env: Mapping[str, str | None] = field(default_factory=dict)
    lacks: tuple[str, ...] = ()
    nameless: bool = False
    home: str = "own"
    kept: bool = True


NO_BYTE_CODE = {"PYTHONDONTWRITEBYTECODE": "1"}
FIPS_MODE = {"PYTHONPATH": str(FIPS)}
CASES = {
    "byte code is written": Surroundings({"PYTHONDONTWRITEBYTECODE": None}),
    "no byte code": Surroundings(NO_BYTE_CODE),
    "FIPS mode": Surroundings(FIPS_MODE),
    "no ssh": Surroundings(lacks=("ssh",)),
    "no HOME": Surroundings(home="unset"),
    "HOME cannot be written": Surroundings(nameless=True, home="read-only", kept=False),
    "HOME cannot be written, but XDG_RUNTIME_DIR can": Surroundings({"XDG_RUNTIME_DIR": "{runtime}"}, nameless=True, home="read-only"),
    "no name": Surroundings(nameless=True),
    "no name and no HOME": Surroundings(nameless=True, home="unset"),
    "all at once": Surroundings(FIPS_MODE | NO_BYTE_CODE, ("ssh",), nameless=True, home="read-only", kept=False),
}  # fmt: skip


def owned(path: Path, mode: int = 0o700) -> Path:
    """Create a directory of the user without a name."""
    path.mkdir(mode=mode)
    os.chown(path, NAMELESS, 0)
    return path


class Controllers:
    """Run plays through one bastion, each in its own environment."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self._keys = [lab.key("bastion"), lab.key("target")]
        self._user = lab.user("target")
        self.target = lab.sshd("t", users=[self._user], keys=self._keys[1:], MaxStartups=100)
        self.bastion = lab.sshd(
            "a", users=[self._user], keys=self._keys[:1], permit_open=[self.target.endpoint], MaxStartups=100
        )
        self._known_hosts = lab.known_hosts([self.bastion, self.target])

    def run(self, number: int, case: Surroundings) -> list[str]:
        """Return what is wrong with a run of two tasks."""
        place = self.lab.path / f"controller-{number}"
        place.mkdir()
        home = _home(place, case)
        variables = self._variables(place, case)
        shell = f'chown -R {NAMELESS} . && {_AS_NAMELESS} "$@"' if case.nameless else 'exec "$@"'
        env = self._environment(place, home, case)
        run = playbook(self.lab, {"host": variables}, play(TRUE, PING), args=["-v"], env=env, shell=shell)
        problems = [] if run.statuses() == {"host": ["ok", "ok"]} else [run.text]
        if "Traceback" in run.text:
            problems.append("a traceback")
        if ("No broker" not in run.text) is not case.kept:
            problems.append("a broker" if case.kept else "no broker")
        return problems

    def _environment(self, place: Path, home: Path, case: Surroundings) -> dict[str, str | None]:
        """Return the environment, with a writable directory where ansible-core itself needs one."""
        own = _owned(place / "own", case)
        env = {"HOME": None if case.home == "unset" else str(home), "ANSIBLE_LOCAL_TEMP": str(own / "tmp"), **case.env}
        env["ANSIBLE_HOME"] = f"{home if case.home == 'read-only' else own}/.ansible"
        env["ANSIBLE_SSH_CONFIG_FILE"] = None  # the usual ones, if they are there
        if "XDG_RUNTIME_DIR" in case.env:
            env["XDG_RUNTIME_DIR"] = str(_owned(place / "runtime", case))
        if case.lacks:
            env["PATH"] = path_without(self.lab, *case.lacks)
        return env

    def _variables(self, place: Path, case: Surroundings) -> dict[str, Any]:
        keys = []
        for key in self._keys:
            mine = shutil.copy(key.path, place / key.path.name)
            if case.nameless:
                os.chown(mine, NAMELESS, 0)
            keys.append(str(mine))
        ends = [
            {"host": each.address, "port": each.port, "user": self._user.name} for each in (self.bastion, self.target)
        ]
        return {
            "ansible_connection": "bastion.ssh.jump",
            "ansible_host": ends[1]["host"],
            "ansible_port": ends[1]["port"],
            "ansible_user": ends[1]["user"],
            "ansible_ssh_private_key_file": keys[1],
            "ansible_ssh_known_hosts": str(self._known_hosts),
            "ansible_ssh_jump": [ends[0] | {"private_key_file": keys[0]}],
        }


def _owned(path: Path, case: Surroundings) -> Path:
    """Create a directory of the user of this case."""
    path.mkdir(mode=0o700)
    if case.nameless:
        os.chown(path, NAMELESS, 0)
    return path


def _home(place: Path, case: Surroundings) -> Path:
    if case.home != "read-only":
        return _owned(place / "home", case)
    path = place / "home"
    path.mkdir(mode=0o555)
    return path


# trust: T57
def test_a_play_runs_through_a_bastion_in_any_surroundings(lab: Lab) -> None:
    controllers = Controllers(lab)
    for case in CASES.values():
        if case.lacks:
            path_without(lab, *case.lacks)
    with ThreadPoolExecutor(4) as pool:
        problems = dict(zip(CASES, pool.map(controllers.run, range(len(CASES)), CASES.values()), strict=True))
    wrong = "\n".join(f"{name}: {words}" for name, found in problems.items() for words in found)
    assert not wrong, wrong
    # With a broker, both tasks share one login.
    assert len(controllers.bastion.logins()) == sum(1 if case.kept else 2 for case in CASES.values())
