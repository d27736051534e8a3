# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Open sessions without Ansible, in the test's own process or with a broker, for many commands or details of one."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lab import Lab

from ansible_collections.bastion.ssh.plugins.plugin_utils import loading
from ansible_collections.bastion.ssh.plugins.plugin_utils.chain.model import TransferMethod
from ansible_collections.bastion.ssh.plugins.plugin_utils.client.client import BrokerSession
from ansible_collections.bastion.ssh.plugins.plugin_utils.client.command import Request, Result, run
from ansible_collections.bastion.ssh.plugins.plugin_utils.client.interface import Process, Report, Session
from ansible_collections.bastion.ssh.plugins.plugin_utils.pool.direct import DirectSession

_DEFINITIONS = json.loads(Path(loading.__file__).with_name("definitions.json").read_text())
_OPTIONS = {entry["name"]: name for name, option in _DEFINITIONS.items() for entry in option.get("vars", ())}


def options_of(lab: Lab, variables: Mapping[str, Any]) -> dict[str, Any]:
    """Return the plain options for inventory variables, with the known_hosts file of :meth:`Lab.trust`."""
    options = {name: option.get("default") for name, option in _DEFINITIONS.items()} | {"config_file": "none"}
    options |= {_OPTIONS[name]: value for name, value in variables.items() if name in _OPTIONS}
    options |= {"known_hosts": [str(lab.home / ".ssh/known_hosts")], "look_for_keys": False}
    around = {"login_name": "nobody", "directory": str(lab.path), "environment": dict(os.environ)}
    return options | around | {"run_directory": None}


class OpenSession:
    """Wrap a session with a method that runs a command."""

    def __init__(self, session: Session) -> None:
        self.session = session

    def run(self, line: str, stdin: bytes | None = None) -> Result:
        """Run a command line to its end."""
        return run(self.session.start(line), Request(line, stdin))


@contextlib.contextmanager
def opened(
    lab: Lab,
    variables: Mapping[str, Any],
    method: TransferMethod = TransferMethod.SMART,
    notes: list[str] | None = None,
    first: str | None = "true",
) -> Iterator[OpenSession]:
    """Open a session for inventory variables, closed with the context; first: a command to run at once, None for none."""
    kept: list[str] = [] if notes is None else notes
    options = options_of(lab, variables) | {"transfer_method": method.value}
    with contextlib.closing(_session(lab, options, Report(note=kept.append, warn=kept.append))) as session:
        made = OpenSession(session)
        assert first is None or made.run(first).status == 0
        yield made


def _session(lab: Lab, options: dict[str, Any], report: Report) -> Session:
    if not lab.broker:
        return DirectSession(options, report)
    return BrokerSession(options, str(lab.broker_directory), str(lab.home), report)


def fill(process: Process) -> None:
    """Write to a command's stdin until it is closed."""
    with contextlib.suppress(OSError):
        while True:
            process.write(bytes(1024 * 1024))
