#!/usr/bin/python
# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of an action plugin."""

# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: sessions
author:
  - bastion.ssh contributors (!UNKNOWN)
short_description: Show and end the connections that bastion.ssh.jump keeps
version_added: 1.0.0
description:
  - Shows the brokers of P(bastion.ssh.jump#connection) that this user has on the controller, and the connections that each broker keeps.
  - Runs on the controller, regardless of the host of the task.
  - The playbook of the same name, C(ansible-playbook bastion.ssh.sessions), shows them. With C(-e bastion_ssh_stop=true), it ends them.
options:
  stop:
    description:
      - Whether to end the brokers and all of their connections. Hosts whose tasks use such a connection become unreachable.
    type: bool
    default: false
  directory:
    description:
      - Directory to search. If it is not set, the directory of O(bastion.ssh.jump#connection:persist_directory) for this host is used, else
        the default directories of the connection plugin.
    type: path
attributes:
  action:
    description: Runs on the controller.
    support: full
  check_mode:
    description: Ends no broker in check mode.
    support: full
  diff_mode:
    description: Shows no differences.
    support: none
extends_documentation_fragment: []
seealso:
  - plugin: bastion.ssh.jump
    plugin_type: connection
"""

EXAMPLES = r"""
- name: Show the connections that are kept
  bastion.ssh.sessions:
  register: sessions

- name: End all kept connections
  bastion.ssh.sessions:
    stop: true
"""

RETURN = r"""
brokers:
  description: One entry for each broker, and for each directory that cannot be used.
  returned: always
  type: list
  elements: dict
  contains:
    pid:
      description: Process ID of the broker.
      type: int
    since:
      description: Start time of the broker, in seconds since 1970.
      type: float
    workers:
      description: Number of tasks that it serves now.
      type: int
    directory:
      description: Directory of its socket and its log.
      type: str
    name:
      description: Name of its socket, without C(.sock).
      type: str
    ended:
      description: V(true) if the broker had been killed before, and its remaining files were removed.
      type: bool
    problem:
      description: Why nothing else is known of the broker. You may have to kill a broker that does not answer.
      type: str
    transports:
      description: Its connections. Those to first hops are listed first.
      type: list
      elements: dict
      contains:
        hop:
          description: User, host and port of the hop.
          type: str
        via:
          description: The previous hop on the route.
          type: str
        state:
          description: V(dialling) or V(open).
          type: str
        leases:
          description: Number of tasks that use it now, directly or to reach another host.
          type: int
        served:
          description: Number of times it was used.
          type: int
        age:
          description: Seconds since its login.
          type: float
        idle:
          description: Seconds since it was last in use.
          type: float
        sent:
          description: Bytes sent to the hop.
          type: int
        received:
          description: Bytes received from the hop.
          type: int
    hops:
      description: Statistics of each hop since the broker started. First hops are listed first. If there are very many hops, only the most recently used ones.
      type: list
      elements: dict
      contains:
        hop:
          description: User, host and port of the hop.
          type: str
        via:
          description: The previous hop on the route.
          type: str
        dials:
          description: Number of connection attempts, successful or not.
          type: int
        failures:
          description: Number of failed connection attempts, by cause.
          type: dict
        reused:
          description: Number of times an existing connection was reused.
          type: int
        sent:
          description: Bytes sent to the hop.
          type: int
        received:
          description: Bytes received from the hop.
          type: int
        round_trip:
          description: Round-trip time of its last keepalive, in seconds; null before the first one.
          type: float
lines:
  description: The brokers and connections as readable text.
  returned: always
  type: list
  elements: str
"""
