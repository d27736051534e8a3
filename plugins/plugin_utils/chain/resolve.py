# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection.
"""Resolve inventory options and ssh_config to a chain.

Variables take precedence over arguments for the ssh program, these over ssh_config, and that over defaults.
"""

from __future__ import annotations

import fnmatch
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace

from ..errors import SettingsError
from .credentials import agent_of, jump_credentials, socket_of, target_credentials
from .inventory import InventoryOptions
from .model import TARGET, Chain, Credentials, Hop, HostKeyChecking, HostKeyPolicy, TransportOptions
from .names import check_alias, check_host, check_port, check_user
from .openssh import SOURCE, ConfigLookup, ConfigQuery, HostConfig, RekeyLimit, no_config
from .route import ResolvedHop, Route, resolve_route, says_none
from .spec import HopSpec
from .tokens import TokenValues, expand_command, expand_early

_KNOWN_HOSTS = ("~/.ssh/known_hosts", "~/.ssh/known_hosts2")
_GLOBAL_KNOWN_HOSTS = ("/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2")
_PORT = 22
_TIMEOUT = 10.0


@dataclass(frozen=True)
class Resolution:
    """Hold a chain, and what it was resolved from."""

    chain: Chain
    settings: InventoryOptions
    target: ResolvedHop
    way: Route


def resolve(settings: InventoryOptions, ask: ConfigLookup = no_config) -> Resolution:
    """Return the chain to a target. Only ``ask`` may read files or start processes.

    :param ask: returns OpenSSH's settings for a name.
    :raises SettingsError: an unusable value, both jump hosts and a ProxyCommand for one host, a loop, or too many hops.
    """
    target = _target(settings, ask)
    way = resolve_route(
        settings.jump, settings.proxy_command, target, lambda spec, direct: _jump(spec, direct, settings, ask)
    )
    hops = [*(_jump_hop(visit, settings) for visit in way.jumps), _target_hop(target, settings)]
    if way.proxy_command is not None:
        hops[0] = replace(hops[0], proxy_command=way.proxy_command, proxy_setting=way.proxy_setting)
        # Raise errors in the tokens now, rather than when the command is started.
        expand_command(way.proxy_command, hops[0])
    chain = Chain(
        hops=tuple(hops),
        timeout=settings.total_timeout,
        environment=_environment(target.openssh, dict(settings.controller.environment)),
    )
    return Resolution(chain, settings, target, way)


def _target(settings: InventoryOptions, ask: ConfigLookup) -> ResolvedHop:
    host = check_host(settings.host, "ansible_host")
    port = None if settings.port is None else check_port(settings.port, "ansible_port")
    user = check_user(settings.user, "ansible_user") if settings.user else None
    spec = HopSpec(host, port, user, setting=TARGET)
    direct = says_none(settings.jump, settings.proxy_command)
    query = ConfigQuery(host, user, port, settings.config_file, settings.arguments, direct)
    return _visit(spec, user, ask(query), settings)


def _jump(spec: HopSpec, direct: bool, settings: InventoryOptions, ask: ConfigLookup) -> ResolvedHop:
    """Return a jump host. As in ssh(1), arguments apply to the target only, and the configuration file to all hops."""
    default = settings.jump_defaults.user
    user = spec.user or (check_user(default, "ansible_ssh_jump_user") if default else None)
    return _visit(
        spec, user, ask(ConfigQuery(spec.host, user, spec.port, settings.config_file, direct=direct)), settings
    )


def _visit(spec: HopSpec, user: str | None, openssh: HostConfig, settings: InventoryOptions) -> ResolvedHop:
    """Return a hop, with host and user checked wherever they come from, as a shell may read them (CVE-2023-51385)."""
    where = f"{SOURCE} for {spec.host}"
    alias = openssh.host_key_alias
    place = TokenValues(
        host=check_host(openssh.host, f"{where}: HostName"),
        name=spec.host,
        port=spec.port or (check_port(openssh.port, f"{where}: Port") if openssh.port is not None else _PORT),
        user=user or _user(openssh, settings, where, spec),
        alias=None if alias is None else check_alias(alias, f"{where}: HostKeyAlias"),
        jump=openssh.proxy_jump,
    )
    return ResolvedHop(spec, openssh, place)


def _user(openssh: HostConfig, settings: InventoryOptions, where: str, spec: HopSpec) -> str:
    if openssh.user:
        return check_user(openssh.user, f"{where}: User")
    return check_user(settings.controller.user, "ansible_user" if spec.setting == TARGET else "ansible_ssh_jump_user")


def _target_hop(target: ResolvedHop, settings: InventoryOptions) -> Hop:
    policy = replace(_host_keys(target, settings), alias=settings.host_key_alias or target.place.alias)
    hop = _hop(target, settings, target_credentials(target, settings), policy)
    return replace(hop, transport=replace(hop.transport, forward_agent=_forwarded_agent(target, settings)))


