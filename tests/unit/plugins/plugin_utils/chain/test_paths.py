# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A chain means the same in every working directory."""

from __future__ import annotations

import pytest

from ansible_collections.bastion.ssh.plugins.plugin_utils.chain.model import (
    USUAL_AGENT,
    AgentKeys,
    Chain,
    Credentials,
    DefaultKeyFiles,
    ExecContext,
    Hop,
    HostKeyChecking,
    HostKeyPolicy,
    Identity,
    KeyFile,
    KeyText,
    TransportOptions,
)
from ansible_collections.bastion.ssh.plugins.plugin_utils.chain.paths import with_absolute_paths

AGENT = (("SSH_AUTH_SOCK", "/agent"),)
ENVIRONMENT = (("NAME", "value"), *AGENT)


def chain(
    path: str | None,
    command: str | None = None,
    around: ExecContext | None = None,
    agent: tuple[AgentKeys, ...] = (AgentKeys(),),
) -> Chain:
    """A chain of two hops with a path wherever there may be one."""
    file = path or "/unused"
    keys: tuple[Identity, ...] = (
        KeyFile(file, "secret", path),
        KeyText("no/path", "secret", path),
        *agent,
        DefaultKeyFiles(),
    )
    credentials = Credentials("no/path", "no/path", keys, keys[:2], (("no/path", "no/path"),))
    policy = HostKeyPolicy(HostKeyChecking.ACCEPT_NEW, (file, "/absolute", file), "no/path")
    first = Hop("no", 23, credentials, policy, 5.0, command, "ansible_ssh_jump[0]", around)
    return Chain((first, Hop("target", 22, credentials, policy)), 30.0)


@pytest.mark.parametrize(
    ("path", "directory", "meant"),
    [
        ("file", "/play", "/play/file"),
        ("dir/file", "/play", "/play/dir/file"),
        ("./file", "/play", "/play/./file"),
        ("../file", "/play", "/play/../file"),
        ("file", "/", "/file"),
        ("file", "/play/", "/play/file"),
        ("$HOME/file", "/play", "/play/$HOME/file"),
        (" /file", "/play", "/play/ /file"),
        ("/absolute/file", "/play", "/absolute/file"),
        ("//two", "/play", "//two"),
        ("~/file", "/play", "~/file"),
        ("~me/file", "/play", "~me/file"),
        ("~", "/play", "~"),
        ("dir/~/file", "/play", "/play/dir/~/file"),
    ],
)
def test_every_path_is_meant_in_the_directory(path: str, directory: str, meant: str) -> None:
    assert with_absolute_paths(chain(path), directory, None) == chain(meant)
    assert with_absolute_paths(chain(meant), "/another", None) == chain(meant)


def test_no_certificate_stays_none() -> None:
    assert with_absolute_paths(chain(None), "/play", None) == chain(None)


@pytest.mark.parametrize(
    ("environment", "agent"), [(None, (AgentKeys(),)), ((), ()), (ENVIRONMENT, (AgentKeys("/agent"),))]
)
def test_surroundings_are_for_a_proxy_command_only(
    environment: tuple[tuple[str, str], ...] | None, agent: tuple[AgentKeys, ...]
) -> None:
    around = ExecContext("/play", environment)
    command = "nc no/path %p"
    assert with_absolute_paths(chain("/k", command), "/play", environment) == chain("/k", command, around, agent)
    assert with_absolute_paths(chain("/k"), "/play", environment) == chain("/k", agent=agent)
    assert with_absolute_paths(chain("/k", None, around), "/play", environment) == chain("/k", agent=agent)
    assert with_absolute_paths(chain("/k", "", None), "/play", environment) == chain("/k", "", around, agent)


@pytest.mark.parametrize(
    ("environment", "socket"),
    [
        (None, USUAL_AGENT),
        ((), None),
        ((("SSH_AUTH_SOCK", ""),), None),
        (AGENT, "/agent"),
        ((("SSH_AUTH_SOCK", "a"),), "/play/a"),
    ],
)
def test_the_usual_agent_is_that_of_the_play(
    environment: tuple[tuple[str, str], ...] | None, socket: str | None
) -> None:
    hop = Hop("target", 22, Credentials("u"), transport=TransportOptions(forward_agent=USUAL_AGENT))
    assert with_absolute_paths(Chain((hop,)), "/play", environment).target.transport.forward_agent == socket


def test_the_chain_itself_stays_as_it_is() -> None:
    before = chain("file", "nc")
    with_absolute_paths(before, "/play", ENVIRONMENT)
    assert before == chain("file", "nc")
