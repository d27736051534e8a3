# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the OpenSSH client, to compare with and to verify the lab."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from . import processes
from .agent import Agent
from .keys import Key
from .lab import Lab, Place
from .users import User


def ssh_config(lab: Lab, hosts: Mapping[str, Mapping[str, object]], name: str = "ssh_config") -> Path:
    """Write an ssh_config: host pattern -> keyword -> value. It uses the known_hosts file of :meth:`Lab.trust`."""
    lines = []
    for pattern, options in hosts.items():
        lines += [f"Host {pattern}", *(f"  {keyword} {value}" for keyword, value in options.items())]
    lines += ["Host *", f"  UserKnownHostsFile {lab.home}/.ssh/known_hosts", "  GlobalKnownHostsFile none"]
    path = lab.path / name
    path.write_text("\n".join(lines) + "\n")
    return path


def _command(
    lab: Lab,
    host: Place | str,
    user: User | str | None,
    command: str | None,
    *,
    key: Key | None,
    to: str | None,
    jump: str | None,
    config: Path | None,
    options: Sequence[str],
    words: Sequence[str],
) -> list[str]:
    # In the file, as the options of the command line do not apply to the jump hosts of -J.
    identity: dict[str, object] = {"IdentityFile": key.path, "IdentitiesOnly": "yes"} if key else {}
    config = config or ssh_config(lab, {"*": identity}, f"ssh_config.{key.path.name if key else 'none'}")
    line = ["ssh", "-F", str(config), *words]
    line += [word for option in options for word in ("-o", option)]
    line += ["-J", jump] if jump else []
    name = user.name if isinstance(user, User) else user
    line += ["-l", name] if name else []
    if isinstance(host, str):
        line.append(host)
    else:
        line += ["-p", str(host.port), to or host.address]
    return line + ([command] if command else [])


def _environment(lab: Lab, agent: Agent | None, password: str | None) -> dict[str, str]:
    env = lab.environment(agent)
    ask = lab.path / "askpass"
    ask.write_text('#!/bin/sh\nprintf %s "$ASKED"\n')
    ask.chmod(0o700)
    # Without a password, the answer is empty, so that ssh never waits for a terminal.
    return env | {"SSH_ASKPASS": str(ask), "SSH_ASKPASS_REQUIRE": "force", "ASKED": password or ""}


def ssh(
    lab: Lab,
    host: Place | str,
    user: User | str | None,
    command: str | None,
    *,
    key: Key | None = None,
    password: str | None = None,
    agent: Agent | None = None,
    to: str | None = None,
    jump: str | None = None,
    config: Path | None = None,
    options: Sequence[str] = (),
    words: Sequence[str] = (),
    timeout: float = 30,
) -> subprocess.CompletedProcess[str]:
    """Run the OpenSSH client to its end.

    key: the only key that is offered, at every hop of jump (-J), too, unless there is a config; password: the answer to
    every question; words: further arguments; to: another address of the server; timeout: in seconds.
    """
    line = _command(
        lab, host, user, command, key=key, to=to, jump=jump, config=config, options=options, words=words
    )  # fmt: skip
    return subprocess.run(
        line,
        env=_environment(lab, agent, password),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


@contextmanager
def start_ssh(
    lab: Lab, host: Place, user: User | str, command: str, *, key: Key | None = None, options: Sequence[str] = ()
) -> Iterator[subprocess.Popen[str]]:
    """Run the OpenSSH client in the background, with pipes; it is killed with the context."""
    line = _command(lab, host, user, command, key=key, to=None, jump=None, config=None, options=options, words=())
    process = subprocess.Popen(
        line,
        env=_environment(lab, None, None),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            processes.end_child(process)
