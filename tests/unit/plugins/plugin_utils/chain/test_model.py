# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The chain as data: its words for people, and no secret among them."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest

from ansible_collections.bastion.ssh.plugins.plugin_utils.chain.model import (
    AgentKeys,
    Chain,
    Credentials,
    DefaultKeyFiles,
    ExecContext,
    Hop,
    HostKeyChecking,
    HostKeyPolicy,
    KeyFile,
    KeyText,
)

A = Hop("bastion", 22, Credentials("a"), setting="ansible_ssh_jump[0]")
B = Hop("2001:db8::1", 2222, Credentials("b"), setting="ansible_ssh_jump[1]")
TARGET = Hop("target", 22, Credentials("me"))
CHAIN = Chain((A, B, TARGET))


# trust: T21
def test_no_secret_is_in_the_repr_of_a_chain() -> None:
    keys = (KeyFile("~/k", "SECRET1", "c"), KeyText("SECRET2", "SECRET3"), AgentKeys(), DefaultKeyFiles())
    credentials = Credentials("me", "SECRET4", keys, (KeyText("SECRET7"),), (("SECRET5", "SECRET6"),))
    policy = HostKeyPolicy(HostKeyChecking.ACCEPT_NEW, ("f",), "alias")
    around = ExecContext("/d", (("NAME", "SECRET"),))
    chain = Chain((Hop("h", 22, credentials, policy, 5.0, "nc %h %p", "ansible_ssh_jump", around),))
    assert repr(chain) == (
        "Chain(hops=(Hop(host='h', port=22, credentials=Credentials(user='me', identities=("
        "KeyFile(path='~/k', certificate_file='c'), KeyText(certificate_file=None), AgentKeys(socket=None, "
        "listed=None), DefaultKeyFiles()), fallback=(KeyText(certificate_file=None),), certificates=(), methods=None, "
        "algorithms=None), host_keys=HostKeyPolicy(checking=<HostKeyChecking.ACCEPT_NEW: 'accept-new'>, known_hosts=('f',), "
        "alias='alias', global_known_hosts=(), lines=(), command=None, revoked=None, hashed=False, check_address=False, "
        "algorithms=None, ca_algorithms=None, rsa_bits=1024), timeout=5.0, proxy_command='nc %h %p', "
        "setting='ansible_ssh_jump', exec_context=ExecContext(directory='/d'), transport=TransportOptions(attempts=1, "
        "address_family=None, bind_address=None, alive_interval=15.0, alive_count=3, compression=False, rekey_bytes=0, "
        "rekey_seconds=0, ciphers=None, macs=None, kex=None, forward_agent=None), name='', "
        "proxy_setting='ansible_proxy_command'),), timeout=None)"
    )
    assert "SECRET" not in f"{chain} {chain.place(0)} {chain.hops[0].label}"


def test_a_chain_is_written_from_the_controller_to_the_target() -> None:
    assert str(CHAIN) == "controller -> a@bastion:22 -> b@[2001:db8::1]:2222 -> me@target:22"
    assert str(Chain((TARGET,))) == "controller -> me@target:22"


def test_a_hop_is_named_with_its_number_and_the_hop_before_it() -> None:
    assert [CHAIN.place(index) for index in range(3)] == [
        "jump host 1 of 2 a@bastion:22",
        "jump host 2 of 2 b@[2001:db8::1]:2222 (via a@bastion:22)",
        "target me@target:22 (via b@[2001:db8::1]:2222)",
    ]


def test_the_ways_to_each_hop_grow_by_one() -> None:
    assert list(CHAIN.prefixes()) == [(A,), (A, B), (A, B, TARGET)]
    assert CHAIN.target is TARGET


# trust: T20, T29
def test_chains_are_equal_when_all_is_equal_secrets_included() -> None:
    def chain(password: str = "x", host: str = "b") -> Chain:
        return Chain((Hop(host, 22, Credentials("a", password)), TARGET))

    assert chain() == chain()
    assert hash(chain()) == hash(chain())
    assert chain() != chain(password="y")
    assert chain() != chain(host="c")
    assert chain() != Chain((TARGET,))


def test_a_chain_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        TARGET.port = 23  # type: ignore[misc]


# trust: T25
def test_a_login_has_the_time_that_openssh_gives_it_or_that_of_its_hop() -> None:
    hops = [Hop("h", 22, Credentials("me"), timeout=seconds) for seconds in (10.0, 300.0)]
    assert [(hop.login_timeout, hop.patience) for hop in hops] == [(120.0, 130.0), (300.0, 600.0)]
