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
short_description: Show the host keys on the way to a host, and add them to known_hosts
version_added: 1.0.0
description:
  - Tells the fingerprint of each hop's host key, and whether it is known. The keys are read through the chain, by logging in to the
    bastions, and not to the host itself.
  - No hop is passed whose key is not trusted. Without O(accept), the keys behind the first one that is new are therefore not seen.
  - Compare the fingerprints with those that the hosts show on their consoles, before or after they are added.
  - There is a playbook of the same name. C(ansible-playbook bastion.ssh.trust -i inventory) shows the fingerprints by route, and asks on a
    terminal about each key that is new, hop by hop, until all hosts are trusted; C(-e bastion_ssh_accept=true) adds all without asking.
options:
  accept:
    description: Whether keys of hosts of which no key is known are added to the first file of known_hosts. A changed key never is.
    type: bool
    default: false
  fingerprints:
    description: The only keys that O(accept) adds, as C(SHA256:...).
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
    description: Has no difference to show.
    support: none
extends_documentation_fragment: []
seealso:
  - plugin: bastion.ssh.jump
    plugin_type: connection
  - module: bastion.ssh.chain
"""

EXAMPLES = r"""
- name: Look at the host keys
  bastion.ssh.trust:
  register: keys

- name: Show them
  ansible.builtin.debug:
    var: keys.lines

- name: Add the one whose fingerprint was compared
  bastion.ssh.trust:
    accept: true
    fingerprints: ["SHA256:4oxIgrRyh2+V1ATpxOl7hrIO4EYxGWmiOCDCZm7ZZcg"]
"""

RETURN = r"""
hops:
  description: The hops that were seen, in the order of the visit.
  returned: always
  type: list
  elements: dict
  contains:
    hop:
      description: Which hop it is.
      type: str
    label:
      description: User, host and port.
      type: str
    target:
      description: Whether it is the host itself.
      type: bool
    status:
      description: V(known), V(new), V(added), V(refused) or V(unreachable).
      type: str
    key_type:
      description: Type of its key.
      type: str
    fingerprint:
      description: Fingerprint of its key.
      type: str
    certified:
      description: Whether it has shown a certificate.
      type: bool
    line:
      description: The line for known_hosts, of a key that is new or was added.
      type: str
    msg:
      description: Why it is refused or was not reached.
      type: str
new:
  description: Fingerprints of keys that are not known.
  returned: always
  type: list
  elements: str
trusted:
  description: Whether all hops are trusted, the host included.
  returned: always
  type: bool
connection:
  description: The connection plugin of a host that is skipped, as it has another one.
  returned: when it is skipped
  type: str
lines:
  description: The hops, for people.
  returned: always
  type: list
  elements: str
"""
