# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection.
"""Refuse facts that would change how a host is reached: a compromised host must not redirect connections.

ansible-core turns facts into variables, which override those of the inventory, and drops only facts with names that it knows
(``ansible.vars.clean.clean_facts``). Every worker loads this module for every task, so it is short.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from .errors import SettingsError, sanitize

#: The variable in which ansible-core keeps all facts of a host, without the prefix ``ansible_``.
FACTS = "ansible_facts"
#: Variables that the playbooks of this collection take from the command line.
PLAYBOOK_VARIABLES = frozenset({"bastion_ssh_accept", "bastion_ssh_picture", "bastion_ssh_stop"})

_PREFIX = "ansible_"
# Endings of the names of variables with a secret value.
_SECRETS = ("pass", "password", "passphrase", "private_key", "prompts")
_TEMPLATE = re.compile(r"\{[{%]")
# An explicit use of facts, which is allowed, and any name. Invalid templates fail when they are used.
_EXPLICIT = re.compile(r"""\bansible_facts(\.\w+|\[\s*(["'])\w+\2\s*\])""")
_NAME = re.compile(r"[A-Za-z_]\w*")


def refuse_steering_facts(
    variables: Mapping[str, Any],
    names: Collection[str],
    dropped: Collection[str],
    injected: bool,
    is_trusted: Callable[[str], bool],
) -> None:
    """Refuse facts with the name of a variable that must not come from a host, or of a variable used in its template.

    :param variables: the variables of one host, including ``ansible_facts``, untemplated.
    :param names: the variables that must not come from a host.
    :param dropped: those of them that ansible-core drops itself, and that are everyday words without the prefix, such as ``port``.
    :param injected: whether facts become variables (``INJECT_FACTS_AS_VARS``).
    :param is_trusted: whether ansible-core renders templates in a text, as in texts of the inventory and of plays.
    :raises SettingsError: there is such a fact; it names the variable, the host, and the value unless that may be a secret.
    """
    facts = _facts(variables)
    if not facts:
        return
    for name in sorted(names):
        key = name.removeprefix(_PREFIX)
        if key in facts and _may_steer(name, key, variables, name in dropped, injected):
            raise _refused(name, f"host {_host(variables)} has a fact of this name{_value(name, facts[key])}")
        if injected and name in variables:
            for used in _used_by(variables[name], variables, set()):
                if used.removeprefix(_PREFIX) in facts and not _is_authors(variables[used], is_trusted):
                    value = _value(f"{name} {used}", facts[used.removeprefix(_PREFIX)])
                    raise _refused(
                        name, f"it is made of {used}, of which name host {_host(variables)} has a fact{value}"
                    )


def _refused(name: str, why: str) -> SettingsError:
    return SettingsError(
        name,
        f"{why}, and facts must not decide how a host is reached. Nothing was connected or started. The host may be compromised:"
        " find out what sent the fact, and remove it with 'meta: clear_facts'. set_fact may set the variable, but not with cacheable",
    )


def _used_by(value: Any, variables: Mapping[str, Any], seen: set[str]) -> Iterator[str]:
    """Yield the variables used in a value's templates, recursively: all words in these that are names of variables.

    :param seen: names already found; new ones are added.
    """
    if isinstance(value, str):
        for name in set(_NAME.findall(_EXPLICIT.sub("", value))) if _TEMPLATE.search(value) else ():
            if name in variables and name not in seen:
                seen.add(name)
                yield name
                yield from _used_by(variables[name], variables, seen)
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from _used_by(each, variables, seen)
    elif isinstance(value, (list, tuple)):
        for each in value:
            yield from _used_by(each, variables, seen)


def _is_authors(value: Any, is_trusted: Callable[[str], bool]) -> bool:
    """Return whether all of a value comes from the inventory or a play, judged by the trust in its texts.

    Comparing it with ``ansible_facts`` would prove nothing, as the host controls what that contains.
    """
    if isinstance(value, str):
        return is_trusted(value)
    if isinstance(value, Mapping):
        return bool(value) and all(_is_authors(each, is_trusted) for each in value.values())
    if isinstance(value, (list, tuple)):
        return bool(value) and all(_is_authors(each, is_trusted) for each in value)
    return not isinstance(value, (bool, int, float, type(None)))  # only vaulted text remains


def _facts(variables: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return all facts. In a loop, ansible-core before 2.19 nests the facts of earlier items in those of later ones."""
    facts = variables.get(FACTS)
    if not isinstance(facts, Mapping):
        return {}
    return {**_facts(facts), **facts} if FACTS in facts else facts


def _may_steer(name: str, key: str, variables: Mapping[str, Any], dropped: bool, injected: bool) -> bool:
    """Return whether a fact has this name. ``ansible_facts`` lacks the prefix, which injected variables keep."""
    if name == key:
        return True
    if not injected:
        return not dropped
    if key in variables:  # a fact named without the prefix; one with it exists only if the variable does
        return name in variables and not dropped
    return True


def _host(variables: Mapping[str, Any]) -> str:
    """Return the host's name. For a delegated host, ansible-core replaces the full name by the task host's, but not the short one."""
    name, short = (str(variables.get(key) or "") for key in ("inventory_hostname", "inventory_hostname_short"))
    return sanitize(name if name.startswith(short) else short, 100)


def _value(name: str, value: Any) -> str:
    """Return a fact's value for messages; empty if it may be a secret, as a list of jump hosts may contain passwords."""
    if name.endswith(_SECRETS) or any(f"{each} " in name for each in _SECRETS) or not isinstance(value, (str, int)):
        return ""
    return f" ({sanitize(ascii(value), 100)})"


__all__ = ["FACTS", "PLAYBOOK_VARIABLES", "refuse_steering_facts"]
