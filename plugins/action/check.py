# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module bastion.ssh.check: reaches a host, and tells how."""

from __future__ import annotations

import time
from typing import Any

from ansible.plugins.action import ActionBase


class ActionModule(ActionBase):
    """Needs no Python on the host."""

    TRANSFERS_FILES = False
    _supports_check_mode = True

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Returns what is documented of the module; a host that cannot be reached is unreachable."""
        super().run(tmp, task_vars)
        self.validate_argument_spec(argument_spec={})
        started = time.monotonic()
        answer = self._low_level_execute_command("echo reached", sudoable=False)
        seconds = round(time.monotonic() - started, 3)
        reached = "reached" in answer["stdout"]
        way = getattr(self._connection, "told", None)
        lines = [f"its connection is {self._connection.transport}"] if way is None else list(way)
        result = {"changed": False, "seconds": seconds, "lines": [*lines, f"reached after {seconds:.3f} s"]}
        if not reached:
            said = answer["stderr"].strip() or answer["stdout"].strip()
            result |= {"failed": True, "msg": f"logged in, but the shell ended with {answer['rc']}: {said}"}
        return result
