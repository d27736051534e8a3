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
version_added: 1.0.0
description:
  - Makes a value for O(bastion.ssh.jump#connection:ssh_jump) of hosts that are in the inventory. Each becomes a hop with the address, port, user,
    keys, password and host key settings that its own variables say, templates and vaults included.
  - The first of them is reached as its own C(ansible_ssh_jump) or C(ansible_proxy_command) says, and so are the hosts that these
    name, with this lookup or without. The way to each further one is its place in the list.
  - Only variables of the hosts that are named are looked at.
  - What a jump host cannot have is an error, which is its own arguments for C(ssh) and its own C(ansible_ssh_config_file).
notes:
  - C(query) gives the same jump hosts as C(lookup).
  - A group variable that makes a bastion a jump host of its group applies to the bastion itself, too, if that is in the group. Let its own
    C(ansible_ssh_jump) be V(none).
options:
  _terms:
    description: Names of hosts in the inventory, in the order in which they are visited; or lists of them.
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
from functools import cache
from typing import Any, NamedTuple

from ansible import constants as C
from ansible.errors import AnsibleError
from ansible.plugins.lookup import LookupBase
from ansible.vars.hostvars import HostVars

from ansible_collections.bastion.ssh.plugins.plugin_utils.chain.arguments import read_arguments
from ansible_collections.bastion.ssh.plugins.plugin_utils.chain.spec import HopSpec, is_none, parse_jump
from ansible_collections.bastion.ssh.plugins.plugin_utils.errors import SettingsError
from ansible_collections.bastion.ssh.plugins.plugin_utils.loading import CONNECTION, define_options
from ansible_collections.bastion.ssh.plugins.plugin_utils.options import refuse_facts

# Keys of a hop, and the options of the connection plugin that say the same of a host.
_OPTIONS = {
    "host": "remote_addr",
    "port": "port",
    "user": "remote_user",
    "password": "password",
    "private_key_file": "private_key_file",
    "private_key": "private_key",
    "passphrase": "private_key_passphrase",
    "certificate_file": "certificate_file",
    "certificate": "certificate",
    "host_key_checking": "host_key_checking",
    "known_hosts": "known_hosts",
    "host_key_alias": "host_key_alias",
    "timeout": "connect_timeout",
    "prompts": "prompts",
}
_JUMP = "ansible_ssh_jump"
_JUMP_DEFAULTS = {
    "user": "ansible_ssh_jump_user",
    "password": "ansible_ssh_jump_password",
    "private_key_file": "ansible_ssh_jump_private_key_file",
}
_CONFIG_FILE = "ansible_ssh_config_file"
_ARGUMENTS = ("ansible_ssh_args", "ansible_ssh_common_args", "ansible_ssh_extra_args")
# Of a jump host, nothing is lost with these.
_HARMLESS = frozenset(
    {
        "batchmode", "compression", "connectionattempts", "connecttimeout", "controlmaster", "controlpath", "controlpersist",
        "loglevel", "serveralivecountmax", "serveraliveinterval",
    }
)  # fmt: skip


class _Look(NamedTuple):
    """A host whose variables are being looked at, and the variables of all."""

    name: str
    hosts: HostVars | None


# Each because of the one before it.
_under_way: list[_Look] = []


class LookupModule(LookupBase):
    """Inventory hosts as hops."""

    def run(self, terms: Sequence[Any], variables: Mapping[str, Any] | None = None, **kwargs: Any) -> list[Any]:
        """One value, the list of hops: what several values become depends on their number."""
        self.set_options(var_options=variables, direct=kwargs)
        terms = [name for term in terms for name in (term if isinstance(term, (list, tuple)) else [term])]
        if not terms or not all(isinstance(name, str) for name in terms):
            raise AnsibleError("bastion.ssh.hops: names of hosts in the inventory are wanted")
        hosts = _hosts(variables or {})
        looked_at = [_variables_of(name, hosts) for name in terms]
        first, *others = map(_hop, terms, looked_at, [variables or {}] * len(terms))
        with _once(terms[0], hosts):
            way = _way_to(first, looked_at[0])
        return [[*way, first, *others]]


def _hosts(variables: Mapping[str, Any]) -> HostVars | None:
    """The variables of all hosts. Those of another host have none of them, but may have a fact called hostvars; who looks at them
    for us has it."""
    hosts = variables.get("hostvars")
    if isinstance(hosts, HostVars):
        return hosts
    return _under_way[0].hosts if _under_way else None


def _variables_of(name: str, hosts: HostVars | None) -> Mapping[str, Any]:
    """The variables of one host, none of which comes from its facts."""
    if hosts is None or name not in hosts:
        raise AnsibleError(f"bastion.ssh.hops: there is no host {name!r} in the inventory")
    try:
        refuse_facts(hosts.raw_get(name))  # not templated, as facts may be many
    except SettingsError as error:
        raise AnsibleError(f"bastion.ssh.hops: {error}") from error
    variables: Mapping[str, Any] = hosts[name]
    return variables


def _hop(name: str, variables: Mapping[str, Any], ours: Mapping[str, Any]) -> dict[str, Any]:
    """A host with what its variables say.

    :param ours: variables of the host that is reached over it.
    """
    _refuse_what_a_hop_cannot_have(name, variables, ours)
    found = {key: _said(variables, _variables(option)) for key, option in _OPTIONS.items()}
    return {"host": name} | {key: value for key, value in found.items() if value is not None}


def _refuse_what_a_hop_cannot_have(name: str, variables: Mapping[str, Any], ours: Mapping[str, Any]) -> None:
    """Arguments for ssh are the target's, and the file is one for all: what they say of this host would be lost."""
    for variable in _ARGUMENTS:
        try:
            arguments = read_arguments([(variable, str(variables.get(variable) or ""))])
        except SettingsError as error:
            raise AnsibleError(f"bastion.ssh.hops: {name}: {error}") from error
        if arguments.config_file or _matters(arguments.asked):
            raise AnsibleError(
                f"bastion.ssh.hops: {name}: {variable} is not followed for a jump host; set the same with other variables of {name}"
            )
    file = variables.get(_CONFIG_FILE)
    if file is not None and file != ours.get(_CONFIG_FILE):
        raise AnsibleError(
            f"bastion.ssh.hops: {name}: {_CONFIG_FILE} is not the one of the host behind it, and there is one for all hops"
        )


def _matters(arguments: Sequence[str]) -> bool:
    """Whether arguments say anything of the host, or of the way to it."""
    words = iter(arguments)
    for option in words:
        if option == "-o":
            keyword = next(words).replace("=", " ").split()[0].lower()
            if keyword not in _HARMLESS:
                return True
        elif option != "-C":
            return True
    return False


def _way_to(hop: dict[str, Any], variables: Mapping[str, Any]) -> list[Any]:
    """The hops before the first one; a ProxyCommand is put into the hop itself."""
    jump, command = _said(variables, (_JUMP,)), _said(variables, _variables("proxy_command"))
    if is_none(jump) or is_none(command):
        hop["proxy_command"] = command if command and not is_none(command) else "none"  # whatever ssh_config says
        return _hops(jump, variables) if is_none(command) and not is_none(jump) else []
    if command and jump:
        raise AnsibleError(f"bastion.ssh.hops: {hop['host']}: {_JUMP} and ansible_proxy_command are both set")
    if command:
        hop["proxy_command"] = command
    return _hops(jump, variables)


def _hops(jump: Any, variables: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The hops of another host's way, with what that host's variables say for all of its jump hosts."""
    try:
        specs = parse_jump(jump)
    except SettingsError as error:
        raise AnsibleError(f"bastion.ssh.hops: {error}") from error
    return [_written(spec, variables) for spec in specs]


def _written(spec: HopSpec, variables: Mapping[str, Any]) -> dict[str, Any]:
    hop = {key: getattr(spec, key) for key in (*_OPTIONS, "proxy_command")}
    hop["prompts"] = dict(spec.prompts) or None
    hop["host_key_checking"] = spec.host_key_checking and spec.host_key_checking.value
    if spec.known_hosts is not None:
        hop["known_hosts"] = [*spec.known_hosts, *spec.known_hosts_lines]
    for key, variable in _JUMP_DEFAULTS.items():
        keyed = key == "private_key_file" and spec.private_key is not None
        if hop[key] is None and not keyed:
            hop[key] = _said(variables, (variable,))
    return {key: value for key, value in hop.items() if value is not None}


@cache
def _variables(option: str) -> tuple[str, ...]:
    """The names of an option's variables; of several that are set, the last one counts."""
    define_options()
    definition = C.config.get_configuration_definition(option, "connection", CONNECTION)
    return tuple(variable["name"] for variable in definition["vars"])


def _settled(value: Any) -> Any:
    """A value; what stands for one that could not be templated says so when it is looked into (ansible-core 2.19 and newer)."""
    if value is not None and not isinstance(value, (str, int, float, Mapping, list, tuple)):
        iter(value)
    return value


def _said(variables: Mapping[str, Any], names: Sequence[str]) -> Any:
    """The last of these variables that is set."""
    values = [_settled(variables.get(name)) for name in names]
    return next((value for value in reversed(values) if value is not None), None)


@contextmanager
def _once(name: str, hosts: HostVars | None) -> Iterator[None]:
    """A host's way may lead over other hosts, and never back to itself."""
    names = [look.name for look in _under_way]
    if name in names:
        circle = " -> ".join([*names[names.index(name) :], name])
        raise AnsibleError(f"bastion.ssh.hops: jump host loop: {circle}; let ansible_ssh_jump of one of them be 'none'")
    _under_way.append(_Look(name, hosts))
    try:
        yield
    finally:
        _under_way.pop()
