# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hands a file over to the connection plugin without a look at it."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase


class ActionModule(ActionBase):  # type: ignore[misc]
    """Copies a file of the controller to the target."""

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Returns nothing but that it has done so."""
        super().run(tmp, task_vars)
        self._connection.put_file(self._task.args["src"], "/nonexistent/there")
        return {"changed": True}