def _jump_hop(visit: ResolvedHop, settings: InventoryOptions) -> Hop:
    spec = visit.spec
    policy = _host_keys(visit, settings)
    if spec.known_hosts is not None or spec.known_hosts_lines:
        policy = _knowing(policy, spec.known_hosts or (), spec.known_hosts_lines)
    checking, alias = spec.host_key_checking or policy.checking, spec.host_key_alias or visit.place.alias
    hop = _hop(visit, settings, jump_credentials(visit, settings), replace(policy, checking=checking, alias=alias))
    return replace(hop, timeout=spec.timeout or hop.timeout)


def _hop(visit: ResolvedHop, settings: InventoryOptions, credentials: Credentials, policy: HostKeyPolicy) -> Hop:
    place = visit.place
    return Hop(
        host=place.host,
        port=place.port,
        credentials=credentials,
        host_keys=policy,
        timeout=settings.timeout or visit.openssh.connect_timeout or _TIMEOUT,
        setting=visit.spec.setting,
        transport=_transport(visit.openssh, settings),
        name="" if place.name == place.host else place.name,
    )


def _host_keys(visit: ResolvedHop, settings: InventoryOptions) -> HostKeyPolicy:
    """Return the host key policy, without the alias, which belongs to one host only."""
    openssh = visit.openssh
    revoked = [] if openssh.revoked_host_keys is None else [openssh.revoked_host_keys]
    own, system = openssh.known_hosts, openssh.global_known_hosts
    if own is not None and not openssh.expanded:
        own = visit.paths(own, "UserKnownHostsFile", settings.controller)
    policy = HostKeyPolicy(
        checking=settings.checking or openssh.checking or HostKeyChecking.STRICT,
        known_hosts=_KNOWN_HOSTS if own is None else own,
        global_known_hosts=_GLOBAL_KNOWN_HOSTS if system is None else system,
        command=_command(visit, settings),
        revoked=next(iter(visit.paths(revoked, "RevokedHostKeys", settings.controller)), None),
        hashed=bool(openssh.hash_known_hosts),
        check_address=bool(openssh.check_host_ip),
        algorithms=openssh.host_key_algorithms,
        ca_algorithms=openssh.ca_algorithms,
        rsa_bits=openssh.rsa_bits or HostKeyPolicy.rsa_bits,
    )
    if settings.known_hosts is None and not settings.known_hosts_lines:
        return policy
    return _knowing(policy, settings.known_hosts or (), settings.known_hosts_lines)


def _command(visit: ResolvedHop, settings: InventoryOptions) -> tuple[str, ...] | None:
    """Return the argv of KnownHostsCommand, which is split before its tokens are expanded, and runs without a shell."""
    text = visit.openssh.known_hosts_command
    setting = visit.setting("KnownHostsCommand")
    if text is None:
        return None
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise SettingsError(setting, f"it cannot be split into arguments: {error}") from None
    return tuple(expand_early(word, visit.place, settings.controller, setting) for word in words)


def _knowing(policy: HostKeyPolicy, files: tuple[str, ...], lines: tuple[str, ...]) -> HostKeyPolicy:
    """Return the policy with the known hosts of a variable in place of all others."""
    return replace(policy, known_hosts=files, lines=lines, global_known_hosts=(), command=None)


def _transport(openssh: HostConfig, settings: InventoryOptions) -> TransportOptions:
    usual = TransportOptions()
    rekey = openssh.rekey_limit or RekeyLimit()
    family = openssh.address_family
    return TransportOptions(
        attempts=openssh.connection_attempts or usual.attempts,
        address_family=family if family in ("inet", "inet6") else None,
        bind_address=openssh.bind_address,
        alive_interval=_first(settings.alive_interval, openssh.alive_interval, usual.alive_interval),
        alive_count=max(1, int(_first(settings.alive_count, openssh.alive_count, usual.alive_count))),
        compression=bool(openssh.compression),
        rekey_bytes=rekey.bytes,
        rekey_seconds=rekey.seconds,
        ciphers=openssh.ciphers,
        macs=openssh.macs,
        kex=openssh.kex,
    )


def _first(*values: float | None) -> float:
    return next(value for value in values if value is not None)


def _forwarded_agent(target: ResolvedHop, settings: InventoryOptions) -> str | None:
    """Return the forwarded agent (ForwardAgent): ``yes`` for that of the login (IdentityAgent), or the path of another one."""
    wanted = target.openssh.forward_agent
    if wanted in (None, "no"):
        return None
    if wanted == "yes":
        return agent_of(target, settings)
    return socket_of(wanted, target, settings, "ForwardAgent")


def _environment(openssh: HostConfig, here: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """Return the environment of SendEnv, whose patterns with ``-`` remove names, and of SetEnv, which takes precedence."""
    sent: dict[str, str] = {}
    for pattern in " ".join(openssh.send_env).split():
        if pattern.startswith("-"):
            sent = {name: value for name, value in sent.items() if not fnmatch.fnmatchcase(name, pattern[1:])}
        else:
            sent |= {name: value for name, value in here.items() if fnmatch.fnmatchcase(name, pattern)}
    told = dict(line.partition("=")[::2] for line in openssh.set_env)
    return tuple(sorted({**sent, **told}.items()))
