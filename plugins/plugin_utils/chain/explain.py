# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection.
"""Explain where each value of a chain comes from: a variable, ssh_config, or the default."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, replace

from .inventory import InventoryOptions
from .model import AgentKeys, Credentials, DefaultKeyFiles, Hop, HostKeyPolicy, Identity, KeyFile, TransportOptions
from .openssh import SOURCE
from .resolve import Resolution
from .route import ResolvedHop

DEFAULT = "default"
# The variable that messages name -> its option.
_OPTIONS = {
    "ansible_host": "remote_addr",
    "ansible_user": "remote_user",
    "ansible_port": "port",
    "ansible_password": "password",
    "ansible_ssh_private_key_file": "private_key_file",
    "ansible_ssh_certificate": "certificate",
    "ansible_ssh_certificate_file": "certificate_file",
    "ansible_ssh_host_key_checking": "host_key_checking",
    "ansible_ssh_host_key_alias": "host_key_alias",
    "ansible_ssh_known_hosts": "known_hosts",
    "ansible_ssh_timeout": "connect_timeout",
    "ansible_ssh_jump": "ssh_jump",
    "ansible_ssh_jump_user": "ssh_jump_user",
    "ansible_ssh_jump_password": "ssh_jump_password",
    "ansible_ssh_jump_private_key_file": "ssh_jump_private_key_file",
    "ansible_proxy_command": "proxy_command",
    "ansible_ssh_server_alive_interval": "server_alive_interval",
    "ansible_ssh_server_alive_count_max": "server_alive_count_max",
}
_SET = "(set)"
_Candidate = tuple[object, str]


@dataclass(frozen=True)
class Fact:
    """Hold one value of a hop, and no secret.

    :param source: where it was set.
    """

    name: str
    value: str
    source: str


def explain(found: Resolution, origins: Mapping[str, str]) -> tuple[tuple[Fact, ...], ...]:
    """Return the values of each hop, in the order of the hops.

    :param origins: option name -> where it was set: a variable, a file, the command line.
    """
    hops, settings = found.chain.hops, found.settings
    jumps = zip(found.way.jumps, hops[:-1], strict=True)

    def named(facts: Iterable[Fact]) -> tuple[Fact, ...]:
        return tuple(replace(fact, source=_origin(fact.source, origins)) for fact in facts)

    return (
        *(named(_facts(visit, hop, _of_jump(visit, settings), settings)) for visit, hop in jumps),
        named([*_facts(found.target, hops[-1], _of_target(settings), settings), *_environment(found)]),
    )


def _origin(source: str, origins: Mapping[str, str]) -> str:
    """Return where a variable's option was set, which may be under another name."""
    name, bracket, rest = source.partition("[")
    origin = origins.get(_OPTIONS.get(name, ""))
    return source if origin is None else f"{origin}{bracket}{rest}"


@dataclass(frozen=True)
class _Said:
    """Hold the values that variables set for one hop, with the variables' names; the first that is not None counts.

    :param host: the setting of the hop itself.
    :param openssh: the name of ssh_config, for messages.
    :param certificate: the setting of a certificate.
    """

    host: str
    openssh: str
    user: tuple[_Candidate, ...]
    port: tuple[_Candidate, ...]
    password: tuple[_Candidate, ...]
    keys: tuple[_Candidate, ...]
    certificate: str
    known_hosts: tuple[_Candidate, ...]
    checking: tuple[_Candidate, ...]
    alias: tuple[_Candidate, ...]
    timeout: tuple[_Candidate, ...]


def _of_jump(visit: ResolvedHop, settings: InventoryOptions) -> _Said:
    spec, defaults, where = visit.spec, settings.jump_defaults, visit.spec.setting
    return _Said(
        host=where,
        openssh=SOURCE,
        user=((spec.user, where), (defaults.user, "ansible_ssh_jump_user")),
        port=((spec.port, where),),
        password=((spec.password, where), (defaults.password, "ansible_ssh_jump_password")),
        keys=((spec.private_key_file or spec.private_key, where), (defaults.private_key_file, "ansible_ssh_jump_private_key_file")),
        certificate=where,
        known_hosts=((_either(spec.known_hosts, spec.known_hosts_lines), where), *_known_hosts(settings)),
        checking=((spec.host_key_checking, where), (settings.checking, "ansible_ssh_host_key_checking")),
        alias=((spec.host_key_alias, where),),
        timeout=((spec.timeout, where), (settings.timeout, "ansible_ssh_timeout")),
    )  # fmt: skip


def _of_target(settings: InventoryOptions) -> _Said:
    return _Said(
        host="ansible_host",
        openssh=f"{SOURCE}, or arguments for ssh" if settings.arguments else SOURCE,
        user=((settings.user, "ansible_user"),),
        port=((settings.port, "ansible_port"),),
        password=((settings.password, "ansible_password"),),
        keys=((settings.private_key_file or settings.private_key, "ansible_ssh_private_key_file"),),
        certificate="ansible_ssh_certificate" if settings.certificate else "ansible_ssh_certificate_file",
        known_hosts=_known_hosts(settings),
        checking=((settings.checking, "ansible_ssh_host_key_checking"),),
        alias=((settings.host_key_alias, "ansible_ssh_host_key_alias"),),
        timeout=((settings.timeout, "ansible_ssh_timeout"),),
    )


def _known_hosts(settings: InventoryOptions) -> tuple[_Candidate, ...]:
    return ((_either(settings.known_hosts, settings.known_hosts_lines), "ansible_ssh_known_hosts"),)


