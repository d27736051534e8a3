# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Inventory settings -> Chain: precedence and conflicts."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..errors import SettingsError
from .model import (
    TARGET,
    AgentKeys,
    Chain,
    Credentials,
    DefaultKeyFiles,
    Hop,
    HostKeyPolicy,
    Identity,
    KeyFile,
    KeyText,
)
from .names import check_host, check_port, check_user
from .spec import HopSpec, is_none, parse_jump
from .tokens import expand

_BOTH = (
    "ansible_ssh_jump and ansible_proxy_command are both set for this host, and there can be only one way to it; "
    "unset one of them, set it to 'none', or give the first hop of ansible_ssh_jump a proxy_command"
)


@dataclass(frozen=True)
class JumpDefaults:
    """For hops that set none of their own: ``ansible_ssh_jump_user`` and its siblings."""

    user: str | None = None
    password: str | None = field(default=None, repr=False)
    private_key_file: str | None = None


@dataclass(frozen=True)
class Settings:
    """What the inventory says of one target and of the way to it.

    :param jump: the raw value of ``ansible_ssh_jump``.
    :param login_name: the user at a hop where nobody says another (the local login name, as in ssh(1)).
    :param look_for_keys: whether default key files are offered where no key is named.
    """

    host: str
    login_name: str
    port: object = 22
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    private_key_file: str | None = None
    private_key: str | None = field(default=None, repr=False)
    passphrase: str | None = field(default=None, repr=False)
    certificate_file: str | None = None
    prompts: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    host_keys: HostKeyPolicy = field(default_factory=HostKeyPolicy)
    look_for_keys: bool = True
    jump: object = field(default=None, repr=False)
    jump_defaults: JumpDefaults = JumpDefaults()
    proxy_command: str | None = None
    timeout: float = 10.0
    total_timeout: float | None = None
    alive_interval: float = 15.0
    alive_count: int = 3


def resolve(settings: Settings) -> Chain:
    """The chain to a target. Nothing is looked up, opened or started.

    :raises SettingsError: an unusable value, or both kinds of way for one host.
    """
    specs = parse_jump(settings.jump)
    proxy = None if is_none(settings.proxy_command) else settings.proxy_command or None
    if specs and proxy:
        raise SettingsError("ansible_proxy_command", _BOTH)
    hops = tuple(_jump_hop(spec, settings) for spec in specs)
    chain = Chain(
        hops=(*hops, _target_hop(settings, proxy)),
        timeout=settings.total_timeout,
        alive_interval=settings.alive_interval,
        alive_count=settings.alive_count,
    )
    first = chain.hops[0]
    if first.proxy_command is not None:
        # Told now rather than when the command is about to be started.
        expand(first.proxy_command, first, proxy_setting(first))
    return chain


def proxy_setting(hop: Hop) -> str:
    """The name of the variable that a hop's ProxyCommand came from."""
    return "ansible_proxy_command" if hop.setting == TARGET else f"{hop.setting}.proxy_command"


def _target_hop(settings: Settings, proxy: str | None) -> Hop:
    user = settings.user or settings.login_name
    return Hop(
        host=check_host(settings.host, "ansible_host"),
        port=check_port(settings.port, "ansible_port"),
        credentials=Credentials(
            user=check_user(user, "ansible_user"),
            password=settings.password,
            identities=_with_found(_target_keys(settings), settings),
            prompts=settings.prompts,
        ),
        host_keys=settings.host_keys,
        timeout=settings.timeout,
        proxy_command=proxy,
    )


def _jump_hop(spec: HopSpec, settings: Settings) -> Hop:
    """A hop's own values, else those for all hops. The target's user and password are never inherited."""
    defaults = settings.jump_defaults
    user = spec.user or defaults.user or settings.login_name
    policy = settings.host_keys
    return Hop(
        host=spec.host,
        port=spec.port or 22,
        credentials=Credentials(
            user=spec.user or check_user(user, "ansible_ssh_jump_user"),
            password=spec.password if spec.password is not None else defaults.password,
            identities=_jump_keys(spec, settings),
            fallback=_target_keys(settings),
            prompts=spec.prompts,
        ),
        host_keys=HostKeyPolicy(
            checking=spec.host_key_checking or policy.checking,
            known_hosts=spec.known_hosts if spec.known_hosts is not None else policy.known_hosts,
            alias=spec.host_key_alias,
        ),
        timeout=spec.timeout or settings.timeout,
        proxy_command=spec.proxy_command,
        setting=spec.setting,
    )


def _jump_keys(spec: HopSpec, settings: Settings) -> tuple[Identity, ...]:
    """The hop's own key, else the one for all hops; then what is found."""
    named = _keys(spec.private_key_file, spec.private_key, spec.passphrase, spec.certificate_file)
    if not named:
        named = _keys(settings.jump_defaults.private_key_file, None, spec.passphrase, spec.certificate_file)
    return _with_found(named, settings)


def _target_keys(settings: Settings) -> tuple[Identity, ...]:
    """The target's key. A bastion is offered it last of all, which gives nothing away: a signature is of use
    for this one session only (RFC 4252 section 7)."""
    return _keys(settings.private_key_file, settings.private_key, settings.passphrase, settings.certificate_file)


def _keys(path: str | None, text: str | None, passphrase: str | None, certificate: str | None) -> tuple[Identity, ...]:
    if text:
        return (KeyText(text, passphrase, certificate),)
    return (KeyFile(path, passphrase, certificate),) if path else ()


def _with_found(named: tuple[Identity, ...], settings: Settings) -> tuple[Identity, ...]:
    """A named key goes first, so that an agent full of keys cannot use up MaxAuthTries before it.

    As in ssh(1), the default key files are for those who name none.
    """
    defaults = (DefaultKeyFiles(),) if settings.look_for_keys and not named else ()
    return (*named, AgentKeys(), *defaults)
