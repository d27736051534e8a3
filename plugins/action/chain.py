# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module bastion.ssh.chain: shows the way to a host, and goes nowhere."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

from ansible_collections.bastion.ssh.plugins.plugin_utils.chain.origin import facts_of
from ansible_collections.bastion.ssh.plugins.plugin_utils.errors import SettingsError
from ansible_collections.bastion.ssh.plugins.plugin_utils.options import read_options
from ansible_collections.bastion.ssh.plugins.plugin_utils.settings import resolution
from ansible_collections.bastion.ssh.plugins.plugin_utils.ssh.client_config import ClientConfig

CONNECTION = "bastion.ssh.jump"


class ActionModule(ActionBase):
    """Runs on the controller alone."""

    TRANSFERS_FILES = False
    _supports_check_mode = True

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Returns what is documented of the module."""
        super().run(tmp, task_vars)
        self.validate_argument_spec(argument_spec={})
        if self._connection.transport != CONNECTION:
            line = f"its connection is {self._connection.transport}"
            return {"skipped": True, "skip_reason": line, "chain": [], "legs": [], "hops": [], "lines": [line]}
        try:
            found, _arguments = resolution(read_options(self._connection.get_option), ClientConfig().asker)
        except SettingsError as error:
            raise AnsibleActionFail(str(error)) from error
        labels = [hop.label for hop in found.chain.hops]
        lines = [str(found.chain)]
        hops = []
        for number, (label, facts) in enumerate(zip(labels, facts_of(found), strict=True), 1):
            lines.append(f"hop {number} of {len(labels)}, {label}")
            lines += [f"    {fact.name}: {fact.value} ({fact.source})" for fact in facts]
            hops.append(
                {"hop": label, "values": [{"name": f.name, "value": f.value, "source": f.source} for f in facts]}
            )
        legs = [list(leg) for leg in pairwise(["controller", *labels])]
        return {"changed": False, "chain": labels, "legs": legs, "hops": hops, "lines": lines}
