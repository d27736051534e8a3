# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection.
"""Resolve the jump hosts before a target, from variables or else from ssh_config.

As in ssh(1), ProxyJump or ProxyCommand of the first hop is followed; that of a later hop is not, as the hop before it leads there.
No jump host is ever left out: a route that cannot be used is an error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ..errors import SettingsError
from .openssh import SOURCE, HostConfig
from .spec import HopSpec, is_none, parse_jump
from .tokens import Controller, TokenValues, expand_path, expand_route

MOST_HOPS = 16  # with the target

_BOTH = (
    "ansible_ssh_jump and ansible_proxy_command are both set for this host, and a host has only one route; "
    "unset one of them, set it to 'none', or give the first hop of ansible_ssh_jump a proxy_command"
)


@dataclass(frozen=True)
class ResolvedHop:
    """Hold a hop with its settings.

    :param spec: the hop as the user wrote it.
    :param openssh: OpenSSH's settings for it.
    :param place: the values of its tokens.
    """

    spec: HopSpec
    openssh: HostConfig
    place: TokenValues

    def setting(self, keyword: str) -> str:
        """Return the name of an ssh_config keyword of this host, for messages."""
        return f"{SOURCE} for {self.place.name}: {keyword}"

    def paths(self, templates: Iterable[str], keyword: str, controller: Controller) -> tuple[str, ...]:
        """Return paths of ssh_config, expanded for this host.

        :raises SettingsError: an unknown token, or an environment variable that is not set.
        """
        setting = self.setting(keyword)
        return tuple(expand_path(template, self.place, controller, setting) for template in templates)


@dataclass(frozen=True)
class Route:
    """Describe how a target is reached.

    :param jumps: jump hosts, in order.
    :param proxy_command: the command that connects to the first hop; None for a TCP connection.
    :param proxy_setting: where the command was set, for messages.
    """

    jumps: tuple[ResolvedHop, ...] = ()
    proxy_command: str | None = None
    proxy_setting: str = ""


#: Returns the settings of a hop as written; the flag says whether the route to it is already known.
Look = Callable[[HopSpec, bool], ResolvedHop]


def resolve_route(jump: object, proxy_command: str | None, target: ResolvedHop, look: Look) -> Route:
    """Return the route to a target.

    :param jump: the value of ``ansible_ssh_jump``.
    :param proxy_command: the value of ``ansible_proxy_command``.
    :param look: returns the settings of a hop.
    :raises SettingsError: malformed hops, both jump hosts and a ProxyCommand, a loop, or too many hops.
    """
    specs = parse_jump(jump)
    command = None if is_none(proxy_command) else proxy_command or None
    if specs and command:
        raise SettingsError("ansible_proxy_command", _BOTH)
    if not says_none(jump, proxy_command):
        _refuse_both_kinds(specs, command, target)
        if not specs and not command:
            return _extended(*_configured(target), target, look)
    return _extended(specs, command, "ansible_proxy_command", target, look)


def says_none(jump: object, proxy_command: str | None) -> bool:
    """Return whether a variable is ``none``, which overrides jump hosts and ProxyCommand of ssh_config."""
    return is_none(jump) or is_none(proxy_command)


def _refuse_both_kinds(specs: tuple[HopSpec, ...], command: str | None, target: ResolvedHop) -> None:
    place = f"{SOURCE} (or the arguments of ssh)"
    if specs and target.openssh.proxy_command:
        raise SettingsError(
            "ansible_ssh_jump",
            f"{place} has a ProxyCommand for {target.place.name} as well, and a host has only one route; unset one "
            "of them, or let ansible_proxy_command be 'none' to use ansible_ssh_jump",
        )
    if command and target.openssh.proxy_jump:
        raise SettingsError(
            "ansible_proxy_command",
            f"{place} has a ProxyJump for {target.place.name} as well, and a host has only one route; unset one "
            "of them, or let ansible_ssh_jump be 'none' to use ansible_proxy_command",
        )


def _configured(visit: ResolvedHop) -> tuple[tuple[HopSpec, ...], str | None, str]:
    """Return the jump hosts to a host by ssh_config, the ProxyCommand, and the name of its setting."""
    openssh = visit.openssh
    if openssh.proxy_jump is not None:
        setting = visit.setting("ProxyJump")
        return parse_jump(expand_route(openssh.proxy_jump, visit.place, setting), setting), None, ""
    return (), openssh.proxy_command, visit.setting("ProxyCommand")


def _extended(specs: tuple[HopSpec, ...], command: str | None, setting: str, target: ResolvedHop, look: Look) -> Route:
    """Return the route, extended by the jump hosts of the first hop, until a first hop has none."""
    passed = [target]
    jumps: list[ResolvedHop] = []
    while specs:
        # A later hop is reached through the hop before it (ssh(1), -J).
        found = [look(spec, place > 0 or spec.proxy_command is not None) for place, spec in enumerate(specs)]
        jumps = found + jumps
        first = found[0]
        if any(first.place == earlier.place for earlier in passed):
            names = " -> ".join(visit.place.name for visit in [*passed, first])
            raise SettingsError(
                first.spec.setting,
                f"jump host loop: {names}; let one of them have no jump host, by ansible_ssh_jump: none, or "
                "by 'ProxyJump none' before what sets it in ssh_config",
            )
        passed.append(first)
        if len(jumps) + 1 > MOST_HOPS:
            raise SettingsError(first.spec.setting, f"the route has more than {MOST_HOPS} hops")
        if first.spec.proxy_command is not None:
            own = None if is_none(first.spec.proxy_command) else first.spec.proxy_command
            return Route(tuple(jumps), own, f"{first.spec.setting}.proxy_command")
        specs, command, setting = _configured(first)
    return Route(tuple(jumps), command, setting)
