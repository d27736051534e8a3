# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Implement the module bastion.ssh.chain, which shows the route to a host without connecting."""

from __future__ import annotations

import os
from itertools import pairwise
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

from ansible_collections.bastion.ssh.plugins.plugin_utils.chain.explain import DEFAULT, explain
from ansible_collections.bastion.ssh.plugins.plugin_utils.chain.model import hop_name
from ansible_collections.bastion.ssh.plugins.plugin_utils.errors import SettingsError
from ansible_collections.bastion.ssh.plugins.plugin_utils.hints import misspelt_variables
from ansible_collections.bastion.ssh.plugins.plugin_utils.openssh.client_config import ClientConfig
from ansible_collections.bastion.ssh.plugins.plugin_utils.options import NAMES, refuse_playbook_facts
from ansible_collections.bastion.ssh.plugins.plugin_utils.playbooks import refuse_former_name
from ansible_collections.bastion.ssh.plugins.plugin_utils.settings import read_settings, resolution

CONNECTION = "bastion.ssh.jump"


class ActionModule(ActionBase):
    """Resolve the route, on the controller only."""

    TRANSFERS_FILES = False
    _supports_check_mode = True

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the result documented in the module."""
        super().run(tmp, task_vars)
        self.validate_argument_spec(argument_spec={})
        refuse_playbook_facts(task_vars)
        refuse_former_name("bastion_ssh_picture", self._loader, task_vars)
        if self._connection.transport != CONNECTION:
            line = f"its connection is {self._connection.transport}"
            nothing: dict[str, Any] = {"chain": [], "legs": [], "hops": [], "notes": [], "lines": [line]}
            connection = {"connection": self._connection.transport, "directory": os.getcwd()}
            return {"skipped": True, "skip_reason": line, **connection, **nothing}
        try:
            options = self._connection.session_options()
            config_lookup = ClientConfig().config_lookup
            settings = read_settings(options, config_lookup)
            found, _arguments = resolution(options, config_lookup)
        except SettingsError as error:
            raise AnsibleActionFail(str(error)) from error
        labels = [hop.label for hop in found.chain.hops]
        first = found.chain.hops[0]
        lines = [str(found.chain) if first.proxy_command is None else f"{found.chain} (by a ProxyCommand)"]
        hops = []
        facts_by_hop = explain(found, self._origins(task_vars or {}))
        for index, (label, facts) in enumerate(zip(labels, facts_by_hop, strict=True)):
            lines.append(f"{hop_name(index, len(labels))} {label}")
            lines += [f"    {fact.name}: {fact.value} ({fact.source})" for fact in facts if fact.source != DEFAULT]
            hops.append(
                {"hop": label, "values": [{"name": f.name, "value": f.value, "source": f.source} for f in facts]}
            )
        notes = [*settings.warnings, *settings.remarks, *misspelt_variables(task_vars)]
        return {
            "changed": False,
            "chain": labels,
            "legs": _legs(
                str((task_vars or {}).get("inventory_hostname", "")), labels, first.proxy_command is not None
            ),
            "hops": hops,
            "notes": notes,
            "lines": [*lines, *(f"note: {note}" for note in notes)],
            "directory": options["directory"],
            "_ansible_verbose_override": True,  # with -v, do not print all of this as JSON besides the playbook's lines
        }

    def _origins(self, variables: dict[str, Any]) -> dict[str, str]:
        """Return where each option was set, as reported by ansible-core; defaults are omitted."""
        found = {}
        for name in NAMES:
            origin = str(self._connection.get_option_and_origin(name, hostvars=variables)[1] or "")
            if origin and origin != "default":
                found[name] = origin.removeprefix("var: ").removeprefix("env: ")
        return found


def _legs(host: str, labels: list[str], proxied: bool) -> list[dict[str, Any]]:
    """Return the connection to each hop. Hops are identified by their route, as addresses may recur behind other routes."""
    names = [*labels[:-1], f"{host}: {labels[-1]}"]
    ways = ["controller", *(" -> ".join(["controller", *names[: end + 1]]) for end in range(len(names)))]
    return [
        {"from": here, "to": there, "name": name, "proxied": proxied and here == "controller"}
        for (here, there), name in zip(pairwise(ways), names, strict=True)
    ]
