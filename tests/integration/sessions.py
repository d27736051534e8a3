# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sessions in the test's own process, for what needs many commands or a close look."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

from lab import Lab

from ansible_collections.bastion.ssh.plugins.plugin_utils.chain.model import Chain, HostKeyChecking, HostKeyPolicy
from ansible_collections.bastion.ssh.plugins.plugin_utils.chain.resolve import Settings, resolve
from ansible_collections.bastion.ssh.plugins.plugin_utils.ssh.command import Request, Result, run
from ansible_collections.bastion.ssh.plugins.plugin_utils.ssh.interface import Report, SessionOptions, TransferMethod
from ansible_collections.bastion.ssh.plugins.plugin_utils.ssh.session import DialledSession, open_session

_FIELDS = {
    "ansible_host": "host",
    "ansible_port": "port",
    "ansible_user": "user",
    "ansible_password": "password",
    "ansible_ssh_private_key_file": "private_key_file",
    "ansible_ssh_jump": "jump",
    "ansible_proxy_command": "proxy_command",
    "ansible_ssh_timeout": "timeout",
    "ansible_ssh_prompts": "prompts",
    "ansible_ssh_server_alive_interval": "alive_interval",
    "ansible_ssh_server_alive_count_max": "alive_count",
}


def chain_of(lab: Lab, variables: Mapping[str, Any], checking: HostKeyChecking = HostKeyChecking.STRICT) -> Chain:
    """The chain that inventory variables say, with the known_hosts file that the lab trusts."""
    known = {_FIELDS[name]: value for name, value in variables.items() if name in _FIELDS}
    policy = HostKeyPolicy(checking, (str(lab.home / ".ssh/known_hosts"),))
    return resolve(Settings(login_name="nobody", host_keys=policy, look_for_keys=False, **known))


class OpenSession:
    """A session with a short way to run a command."""

    def __init__(self, session: DialledSession) -> None:
        self.session = session

    def run(self, line: str, stdin: bytes | None = None) -> Result:
        """Runs a command line to its end."""
        return run(self.session.start(line), Request(line, stdin))


@contextlib.contextmanager
def opened(
    lab: Lab,
    variables: Mapping[str, Any],
    method: TransferMethod = TransferMethod.SMART,
    notes: list[str] | None = None,
) -> Iterator[OpenSession]:
    """A session for inventory variables, closed with the context."""
    kept: list[str] = [] if notes is None else notes
    report = Report(note=kept.append, warn=kept.append)
    session = open_session(chain_of(lab, variables), SessionOptions(method), report)
    try:
        yield OpenSession(session)
    finally:
        session.close()
