#!/usr/bin/python
# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of an action plugin."""

# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: chain
author:
  - bastion.ssh contributors (!UNKNOWN)
short_description: Show the route to a host, without connecting
version_added: 1.0.0
description:
  - Shows each hop of the route to a host, and the source of each value, which is a variable, C(ssh_config) or a default.
  - Connects to nothing, but runs the C(ssh) program to read its configuration. Shows no secrets and no arguments of commands.
  - The playbook of the same name, C(ansible-playbook bastion.ssh.chain -i inventory), shows each route with the hosts behind it. With C(-v), or with
    C(-l) for one host, it also shows the values. With C(-e bastion_ssh_picture=routes.svg), or another file name that ends in C(.dot) or C(.mmd), it
    also draws the routes.
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
  - module: bastion.ssh.check
"""

EXAMPLES = r"""
- name: Determine the route to the host
  bastion.ssh.chain:
  register: route

- name: Show the route
  ansible.builtin.debug:
    var: route.lines
"""

RETURN = r"""
chain:
  description: The hops, the host itself last. Empty for a host that uses another connection plugin and is therefore skipped.
  returned: always
  type: list
  elements: str
  sample: [guest@edge.example.com:22, deploy@web.internal:22]
legs:
  description: The connections of the route, one by one, for drawing them.
  returned: always
  type: list
  elements: dict
  sample:
    - from: controller
      to: controller -> guest@edge.example.com:22
      name: guest@edge.example.com:22
      proxied: false
hops:
  description: The hops with their values, and the source of each value.
  returned: always
  type: list
  elements: dict
  sample:
    - hop: guest@edge.example.com:22
      values:
        - name: user
          value: guest
          source: ansible_ssh_jump[0]
directory:
  description: The working directory of Ansible. Relative paths start there.
  returned: always
  type: str
notes:
  description: Settings that have no effect, and variables whose names resemble those of the connection plugin.
  returned: always
  type: list
  elements: str
connection:
  description: The connection plugin of the host, if the host is skipped because it uses another plugin.
  returned: when the host is skipped
  type: str
lines:
  description: The hops and notes as readable text, without values that are defaults.
  returned: always
  type: list
  elements: str
"""
