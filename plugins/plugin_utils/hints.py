# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection.
"""Find mistakes in an inventory that are not errors: misspelt variables, and inventory hosts given as bare names.

Successful tasks do not load this module, except for those of bastion.ssh.chain and bastion.ssh.check.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from ansible import constants as C

from .errors import HopError, sanitize
from .facts import FACTS
from .loading import CONNECTION, define_options

_PREFIX = "ansible_"
# difflib's similarity, from 0 to 1. Names shared with other plugins resemble many correct names, so they need more of it.
_ALIKE = 0.8
_ALMOST_EQUAL = 0.93
# Variables of other SSH plugins (ansible.builtin.ssh of ansible-core 2.21) that are in no list of ansible-core.
_OF_OTHERS = frozenset(
    {
        "ansible_control_path", "ansible_control_path_dir", "ansible_scp_executable", "ansible_scp_if_ssh", "ansible_sftp_batch_mode",
        "ansible_sftp_executable", "ansible_ssh_args", "ansible_ssh_control_path", "ansible_ssh_control_path_dir",
        "ansible_ssh_password_mechanism", "ansible_ssh_pkcs11_provider", "ansible_ssh_verbosity", "ansible_sshpass_prompt",
    }
)  # fmt: skip
_FOREIGN = ("ansible_paramiko_", "ansible_become_")
_PLACE = re.compile(r"jump host \d+ of \d+ (?:\S*@)?\[?([^@\s]+?)\]?:\d+(?: \(via .*\))?")
# Messages of the controller, and of servers with getaddrinfo(3) of glibc, musl and BSD.
_UNRESOLVED = re.compile(
    r"the name cannot be resolved|cannot connect to \S+: .*(?:\bnames?\b|resol|servname)", re.IGNORECASE
)


def misspelt(names: Iterable[str], ours: Collection[str], others: Collection[str]) -> list[tuple[str, str]]:
    """Return unknown names, each with the variable that it resembles or begins with.

    :param names: names of a host's variables.
    :param ours: names of the connection plugin's variables.
    :param others: names known to other parts of Ansible.
    """
    own = sorted((name for name in ours if name not in others and not name.startswith(_FOREIGN)), key=len, reverse=True)
    shared = [name for name in ours if name in others]
    found = []
    for name in sorted(set(names) - set(ours) - set(others)):
        if not name.startswith(_PREFIX) or name.startswith(_FOREIGN):
            continue
        almost = difflib.get_close_matches(name, own + shared, 1, _ALMOST_EQUAL)
        begun = [known for known in own if name.startswith(known)]
        alike = difflib.get_close_matches(name, own, 1, _ALIKE)
        found += [(name, meant) for meant in (almost + begun + alike)[:1]]
    return found


def misspelt_variables(variables: Mapping[str, Any] | None) -> list[str]:
    """Return a line for each variable of a host whose name resembles one of the connection plugin's, except facts."""
    define_options()
    known = C.config.get_plugin_vars("connection", CONNECTION)
    mapped = getattr(C, "MAGIC_VARIABLE_MAPPING", {}).values()
    shared = {
        *C.COMMON_CONNECTION_VARS,
        *C.INTERNAL_STATIC_VARS,
        *(name for names in mapped for name in names),
        *_OF_OTHERS,
    }
    facts = {f"{_PREFIX}{name}" for name in (variables or {}).get(FACTS) or ()}
    found = misspelt((name for name in variables or () if name not in facts), known, shared)
    return [f"{sanitize(name, 100)} is not a variable of bastion.ssh.jump. Is {meant} meant?" for name, meant in found]


def with_hint(error: HopError, hosts: Collection[str]) -> HopError:
    """Return the error, with advice added if an unresolved jump host is a host of the inventory.

    :param hosts: names of the hosts in the inventory.
    """
    place = _PLACE.fullmatch(error.place)
    if place is None or place[1] not in hosts or not _UNRESOLVED.search(error.problem):
        return error
    host = place[1]
    hint = f"{host} is a host of the inventory: lookup('bastion.ssh.hops', '{host}') in ansible_ssh_jump takes its address and its other variables."
    return type(error)(error.place, error.problem, f"{error.advice} {hint}")