def _either(files: tuple[str, ...] | None, lines: tuple[str, ...]) -> object:
    return files if files is not None else lines or None


def _facts(visit: ResolvedHop, hop: Hop, said: _Said, settings: InventoryOptions) -> Iterator[Fact]:
    openssh = visit.openssh

    def source(candidates: tuple[_Candidate, ...], configured: object) -> str:
        every = (*candidates, (configured, said.openssh))
        return next((name for value, name in every if value is not None), DEFAULT)

    credentials, policy = hop.credentials, hop.host_keys
    if hop.name:
        yield Fact("name", hop.name, said.host)
    yield Fact("host", hop.host, said.openssh if hop.name else said.host)
    yield Fact("port", str(hop.port), source(said.port, openssh.port))
    yield Fact("user", credentials.user, source(said.user, openssh.user))
    if hop.proxy_command is not None:
        yield Fact("proxy_command", _without_arguments(hop.proxy_command), hop.proxy_setting)
    if credentials.password is not None:
        yield Fact("password", _SET, source(said.password, None))
    named = source(said.keys, None)
    for number, identity in enumerate(credentials.identities):
        yield Fact("key", _shown(identity), _key_source(identity, number, named, said, visit))
    for identity in credentials.fallback:
        yield Fact("key, offered last", _shown(identity), "the target's")
    yield from _certificates(credentials, openssh.certificate_files, said)
    yield Fact("host_key_checking", policy.checking.value, source(said.checking, openssh.checking))
    if policy.alias is not None:
        yield Fact("host_key_alias", policy.alias, source(said.alias, openssh.host_key_alias))
    configured = openssh.known_hosts if openssh.known_hosts is not None else openssh.global_known_hosts
    yield Fact("known_hosts", _trusted(policy), source(said.known_hosts, configured))
    yield Fact("timeout", f"{hop.timeout:g} s", source(said.timeout, openssh.connect_timeout))
    yield from _further(hop, said, settings)


def _certificates(credentials: Credentials, configured: tuple[str, ...], said: _Said) -> Iterator[Fact]:
    """Yield the certificates that may fit any key; a named key's own is not among them."""
    for _text in credentials.certificate_texts:
        yield Fact("certificate", "a text", said.certificate)
    own = len(credentials.certificates) - len(configured)
    for number, path in enumerate(credentials.certificates):
        yield Fact("certificate", path, said.certificate if number < own else said.openssh)


def _without_arguments(command: str) -> str:
    """Return the first word of a command, as a password may be among its arguments."""
    words = command.split()
    return f"{words[0]} …" if len(words) > 1 else command


def _environment(found: Resolution) -> Iterator[Fact]:
    names = [name for name, _value in found.chain.environment]
    if names:
        yield Fact("environment", ", ".join(names), SOURCE)


def _key_source(identity: Identity, number: int, named: str, said: _Said, visit: ResolvedHop) -> str:
    if isinstance(identity, DefaultKeyFiles):
        return DEFAULT
    if isinstance(identity, AgentKeys):
        told = identity.listed is not None or visit.openssh.identity_agent is not None
        return said.openssh if told else DEFAULT
    return named if number == 0 and named != DEFAULT else said.openssh


def _shown(identity: Identity) -> str:
    if isinstance(identity, KeyFile):
        return identity.path
    if isinstance(identity, AgentKeys):
        of = f" at {identity.socket}" if identity.socket else ""
        return f"listed keys of the agent{of}" if identity.listed is not None else f"keys of the agent{of}"
    return "default key files" if isinstance(identity, DefaultKeyFiles) else "a text"


def _trusted(policy: HostKeyPolicy) -> str:
    lines = [f"{len(policy.lines)} lines"] if policy.lines else []
    command = [" ".join(policy.command)] if policy.command else []
    return ", ".join([*policy.known_hosts, *policy.global_known_hosts, *lines, *command]) or "none"


_OPENSSH_ONLY = {
    "revoked": "RevokedHostKeys", "hashed": "HashKnownHosts", "check_address": "CheckHostIP", "algorithms": "HostKeyAlgorithms",
    "ca_algorithms": "CASignatureAlgorithms", "rsa_bits": "RequiredRSASize",
}  # fmt: skip
_VARIABLES_TOO = {
    "alive_interval": "ansible_ssh_server_alive_interval",
    "alive_count": "ansible_ssh_server_alive_count_max",
}


def _further(hop: Hop, said: _Said, settings: InventoryOptions) -> Iterator[Fact]:
    """Yield further values that differ from the default."""
    for name, shown in _OPENSSH_ONLY.items():
        yield from _unusual(hop.host_keys, HostKeyPolicy(), name, said.openssh, shown)
    yield from _unusual(hop.credentials, Credentials(""), "methods", said.openssh)
    yield from _unusual(hop.credentials, Credentials(""), "algorithms", said.openssh, "PubkeyAcceptedAlgorithms")
    for item in fields(TransportOptions):
        variable = _VARIABLES_TOO.get(item.name)
        by_variable = variable is not None and getattr(settings, item.name) is not None
        yield from _unusual(
            hop.transport, TransportOptions(), item.name, variable if by_variable and variable else said.openssh
        )


def _unusual(value: object, usual: object, name: str, source: str, shown: str = "") -> Iterator[Fact]:
    found = getattr(value, name)
    if found != getattr(usual, name):
        text = ",".join(found) if isinstance(found, tuple) else str(found)
        yield Fact(shown or name, text, source)
