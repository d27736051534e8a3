# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection.
"""Which hops lie before a target: from variables, else from OpenSSH's settings, with what the first hop says of its own way.

As in ssh(1), the first hop's own ProxyJump or ProxyCommand counts, and that of a later hop does not: its place in the chain is
the way to it. Nothing is ever left out: a way that cannot be gone is an error.
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
    """A host on the way, with what is known of it.

    :param spec: as it was written.
    :param openssh: OpenSSH's settings for it.
    :param place: as tokens see it.
    """

    spec: HopSpec
    openssh: HostConfig
    place: TokenValues

    def setting(self, keyword: str) -> str:
        """What messages call a keyword of ssh_config for this host."""
        return f"{SOURCE} for {self.place.name}: {keyword}"

    def paths(self, templates: Iterable[str], keyword: str, controller: Controller) -> tuple[str, ...]:
        """Paths of ssh_config for this host. Raises SettingsError for an unknown token."""
        setting = self.setting(keyword)
        return tuple(expand_path(template, self.place, controller, setting) for template in templates)


@dataclass(frozen=True)
class Route:
    """How a target is reached.

    :param jumps: in the order of the visit.
    :param proxy_command: how the first host of all is reached; None for a connection of its own.
    :param proxy_setting: where that was said, for messages.
    """

    jumps: tuple[ResolvedHop, ...] = ()
    proxy_command: str | None = None
    proxy_setting: str = ""


#: What is known of a hop that somebody wrote down; whether the way to it is known as well.
Look = Callable[[HopSpec, bool], ResolvedHop]


def resolve_route(jump: object, proxy_command: str | None, target: ResolvedHop, look: Look) -> Route:
    """The way to a target.

    :param jump: of ``ansible_ssh_jump``.
    :param proxy_command: of ``ansible_proxy_command``.
    :raises SettingsError: hops that cannot be read, both kinds of way, a circle, or too many hops.
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
    """Whether a variable says OpenSSH's word against whatever a file says of the way."""
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
    """The way to a host by OpenSSH's settings: hops, or a command and where it was set."""
    openssh = visit.openssh
    if openssh.proxy_jump is not None:
        setting = visit.setting("ProxyJump")
        return parse_jump(expand_route(openssh.proxy_jump, visit.place, setting), setting), None, ""
    return (), openssh.proxy_command, visit.setting("ProxyCommand")


def _extended(specs: tuple[HopSpec, ...], command: str | None, setting: str, target: ResolvedHop, look: Look) -> Route:
    """With the way to the first hop, and to the first hop of that, until one is reached without a jump."""
    passed = [target]
    jumps: list[ResolvedHop] = []
    while specs:
        # The hop before a later one is the way to it (ssh(1), -J).
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
