# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Implement the module bastion.ssh.check, which connects to a host and reports each hop."""

from __future__ import annotations

import time
from typing import Any

from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.action import ActionBase

from ansible_collections.bastion.ssh.plugins.plugin_utils.errors import CommandError
from ansible_collections.bastion.ssh.plugins.plugin_utils.hints import misspelt_variables


class ActionModule(ActionBase):
    """Connect to each hop and run a command; the host needs no Python."""

    TRANSFERS_FILES = False
    _supports_check_mode = True

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the result documented in the module; connection errors make the host unreachable."""
        super().run(tmp, task_vars)
        self.validate_argument_spec(argument_spec={})
        connect = getattr(self._connection, "connect_hops", None)
        notes = [] if connect is None else misspelt_variables(task_vars)
        started = time.monotonic()
        try:
            hops = [] if connect is None else connect()
            answer = self._low_level_execute_command("echo reached", sudoable=False)
        except AnsibleConnectionFailure as error:
            told = getattr(self._connection, "told", [])
            return {"unreachable": True, "msg": str(error), "lines": [*told, *_noted(notes)], "notes": notes}
        seconds = round(time.monotonic() - started, 3)
        others = {} if connect else {"connection": self._connection.transport}
        lines = [_line(hop) for hop in hops] if connect else [f"its connection is {self._connection.transport}"]
        found = {"hops": hops, "notes": notes, **others}
        if answer["rc"] or "reached" not in answer["stdout_lines"]:
            said = answer["stderr"].strip() or answer["stdout"].strip()
            problem = f"logged in, but the shell did not run a command: it ended with {answer['rc']}: {said}"
            advice = "Look at the shell of the account, and at ansible_shell_executable."
            failure = CommandError(
                getattr(self._connection, "place", "") or self._connection.transport, problem, advice
            )
            return {"failed": True, "msg": str(failure), "lines": [*lines, *_noted(notes)], **found}
        lines += [f"reached in {seconds:.3f} s", *_noted(notes)]
        return {"changed": False, "seconds": seconds, "lines": lines, **found}


def _line(hop: dict[str, Any]) -> str:
    return f"{hop['hop']}: login {hop['login']:.3f} s, connected for {hop['age']:.0f} s"


def _noted(notes: list[str]) -> list[str]:
    return [f"note: {note}" for note in notes]
