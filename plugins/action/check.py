# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module bastion.ssh.check: reaches a host, and tells how."""

from __future__ import annotations

import time
from typing import Any

from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.action import ActionBase

from ansible_collections.bastion.ssh.plugins.plugin_utils.errors import CommandError


class ActionModule(ActionBase):
    """Needs no Python on the host."""

    TRANSFERS_FILES = False
    _supports_check_mode = True

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Returns what is documented of the module; a host that cannot be reached is unreachable."""
        super().run(tmp, task_vars)
        self.validate_argument_spec(argument_spec={})
        started = time.monotonic()
        try:
            answer = self._low_level_execute_command("echo reached", sudoable=False)
        except AnsibleConnectionFailure as error:
            return {"unreachable": True, "msg": str(error), "lines": self._way()}
        seconds = round(time.monotonic() - started, 3)
        if answer["rc"] or "reached" not in answer["stdout_lines"]:
            said = answer["stderr"].strip() or answer["stdout"].strip()
            problem = f"logged in, but the shell did not run a command: it ended with {answer['rc']}: {said}"
            advice = "Look at the shell of the account, and at ansible_shell_executable."
            failure = CommandError(
                getattr(self._connection, "place", "") or self._connection.transport, problem, advice
            )
            return {"failed": True, "msg": str(failure), "lines": self._way()}
        return {"changed": False, "seconds": seconds, "lines": [*self._way(), f"reached after {seconds:.3f} s"]}

    def _way(self) -> list[str]:
        told = getattr(self._connection, "told", None)
        return [f"its connection is {self._connection.transport}"] if told is None else list(told)
