# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Implement the module bastion.ssh.sessions, which lists or stops the user's brokers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ansible import constants as C
from ansible.plugins.action import ActionBase

from ansible_collections.bastion.ssh.plugins.plugin_utils.broker.control import ask, described
from ansible_collections.bastion.ssh.plugins.plugin_utils.client.address import directories
from ansible_collections.bastion.ssh.plugins.plugin_utils.loading import CONNECTION, define_options
from ansible_collections.bastion.ssh.plugins.plugin_utils.options import refuse_playbook_facts
from ansible_collections.bastion.ssh.plugins.plugin_utils.playbooks import refuse_former_name


class ActionModule(ActionBase):
    """Query the brokers, on the controller only."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the result documented in the module."""
        super().run(tmp, task_vars)
        _spec, arguments = self.validate_argument_spec(
            argument_spec={"stop": {"type": "bool", "default": False}, "directory": {"type": "path"}}
        )
        refuse_playbook_facts(task_vars)
        refuse_former_name("bastion_ssh_stop", self._loader, task_vars)
        ends = arguments["stop"] and not self._task.check_mode
        paths = list(_paths(arguments["directory"], task_vars or {}))
        brokers = list(ask(paths, "stop" if ends else "status"))
        found = [broker for broker in brokers if "problem" not in broker]
        lines = [line for broker in brokers for line in described(broker)] or [
            f"There is no broker in {', '.join(paths)}."
        ]
        if arguments["stop"]:
            word = "ended" if ends else "would end"
            lines += [f"{word} broker {broker['pid']} and its connections" for broker in found]
        result = {"changed": arguments["stop"] and bool(found), "brokers": brokers, "lines": lines}
        silent = [broker["problem"] for broker in brokers if "problem" in broker and "ended" not in broker]
        if ends and silent:
            result |= {"failed": True, "msg": "; ".join(silent)}
        return result


def _paths(wanted: str | None, variables: dict[str, Any]) -> Iterable[str]:
    define_options()
    configured = C.config.get_config_value("persist_directory", None, "connection", CONNECTION, variables=variables)
    return directories(wanted or configured, C.config.get_config_value("ANSIBLE_HOME"))
