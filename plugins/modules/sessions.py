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
  - Tells which brokers of P(bastion.ssh.jump#connection) this user has on the controller, and which connections each of them keeps.
  - Runs on the controller, whatever host it is used for.
  - There is a playbook of the same name. C(ansible-playbook bastion.ssh.sessions) shows them, and ends them with C(-e bastion_ssh_stop=true).
options:
  stop:
    description:
      - Whether to end the brokers, and all of their connections. Tasks that use one become unreachable.
    type: bool
    default: false
  directory:
    description:
      - Directory to look into. Without it, the one that O(bastion.ssh.jump#connection:persist_directory) of the connection
        plugin names for this host, else those that it takes by default.
    type: path
attributes:
  action:
    description: Runs on the controller.
    support: full
  check_mode:
    description: Ends no broker in check mode.
    support: full
  diff_mode:
    description: Has no difference to show.
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

- name: End them all
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
      description: Its process.
      type: int
    since:
      description: When it was started, in seconds since 1970.
      type: float
    workers:
      description: How many tasks it serves now.
      type: int
    directory:
      description: Where its socket and its log are.
      type: str
    name:
      description: Name of its socket, without C(.sock).
      type: str
    ended:
      description: V(true) if it was killed before, and what it had left was removed.
      type: bool
    problem:
      description: Why nothing else is known of it. One that gives no answer may have to be killed.
      type: str
    transports:
      description: Its connections, those to the first hops first.
      type: list
      elements: dict
      contains:
        hop:
          description: User, host and port.
          type: str
        via:
          description: The hop before it.
          type: str
        state:
          description: V(dialling) or V(open).
          type: str
        leases:
          description: How many tasks use it now, be it only to reach another host.
          type: int
        served:
          description: How many times it was used.
          type: int
        age:
          description: Seconds since its login.
          type: float
        idle:
          description: Seconds for which nothing has used it.
          type: float
        sent:
          description: Bytes that went to the hop.
          type: int
        received:
          description: Bytes that came from the hop.
          type: int
    hops:
      description: What has become of each hop since the broker began, the first hops first; of very many, those that were used last.
      type: list
      elements: dict
      contains:
        hop:
          description: User, host and port.
          type: str
        via:
          description: The hop before it.
          type: str
        dials:
          description: How many times it was connected to, or that was tried.
          type: int
        failures:
          description: How many of its dials failed, by cause.
          type: dict
        reused:
          description: How many times a connection that was there was used.
          type: int
        sent:
          description: Bytes that went to the hop.
          type: int
        received:
          description: Bytes that came from the hop.
          type: int
        round_trip:
          description: Seconds until its last keepalive was answered; null before the first one.
          type: float
lines:
  description: The same for people.
  returned: always
  type: list
  elements: str
"""
