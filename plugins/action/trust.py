# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Implement the module bastion.ssh.trust, which shows the host keys of each hop, and adds accepted ones."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase

from ansible_collections.bastion.ssh.plugins.plugin_utils.options import refuse_playbook_facts
from ansible_collections.bastion.ssh.plugins.plugin_utils.playbooks import refuse_former_name

_TRUSTED = ("known", "added")


class ActionModule(ActionBase):
    """Scan host keys; only jump hosts are logged in to."""

    TRANSFERS_FILES = False
    _supports_check_mode = True

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the result documented in the module."""
        super().run(tmp, task_vars)
        _spec, arguments = self.validate_argument_spec(
            argument_spec={
                "accept": {"type": "bool", "default": False},
                "fingerprints": {"type": "list", "elements": "str"},
            }
        )
        refuse_playbook_facts(task_vars)
        refuse_former_name("bastion_ssh_accept", self._loader, task_vars)
        scan_host_keys = getattr(self._connection, "scan_host_keys", None)
        if scan_host_keys is None:
            line = f"its connection is {self._connection.transport}"
            nothing: dict[str, Any] = {"hops": [], "new": [], "trusted": False, "lines": [line]}
            return {"skipped": True, "skip_reason": line, "connection": self._connection.transport, **nothing}
        accept = arguments["accept"] and not self._task.check_mode
        hops = scan_host_keys(accept, arguments["fingerprints"])
        refused = [hop["msg"] for hop in hops if hop["status"] in ("refused", "unreachable")]
        return {
            "changed": any(hop["status"] == "added" for hop in hops),
            "hops": hops,
            "new": [hop["fingerprint"] for hop in hops if hop["status"] == "new"],
            "trusted": hops[-1]["status"] in _TRUSTED,
            "lines": [_line(hop) for hop in hops],
            **({"failed": True, "msg": refused[-1]} if refused else {}),
        }


def _line(hop: dict[str, Any]) -> str:
    key = f": {hop['key_type']} {hop['fingerprint']}" if "fingerprint" in hop else ""
    certificate = ", with a certificate" if hop.get("certified") else ""
    return f"{hop['hop']}{key}{certificate}: {hop['status']}"
