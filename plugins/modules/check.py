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
short_description: Reach a host, and tell how
version_added: 0.1.0
description:
  - Runs a shell command on a host that changes nothing, and tells each hop on the way to it, with times.
  - A host that cannot be reached is unreachable, and the message names the hop at which the way ends.
  - Needs no Python on the host.
  - There is a playbook of the same name. C(ansible-playbook bastion.ssh.check -i inventory) goes to every host of an inventory.
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
lines:
  description:
    - The hops on the way, for people. Of each, how long its login took, or for how long it has been connected.
    - Where the whole way was connected already, it is one line. Where the host was not reached, they are the hops that were.
  returned: always
  type: list
  elements: str
  sample:
    - "hop 1 of 2, guest@edge.example.com:22: reused, connected for 12 s"
    - "hop 2 of 2, deploy@web.internal:22 (via guest@edge.example.com:22): logged in after 0.113 s"
    - "reached after 0.131 s"
seconds:
  description: How long all of it took.
  returned: when it was reached
  type: float
"""
