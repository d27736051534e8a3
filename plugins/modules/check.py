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
short_description: Reach a host, and show how long each hop took
version_added: 1.0.0
description:
  - Connects to a host, runs a shell command there that changes nothing, and shows each hop with its times.
  - A host that cannot be reached is unreachable, and the message names the hop at which the way ends.
  - Needs no Python on the host.
  - There is a playbook of the same name. C(ansible-playbook bastion.ssh.check -i inventory) goes to every host of an inventory, and shows
    one table of all hops, in which a jump host of several hosts is one row.
options: {}
attributes:
  action:
    description: Runs on the controller.
    support: full
  check_mode:
    description: Changes nothing.
    support: full
  diff_mode:
    description: Has no difference to show.
    support: none
extends_documentation_fragment: []
seealso:
  - plugin: bastion.ssh.jump
    plugin_type: connection
  - module: bastion.ssh.sessions
"""

EXAMPLES = r"""
- name: Reach the host
  bastion.ssh.check:
  register: reached

- name: Show the way
  ansible.builtin.debug:
    var: reached.lines
"""

RETURN = r"""
hops:
  description: The hops, the host itself last. It is empty for a host with another connection plugin.
  returned: when it was reached
  type: list
  elements: dict
  contains:
    hop:
      description: Which hop it is.
      type: str
    label:
      description: User, host and port.
      type: str
    login:
      description: Seconds from the beginning of its connection to the end of its login, whichever task made it.
      type: float
    age:
      description: Seconds for which it has been connected.
      type: float
notes:
  description: Variables whose names are like those of the connection plugin.
  returned: always
  type: list
  elements: str
connection:
  description: The connection plugin of the host, if it is another one.
  returned: when it is another one
  type: str
lines:
  description: The hops for people. Where the host was not reached, what was done until then.
  returned: always
  type: list
  elements: str
  sample:
    - "jump host 1 of 1 guest@edge.example.com:22: login 0.201 s, connected for 12 s"
    - "target deploy@web.internal:22 (via guest@edge.example.com:22): login 0.113 s, connected for 0 s"
    - "reached in 0.131 s"
seconds:
  description: How long all of it took.
  returned: when it was reached
  type: float
"""
