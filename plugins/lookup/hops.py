# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Inventory hosts as hops."""

from __future__ import annotations

DOCUMENTATION = r"""
name: hops
author:
  - bastion.ssh contributors (!UNKNOWN)
short_description: Hosts of the inventory as jump hosts
version_added: 0.1.0
description:
  - Makes a value for O(bastion.ssh.jump#connection:ssh_jump) of hosts that are in the inventory. Each becomes a hop with the address, port, user,
    keys, password and host key settings that its own variables say, templates and vaults included.
  - The first of them is reached as its own C(ansible_ssh_jump) or C(ansible_proxy_command) says, and so are the hosts that these
    name, with this lookup or without. The way to each further one is its place in the list.
  - Only variables of the hosts that are named are looked at.
notes:
  - To be used with P(ansible.builtin.lookup), as in the examples, not with C(query).
  - A group variable that makes a bastion a jump host of its group applies to the bastion itself, too, if that is in the group. Let its own
    C(ansible_ssh_jump) be V(none).
options:
  _terms:
    description: Names of hosts in the inventory, in the order in which they are visited.
    required: true
    type: list
    elements: str
seealso:
  - plugin: bastion.ssh.jump
    plugin_type: connection
"""

EXAMPLES = r"""
# group_vars/paris.yml
ansible_connection: bastion.ssh.jump
ansible_ssh_jump: "{{ lookup('bastion.ssh.hops', 'edge', 'core') }}"
"""

RETURN = r"""
_raw:
  description: The hops, as one list.
  type: list
  elements: raw
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from ansible.errors import AnsibleError
from ansible.plugins.lookup import LookupBase

# Keys of a hop, and the variables that say them; of several, the last one that is set counts, as it does for options.
_VARIABLES = {
    "host": ("ansible_host", "ansible_ssh_host", "ansible_paramiko_host"),
    "port": ("ansible_port", "ansible_ssh_port", "ansible_paramiko_port"),
    "user": ("ansible_user", "ansible_ssh_user", "ansible_paramiko_user"),
    "password": (
        "ansible_password", "ansible_ssh_pass", "ansible_ssh_password", "ansible_paramiko_pass", "ansible_paramiko_password",
    ),
    "private_key_file": (
        "ansible_private_key_file", "ansible_ssh_private_key_file", "ansible_paramiko_private_key_file",
    ),
    "private_key": ("ansible_private_key", "ansible_ssh_private_key"),
    "passphrase": ("ansible_private_key_passphrase", "ansible_ssh_private_key_passphrase"),
    "certificate_file": ("ansible_ssh_certificate_file",),
    "host_key_checking": (
        "ansible_host_key_checking", "ansible_ssh_host_key_checking", "ansible_paramiko_host_key_checking",
    ),
    "known_hosts": ("ansible_ssh_known_hosts",),
    "host_key_alias": ("ansible_ssh_host_key_alias",),
    "timeout": ("ansible_ssh_timeout", "ansible_paramiko_timeout"),
    "prompts": ("ansible_ssh_prompts",),
}  # fmt: skip
_PROXY_COMMAND = ("ansible_proxy_command", "ansible_paramiko_proxy_command")
_JUMP = "ansible_ssh_jump"


class _Look(NamedTuple):
    """A host whose variables are being looked at, and the variables of all."""

    name: str
    hosts: Mapping[str, Any]


# Each because of the one before it.
_under_way: list[_Look] = []


class LookupModule(LookupBase):
    """Inventory hosts as hops."""

    def run(self, terms: Sequence[Any], variables: Mapping[str, Any] | None = None, **kwargs: Any) -> list[Any]:
        """One value, the list of hops: what several values become depends on their number."""
        self.set_options(var_options=variables, direct=kwargs)
        if not terms or not all(isinstance(name, str) for name in terms):
            raise AnsibleError("bastion.ssh.hops: names of hosts in the inventory are wanted")
        # In the variables of another host there is no hostvars; who looks at them for us has it.
        hosts = (variables or {}).get("hostvars") or (_under_way[0].hosts if _under_way else {})
        first, *others = (_hop(name, hosts) for name in terms)
        with _once(terms[0], hosts):
            way = _way_to(first, hosts[terms[0]])
        return [[*way, first, *others]]


def _hop(name: str, hosts: Mapping[str, Any]) -> dict[str, Any]:
    """A host with what its variables say."""
    if name not in hosts:
        raise AnsibleError(f"bastion.ssh.hops: there is no host {name!r} in the inventory")
    found = {key: _said(hosts[name], names) for key, names in _VARIABLES.items()}
    return {"host": name} | {key: value for key, value in found.items() if value is not None}


def _way_to(hop: dict[str, Any], variables: Mapping[str, Any]) -> list[Any]:
    """The hops before the first one; a ProxyCommand is put into the hop itself."""
    jump, command = variables.get(_JUMP), _said(variables, _PROXY_COMMAND)
    if isinstance(jump, str) and jump.strip().lower() == "none":
        hop["proxy_command"] = command or "none"  # whatever ssh_config says
        return []
    if command:
        if jump and str(command).strip().lower() != "none":
            raise AnsibleError(f"bastion.ssh.hops: {hop['host']}: {_JUMP} and {_PROXY_COMMAND[0]} are both set")
        if not jump:
            hop["proxy_command"] = command
    if not jump:
        return []
    return list(jump) if isinstance(jump, (list, tuple)) else [jump]


def _said(variables: Mapping[str, Any], names: Sequence[str]) -> Any:
    """The last of these variables that is set."""
    values = [variables.get(name) for name in names]
    return next((value for value in reversed(values) if value is not None), None)


@contextmanager
def _once(name: str, hosts: Mapping[str, Any]) -> Iterator[None]:
    """A host's way may lead over other hosts, and never back to itself."""
    names = [look.name for look in _under_way]
    if name in names:
        circle = " -> ".join([*names[names.index(name) :], name])
        raise AnsibleError(
            f"bastion.ssh.hops: the way goes round in a circle: {circle}; let ansible_ssh_jump of one of them be 'none'"
        )
    _under_way.append(_Look(name, hosts))
    try:
        yield
    finally:
        _under_way.pop()
