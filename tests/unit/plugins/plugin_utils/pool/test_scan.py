# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which hop a scan of host keys names when a jump host is not reached. No server fails so on purpose, so the pool is a stand-in."""

from __future__ import annotations

from typing import Any, NoReturn, cast

import pytest

from ansible_collections.bastion.ssh.plugins.plugin_utils.chain.model import Chain, Credentials, Hop
from ansible_collections.bastion.ssh.plugins.plugin_utils.client.interface import Report
from ansible_collections.bastion.ssh.plugins.plugin_utils.errors import HopUnreachable
from ansible_collections.bastion.ssh.plugins.plugin_utils.pool.scan import AcceptPolicy, HostKeyScan
from ansible_collections.bastion.ssh.plugins.plugin_utils.pool.transports import TransportPool
from ansible_collections.bastion.ssh.plugins.plugin_utils.settings import SessionConfig

CHAIN = Chain(tuple(Hop(name, 22, Credentials("u")) for name in ("a", "b", "target")))


class Pool:
    """Reaches no further than one of the hops, and says so in the words of the chain that it was given."""

    def __init__(self, at_fault: int) -> None:
        self._at_fault = at_fault

    def lease(self, settings: SessionConfig, _report: Report) -> NoReturn:
        raise HopUnreachable(settings.chain.place(self._at_fault), "it is down", "Start it.")


@pytest.mark.parametrize("at_fault", [0, 1])
def test_the_hop_at_fault_is_named_as_in_the_whole_chain(at_fault: int) -> None:
    scan = HostKeyScan(cast(TransportPool, Pool(at_fault)), SessionConfig(CHAIN), Report(print, print), AcceptPolicy())
    found: dict[str, Any] = scan._visit(1)
    assert (found["hop"], found["status"]) == (CHAIN.place(1), "unreachable")
    assert found["msg"].startswith(f"{CHAIN.place(at_fault)}: it is down")
