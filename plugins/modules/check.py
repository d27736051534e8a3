#!/usr/bin/python
# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of an action plugin."""

# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: check
author:
  - bastion.ssh contributors (!UNKNOWN)
short_description: Connect to a host, and show the time of each hop
version_added: 1.0.0
description:
  - Connects to a host, runs a shell command there that changes nothing, and shows each hop with its times.
  - If the connection fails, the host is unreachable, and the message names the hop that failed.
  - Requires no Python on the host.
  - The playbook of the same name, C(ansible-playbook bastion.ssh.check -i inventory), connects to every host of an inventory, and shows
    one table of all hops. A jump host that several hosts share is one row.
options: {}
attributes:
  action:
    description: Runs on the controller.
    support: full
  check_mode:
    description: Changes nothing.
    support: full
  diff_mode:
    description: Shows no differences.
    support: none
extends_documentation_fragment: []
seealso:
  - plugin: bastion.ssh.jump
    plugin_type: connection
  - module: bastion.ssh.sessions
"""

EXAMPLES = r"""
- name: Connect to the host
  bastion.ssh.check:
  register: checked

- name: Show the hops and their times
  ansible.builtin.debug:
    var: checked.lines
"""

RETURN = r"""
hops:
  description: The hops, the host itself last. Empty for a host that uses another connection plugin.
  returned: when the host was reached
  type: list
  elements: dict
  contains:
    hop:
      description: The hop as messages name it, with its position on the route, user, host and port. The target counts as the last hop.
      type: str
    label:
      description: User, host and port of the hop.
      type: str
    login:
      description: Seconds from the start of its connection to the end of its login, even if another task made the connection.
      type: float
    age:
      description: Seconds since the hop was connected.
      type: float
notes:
  description: Variables whose names resemble those of the connection plugin.
  returned: always
  type: list
  elements: str
connection:
  description: The connection plugin of the host, if it is not P(bastion.ssh.jump#connection).
  returned: when the host uses another connection plugin
  type: str
lines:
  description: The hops as readable text. If the host was not reached, the steps up to the failure.
  returned: always
  type: list
  elements: str
  sample:
    - "jump host 1 of 1 guest@edge.example.com:22: login 0.201 s, connected for 12 s"
    - "target deploy@web.internal:22 (via guest@edge.example.com:22): login 0.113 s, connected for 0 s"
    - "reached in 0.131 s"
seconds:
  description: Duration of the whole check, in seconds.
  returned: when the host was reached
  type: float
"""
