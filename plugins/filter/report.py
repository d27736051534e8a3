# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Combine the results of many hosts into one report."""

from __future__ import annotations

DOCUMENTATION = r"""
name: report
author:
  - bastion.ssh contributors (!UNKNOWN)
short_description: Combine results of this collection's modules for many hosts into one report
version_added: 1.0.0
description:
  - Combines results of M(bastion.ssh.chain), M(bastion.ssh.trust) or M(bastion.ssh.check), as the playbooks of these names show them.
  - The report is meant to be read by users. Programs should use the results of the modules instead.
positional: what
options:
  _input:
    description: Dictionary of host names, each with the host's result of one of the modules.
    required: true
    type: dict
  what:
    description:
      - For results of M(bastion.ssh.chain), V(routes) returns one line for each route with the hosts behind it, V(details) returns the lines of
        each host, and V(picture) returns a dictionary of nodes and edges for drawing the routes.
      - For results of M(bastion.ssh.trust), V(keys) returns the host keys by route, and V(questions) returns one question for each new key.
      - For results of M(bastion.ssh.check), V(times) returns a table of the hops by route.
    type: string
    required: true
    choices: [routes, details, picture, keys, questions, times]
seealso:
  - module: bastion.ssh.chain
  - module: bastion.ssh.trust
  - module: bastion.ssh.check
"""

EXAMPLES = r"""
- name: Determine the route to each host
  bastion.ssh.chain:
  register: route

- name: Show the routes
  ansible.builtin.debug:
    msg: "{{ dict(ansible_play_hosts | zip(ansible_play_hosts | map('extract', hostvars, 'route'))) | bastion.ssh.report('routes') }}"
  run_once: true
"""

RETURN = r"""
_value:
  description: A list of lines. For V(questions), a list of dictionaries with C(fingerprint) and C(question). For V(picture), a dictionary with C(nodes) and
    C(edges).
  type: raw
"""

from collections.abc import Callable
from typing import Any

from ansible.errors import AnsibleFilterError

from ansible_collections.bastion.ssh.plugins.plugin_utils.report import REPORTS


def report(results: Any, what: str) -> Any:
    """Return a report.

    :param results: inventory name -> the result of a module of this collection.
    :param what: the report's name.
    :raises AnsibleFilterError: there is no such report.
    """
    if what not in REPORTS:
        raise AnsibleFilterError(f"bastion.ssh.report: there is no {what!r}, but {', '.join(REPORTS)}")
    return REPORTS[what](results)


class FilterModule:
    """Provide the filter to ansible-core."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter by its name."""
        return {"report": report}
