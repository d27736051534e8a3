#!/usr/bin/python
# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of an action plugin."""

# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: trust
author:
  - bastion.ssh contributors (!UNKNOWN)
short_description: Show the host keys on the route to a host, and add them to known_hosts
version_added: 1.0.0
description:
  - Shows the fingerprint of each hop's host key, and whether the key is known. To read the keys, the module logs in to the bastions, but not to
    the host itself.
  - The module never connects through a hop whose key is not trusted. Without O(accept), it therefore shows no keys behind the first new key.
  - Compare the fingerprints with those on the consoles of the hosts, before or after the keys are added.
  - The playbook of the same name, C(ansible-playbook bastion.ssh.trust -i inventory), shows the fingerprints by route. On a terminal, it asks
    about each new key, hop by hop, until all hosts are trusted. With C(-e bastion_ssh_accept=true), it adds all new keys without asking.
options:
  accept:
    description: Whether to add the keys of unknown hosts to the first known_hosts file. A changed key is never added.
    type: bool
    default: false
  fingerprints:
    description: Restricts O(accept) to the keys with these fingerprints, each as C(SHA256:...).
    type: list
    elements: str
attributes:
  action:
    description: Runs on the controller.
    support: full
  check_mode:
    description: Adds nothing.
    support: full
  diff_mode:
    description: Shows no differences.
    support: none
extends_documentation_fragment: []
seealso:
  - plugin: bastion.ssh.jump
    plugin_type: connection
  - module: bastion.ssh.chain
"""

EXAMPLES = r"""
- name: Read the host keys
  bastion.ssh.trust:
  register: keys

- name: Show the host keys
  ansible.builtin.debug:
    var: keys.lines

- name: Add the key whose fingerprint was compared
  bastion.ssh.trust:
    accept: true
    fingerprints: ["SHA256:4oxIgrRyh2+V1ATpxOl7hrIO4EYxGWmiOCDCZm7ZZcg"]
"""

RETURN = r"""
hops:
  description: The hops whose keys were read or tried, in the order of the route.
  returned: always
  type: list
  elements: dict
  contains:
    hop:
      description: The hop as messages name it, with its position on the route, user, host and port. The target counts as the last hop.
      type: str
    label:
      description: User, host and port of the hop.
      type: str
    target:
      description: Whether this hop is the target.
      type: bool
    status:
      description: Status of the key or the hop. One of V(known), V(new), V(added), V(refused) or V(unreachable).
      type: str
    key_type:
      description: Type of the host key.
      type: str
    fingerprint:
      description: Fingerprint of the host key.
      type: str
    certified:
      description: Whether the hop presented a host certificate.
      type: bool
    line:
      description: The line for known_hosts, if the key is new or was added.
      type: str
    msg:
      description: Why the key is refused, or why the hop is unreachable.
      type: str
new:
  description: Fingerprints of the keys that are not known.
  returned: always
  type: list
  elements: str
trusted:
  description: Whether all hops are trusted, including the host itself.
  returned: always
  type: bool
connection:
  description: The connection plugin of the host, if the host is skipped because it uses another plugin.
  returned: when the host is skipped
  type: str
lines:
  description: The hops as readable text.
  returned: always
  type: list
  elements: str
"""
