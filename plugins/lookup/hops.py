# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Convert hosts of the inventory to jump hosts."""

from __future__ import annotations

DOCUMENTATION = r"""
name: hops
author:
  - bastion.ssh contributors (!UNKNOWN)
short_description: Use hosts of the inventory as jump hosts
version_added: 1.0.0
description:
  - Returns a value for O(bastion.ssh.jump#connection:ssh_jump) that consists of hosts of the inventory. Each of them becomes a jump host with the
    address, port, user, keys, password and host key settings of its own variables, including templates and vaulted values.
  - The first host is reached as its own C(ansible_ssh_jump) or C(ansible_proxy_command) defines, and so are the hosts that these variables
    name, with or without this lookup. Each further host is reached through the previous host in the list.
  - Only the variables of the named hosts are read.
  - Settings that a jump host cannot have are an error. These are arguments for C(ssh) that would affect the connection, and a
    C(ansible_ssh_config_file) that differs from that of the target.
notes:
  - C(query) returns the same jump hosts as C(lookup).
  - If a bastion is in a group whose variables name it as a jump host, they apply to the bastion, too. Set C(ansible_ssh_jump) to V(none) for
    the bastion.
options:
  _terms:
    description: Names of hosts in the inventory, or lists of names, in the order in which the hosts are visited.
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
  description: The jump hosts, as one list.
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

# Key of a hop -> the equivalent option of the connection plugin.
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
# Keywords that may be ignored for a jump host.
_HARMLESS = frozenset(
    {
        "batchmode", "compression", "connectionattempts", "connecttimeout", "controlmaster", "controlpath", "controlpersist",
        "loglevel", "serveralivecountmax", "serveraliveinterval",
    }
)  # fmt: skip


class _Look(NamedTuple):
    """Hold a host whose route is being resolved, and the variables of all hosts."""

    name: str
    hosts: HostVars | None


# The lookups in progress; the variables of each caused the next one.
_under_way: list[_Look] = []


class LookupModule(LookupBase):
    """Convert hosts of the inventory to jump hosts."""

    def run(self, terms: Sequence[Any], variables: Mapping[str, Any] | None = None, **kwargs: Any) -> list[Any]:
        """Return the list of hops as a single value: ansible-core treats several values differently depending on their number."""
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
    """Return the variables of all hosts, or those of the outermost lookup in progress.

    The variables of another host do not include them, but may include a fact called hostvars, which is ignored.
    """
    hosts = variables.get("hostvars")
    if isinstance(hosts, HostVars):
        return hosts
    return _under_way[0].hosts if _under_way else None


def _variables_of(name: str, hosts: HostVars | None) -> Mapping[str, Any]:
    """Return the variables of a host, with those refused that its facts would set.

    :raises AnsibleError: there is no such host, or a fact has the name of a variable of the connection plugin.
    """
    if hosts is None or name not in hosts:
        raise AnsibleError(f"bastion.ssh.hops: there is no host {name!r} in the inventory")
    try:
        refuse_facts(hosts.raw_get(name))  # not templated, as facts may be many
    except SettingsError as error:
        raise AnsibleError(f"bastion.ssh.hops: {error}") from error
    variables: Mapping[str, Any] = hosts[name]
    return variables


def _hop(name: str, variables: Mapping[str, Any], ours: Mapping[str, Any]) -> dict[str, Any]:
    """Return a host as a hop with the values of its variables.

    :param ours: variables of the host that is reached through it.
    """
    _refuse_what_a_hop_cannot_have(name, variables, ours)
    found = {key: _said(variables, _variables(option)) for key, option in _OPTIONS.items()}
    return {"host": name} | {key: value for key, value in found.items() if value is not None}


def _refuse_what_a_hop_cannot_have(name: str, variables: Mapping[str, Any], ours: Mapping[str, Any]) -> None:
    """Refuse arguments for ssh, which apply to the target only, and another ssh_config, as there is one for all hops."""
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
    """Return whether arguments for ssh include any that must not be ignored for a jump host."""
    words = iter(arguments)
    for option in words:
        if option == "-o":
            keyword = next(words).replace("=", " ").split()[:1]
            if not keyword or keyword[0].lower() not in _HARMLESS:
                return True
        elif option != "-C":
            return True
    return False


def _way_to(hop: dict[str, Any], variables: Mapping[str, Any]) -> list[Any]:
    """Return the jump hosts before the first hop; its ProxyCommand is set in the hop itself."""
    jump, command = _said(variables, (_JUMP,)), _said(variables, _variables("proxy_command"))
    if is_none(jump) or is_none(command):
        hop["proxy_command"] = command if command and not is_none(command) else "none"  # overrides ssh_config
        return _hops(jump, variables) if is_none(command) and not is_none(jump) else []
    if command and jump:
        raise AnsibleError(f"bastion.ssh.hops: {hop['host']}: {_JUMP} and ansible_proxy_command are both set")
    if command:
        hop["proxy_command"] = command
    return _hops(jump, variables)


def _hops(jump: Any, variables: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the jump hosts of another host, with the defaults that its variables set for its jump hosts."""
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
    """Return the names of an option's variables, of which the last one that is set counts."""
    define_options()
    definition = C.config.get_configuration_definition(option, "connection", CONNECTION)
    return tuple(variable["name"] for variable in definition["vars"])


def _settled(value: Any) -> Any:
    """Return the value, or raise the error of its template: ansible-core 2.19 and newer hide it in a marker until it is used."""
    if value is not None and not isinstance(value, (str, int, float, Mapping, list, tuple)):
        iter(value)
    return value


def _said(variables: Mapping[str, Any], names: Sequence[str]) -> Any:
    """Return the value of the last of these variables that is set; None if none is."""
    values = [_settled(variables.get(name)) for name in names]
    return next((value for value in reversed(values) if value is not None), None)


@contextmanager
def _once(name: str, hosts: HostVars | None) -> Iterator[None]:
    """Mark a host's route as being resolved, and raise an error if it already is: that is a loop."""
    names = [look.name for look in _under_way]
    if name in names:
        circle = " -> ".join([*names[names.index(name) :], name])
        raise AnsibleError(f"bastion.ssh.hops: jump host loop: {circle}; let ansible_ssh_jump of one of them be 'none'")
    _under_way.append(_Look(name, hosts))
    try:
        yield
    finally:
        _under_way.pop()
