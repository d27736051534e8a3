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
  - Shows each hop of the route to a host, and where each value comes from, which is a variable, C(ssh_config) or a default.
  - Nothing is connected, but the C(ssh) program is asked for its configuration. Secrets are not shown, nor the arguments of commands.
  - There is a playbook of the same name. C(ansible-playbook bastion.ssh.chain -i inventory) shows each route with the hosts behind it,
    and the values with C(-v), or for one host with C(-l). With C(-e bastion_ssh_picture=routes.svg), or another file whose name ends in
    C(.dot) or C(.mmd), it draws the routes, too.
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
  - module: bastion.ssh.check
"""

EXAMPLES = r"""
- name: Learn the way to the host
  bastion.ssh.chain:
  register: way

- name: Show it
  ansible.builtin.debug:
    var: way.lines
"""

RETURN = r"""
chain:
  description: The hops, the host itself last. It is empty for a host with another connection plugin, which is skipped.
  returned: always
  type: list
  elements: str
  sample: [guest@edge.example.com:22, deploy@web.internal:22]
legs:
  description: The connections one by one, for drawing them.
  returned: always
  type: list
  elements: dict
  sample:
    - from: controller
      to: controller -> guest@edge.example.com:22
      name: guest@edge.example.com:22
      proxied: false
hops:
  description: The same, with their values and who says them.
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
  description: The working directory of Ansible, where relative paths begin.
  returned: always
  type: str
notes:
  description: Settings that have no effect, and variables whose names are like those of the connection plugin.
  returned: always
  type: list
  elements: str
connection:
  description: The connection plugin of a host that is skipped, as it has another one.
  returned: when it is skipped
  type: str
lines:
  description: The hops and notes for people, without defaults.
  returned: always
  type: list
  elements: str
"""
