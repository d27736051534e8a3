# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A chain means the same in every working directory."""

from __future__ import annotations

import pytest

from ansible_collections.bastion.ssh.plugins.plugin_utils.chain.anchor import anchored
from ansible_collections.bastion.ssh.plugins.plugin_utils.chain.model import (
    AgentKeys,
    Chain,
    Credentials,
    DefaultKeyFiles,
    Hop,
    HostKeyChecking,
    HostKeyPolicy,
    KeyFile,
    KeyText,
    Surroundings,
)

ENVIRONMENT = (("NAME", "value"),)


def chain(path: str | None, command: str | None = None, around: Surroundings | None = None) -> Chain:
    """A chain of two hops with a path wherever there may be one."""
    file = path or "/unused"
    keys = (KeyFile(file, "secret", path), KeyText("no/path", "secret", path), AgentKeys(), DefaultKeyFiles())
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
    assert anchored(chain(path), directory, None) == chain(meant)
    assert anchored(chain(meant), "/another", None) == chain(meant)


def test_no_certificate_stays_none() -> None:
    assert anchored(chain(None), "/play", None) == chain(None)


@pytest.mark.parametrize("environment", [None, (), ENVIRONMENT])
def test_surroundings_are_for_a_proxy_command_only(environment: tuple[tuple[str, str], ...] | None) -> None:
    around = Surroundings("/play", environment)
    assert anchored(chain("/k", "nc no/path %p"), "/play", environment) == chain("/k", "nc no/path %p", around)
    assert anchored(chain("/k"), "/play", environment) == chain("/k")
    assert anchored(chain("/k", None, around), "/play", environment) == chain("/k")
    assert anchored(chain("/k", "", None), "/play", environment) == chain("/k", "", around)


def test_the_chain_itself_stays_as_it_is() -> None:
    before = chain("file", "nc")
    anchored(before, "/play", ENVIRONMENT)
    assert before == chain("file", "nc")
