# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection.
"""Make the paths of a chain absolute, so that it means the same in every process."""

from __future__ import annotations

import posixpath
from dataclasses import replace

from .model import (
    USUAL_AGENT,
    AgentKeys,
    Chain,
    Credentials,
    ExecContext,
    Hop,
    HostKeyPolicy,
    Identity,
    KeyFile,
    KeyText,
)


def with_absolute_paths(chain: Chain, directory: str, environment: tuple[tuple[str, str], ...] | None) -> Chain:
    """Return the chain with its paths resolved against a working directory.

    :param directory: absolute path.
    :param environment: (name, value) pairs for commands and for SSH_AUTH_SOCK; None for the environment of the process that opens
        the chain.
    """
    usual_agent = None if environment is None else dict(environment).get(USUAL_AGENT)

    def absolute(path: str) -> str:
        return path if path.startswith(("/", "~")) else posixpath.join(directory, path)

    def identity(found: Identity) -> Identity:
        if isinstance(found, AgentKeys):
            socket = found.socket or usual_agent
            socket = None if socket is None else absolute(socket)
            return AgentKeys(socket, None if found.listed is None else tuple(map(absolute, found.listed)))
        if not isinstance(found, (KeyFile, KeyText)):
            return found
        certificate = None if found.certificate_file is None else absolute(found.certificate_file)
        if isinstance(found, KeyFile):
            return replace(found, path=absolute(found.path), certificate_file=certificate)
        return replace(found, certificate_file=certificate)

    def is_there(found: Identity) -> bool:
        return environment is None or not isinstance(found, AgentKeys) or bool(found.socket or usual_agent)

    def credentials(found: Credentials) -> Credentials:
        identities, fallback = (
            tuple(map(identity, filter(is_there, keys))) for keys in (found.identities, found.fallback)
        )
        certificates = tuple(map(absolute, found.certificates))
        return replace(found, identities=identities, fallback=fallback, certificates=certificates)

    def policy(found: HostKeyPolicy) -> HostKeyPolicy:
        return replace(
            found,
            known_hosts=tuple(map(absolute, found.known_hosts)),
            global_known_hosts=tuple(map(absolute, found.global_known_hosts)),
            revoked=None if found.revoked is None else absolute(found.revoked),
        )

    def hop(found: Hop) -> Hop:
        commands = found.proxy_command is not None or found.host_keys.command is not None
        around = ExecContext(directory, environment) if commands else None
        agent = found.transport.forward_agent
        if agent == USUAL_AGENT and environment is not None:
            agent = usual_agent or None
        if agent not in (None, USUAL_AGENT):
            agent = absolute(agent)
        found = replace(found, transport=replace(found.transport, forward_agent=agent))
        return replace(
            found, credentials=credentials(found.credentials), host_keys=policy(found.host_keys), exec_context=around
        )

    return replace(chain, hops=tuple(map(hop, chain.hops)))
