# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection.
"""Collect the credentials for a hop from variables, ssh_config and the controller's agent and default key files."""

from __future__ import annotations

from dataclasses import replace

from .inventory import InventoryOptions
from .model import (
    DEFAULT_FILES,
    METHODS,
    USUAL_AGENT,
    AgentKeys,
    Credentials,
    DefaultKeyFiles,
    Identity,
    KeyFile,
    KeyText,
)
from .route import ResolvedHop
from .spec import HopSpec


def target_credentials(target: ResolvedHop, settings: InventoryOptions) -> Credentials:
    """Return the credentials for the target."""
    named = _target_keys(settings)
    credentials = _certified(_credentials(target, named, settings), named, settings)
    return replace(credentials, password=settings.password, prompts=settings.prompts)


def jump_credentials(visit: ResolvedHop, settings: InventoryOptions) -> Credentials:
    """Return a jump host's own credentials, else those for all jump hosts. The target's user and password are never inherited.

    The target's key is offered last. This discloses nothing reusable: a signature is valid for one session only
    (RFC 4252 section 7).
    """
    spec, defaults = visit.spec, settings.jump_defaults
    named = _keys(spec.private_key_file, spec.private_key, spec)
    if not named:
        named = _keys(defaults.private_key_file, None, spec)
    return replace(
        _certified(_credentials(visit, named, settings), named, spec),
        password=spec.password if spec.password is not None else defaults.password,
        fallback=_target_keys(settings),
        prompts=spec.prompts,
    )


def _target_keys(settings: InventoryOptions) -> tuple[Identity, ...]:
    return _keys(settings.private_key_file, settings.private_key, settings)


def _keys(path: str | None, text: str | None, of: HopSpec | InventoryOptions) -> tuple[Identity, ...]:
    """Return the named key, if any, with its passphrase and certificate."""
    if text:
        return (KeyText(text, of.passphrase, of.certificate_file, of.certificate),)
    return (KeyFile(path, of.passphrase, of.certificate_file, of.certificate),) if path else ()


def _certified(credentials: Credentials, named: tuple[Identity, ...], of: HopSpec | InventoryOptions) -> Credentials:
    """Return the credentials with the certificate, if no key is named: it then applies to whichever key it fits."""
    if named:
        return credentials
    files = (of.certificate_file,) if of.certificate_file else ()
    texts = (of.certificate,) if of.certificate else ()
    return replace(credentials, certificates=(*files, *credentials.certificates), certificate_texts=texts)


def _credentials(visit: ResolvedHop, named: tuple[Identity, ...], settings: InventoryOptions) -> Credentials:
    """Return user, keys, certificates and methods. A named key comes first, lest an agent's keys exhaust MaxAuthTries before it.

    As in ssh(1), key files of ssh_config follow, and the default key files are used only if no key is named.
    """
    openssh = visit.openssh
    files = visit.paths(openssh.identity_files or (), "IdentityFile", settings.controller)
    further = tuple(
        KeyFile(path) for path in files if path not in [key.path for key in named if isinstance(key, KeyFile)]
    )
    none_named = not named and openssh.identity_files is None
    defaults = (DefaultKeyFiles(),) if settings.look_for_keys and none_named else ()
    identities = (*named, *further, *_agent(visit, settings, (*named, *further)), *defaults)
    return Credentials(
        user=visit.place.user,
        identities=identities,
        certificates=visit.paths(openssh.certificate_files, "CertificateFile", settings.controller),
        methods=_methods(visit),
        algorithms=openssh.public_key_algorithms,
    )


def agent_of(visit: ResolvedHop, settings: InventoryOptions) -> str | None:
    """Return the socket of a host's agent, :data:`USUAL_AGENT`, or None for no agent (IdentityAgent)."""
    agent = visit.openssh.identity_agent
    if agent is None:
        return USUAL_AGENT
    return None if agent.lower() == "none" else socket_of(agent, visit, settings, "IdentityAgent")


def socket_of(agent: str, visit: ResolvedHop, settings: InventoryOptions, keyword: str) -> str:
    """Return the expanded path of a socket given as a path or ``$NAME``; or :data:`USUAL_AGENT`."""
    if agent.lstrip("$") == USUAL_AGENT:
        return USUAL_AGENT
    if agent.startswith("$") and not agent.startswith("${"):
        agent = f"${{{agent[1:]}}}"  # ssh -G prints $NAME unexpanded
    elif visit.openssh.expanded:
        return agent
    (socket,) = visit.paths((agent,), keyword, settings.controller)
    return socket


def _agent(visit: ResolvedHop, settings: InventoryOptions, keys: tuple[Identity, ...]) -> tuple[AgentKeys, ...]:
    """Return the agent's keys; with IdentitiesOnly, only those whose files are named, or else the default files."""
    agent = agent_of(visit, settings)
    if agent is None:
        return ()
    listed = None
    if visit.openssh.identities_only:
        listed = tuple(key.path for key in keys if isinstance(key, KeyFile)) or DEFAULT_FILES
    return (AgentKeys(None if agent == USUAL_AGENT else agent, listed),)


def _methods(visit: ResolvedHop) -> tuple[str, ...] | None:
    openssh = visit.openssh
    if openssh.authentications is None and not openssh.refused_authentications:
        return None
    wanted = openssh.authentications or METHODS
    return tuple(method for method in wanted if method in METHODS and method not in openssh.refused_authentications)
