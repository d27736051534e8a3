# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Build the topology of most tests: controller -> a -> b -> target, with no other route."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .forwarder import Forwarder
from .keys import Key, certify
from .lab import Lab
from .recording import RecordingServer
from .sshd import Sshd
from .users import User

CONNECTION = "bastion.ssh.jump"

#: A ProxyCommand without its arguments, a host and a port.
CONNECT = f"{sys.executable} {Path(__file__).with_name('connect.py')}"


def hop_name(index: int, count: int) -> str:
    """Return what messages call a hop of so many, the target included."""
    return "target" if index == count - 1 else f"jump host {index + 1} of {count - 1}"


@dataclass(frozen=True)
class Chain3:
    """Hold two bastions and a target; each server forwards only to the next one.

    With different credentials, a wants a password, b a key and the target a certificate, each for its own user.
    With the same key everywhere, only the users differ, so that a jump string is enough.
    """

    a: Sshd
    b: Sshd
    target: Sshd
    users: tuple[User, User, User]
    keys: tuple[Key, Key, Key]
    known_hosts: Path
    same_key: bool

    @property
    def hosts(self) -> tuple[Sshd, Sshd, Sshd]:
        """Return the servers in the order in which they are visited."""
        return self.a, self.b, self.target

    @property
    def jump_string(self) -> str:
        """Return the bastions as OpenSSH's -J takes them: user@host:port,user@host:port."""
        hops = zip(self.users[:2], (self.a, self.b), strict=True)
        return ",".join(f"{user.name}@{host.endpoint}" for user, host in hops)

    @property
    def jump_list(self) -> list[dict[str, Any]]:
        """Return the bastions as a list of dictionaries, each with the credential that it wants."""
        a, b = (
            {"host": host.address, "port": host.port, "user": user.name}
            for user, host in zip(self.users[:2], (self.a, self.b), strict=True)
        )
        password = {"password": self.users[0].password}
        key_a, key_b = ({"private_key_file": str(key.path)} for key in self.keys[:2])
        return [a | (key_a if self.same_key else password), b | key_b]

    @property
    def target_variables(self) -> dict[str, Any]:
        """Return the target's inventory variables without its jump hosts."""
        return {
            "ansible_connection": CONNECTION,
            "ansible_host": self.target.address,
            "ansible_port": self.target.port,
            "ansible_user": self.users[2].name,
            "ansible_ssh_private_key_file": str(self.keys[2].path),
        }

    @property
    def variables(self) -> dict[str, Any]:
        """Return the target's inventory variables, with a jump string for the same key and a list for different credentials."""
        return self.target_variables | {"ansible_ssh_jump": self.jump_string if self.same_key else self.jump_list}

    def inventory(self, name: str = "target", **variables: Any) -> dict[str, dict[str, Any]]:
        """Return an inventory of the target; further variables are added, None removes one.

        A target with several addresses is as many hosts: target1, target2 and so on.
        """
        merged = {key: value for key, value in (self.variables | variables).items() if value is not None}
        if len(self.target.addresses) == 1:
            return {name: merged}
        hosts = enumerate(self.target.addresses, start=1)
        return {f"{name}{number}": merged | {"ansible_host": address} for number, address in hosts}

    def over_links(self, lab: Lab) -> tuple[list[Forwarder], dict[str, Any]]:
        """Put a link that can be damaged before each server; return the links, and the variables of the route through them."""
        links = [lab.forwarder(host) for host in self.hosts]
        for host, link in zip(self.hosts, links[1:], strict=False):
            host.options["PermitOpen"] = link.endpoint
            host.reload()
        lines = [
            host.known_hosts_line(f"[{link.address}]:{link.port}") for host, link in zip(self.hosts, links, strict=True)
        ]
        lab.trust(*self.hosts, *lines)
        ends = [{"host": link.address, "port": link.port} for link in links]
        way = {"ansible_ssh_jump": [hop | end for hop, end in zip(self.jump_list, ends, strict=False)]}
        return links, self.variables | way | {"ansible_host": links[2].address, "ansible_port": links[2].port}

    def settle(self) -> None:
        """Wait until no server has a connection any more."""
        for host in self.hosts:
            host.settle()

    def login_counts(self) -> list[int]:
        """Return the number of successful logins at each server, in the order of the chain."""
        return [len(host.logins()) for host in self.hosts]


def chain_of_three(lab: Lab, *, same_key: bool = False, targets: int = 1, **options: Any) -> Chain3:
    """Start the three servers; targets: how many hosts the last one serves; options: of Lab.sshd(), for all three.

    Their host keys are in the known_hosts file of the home directory that Ansible runs with.
    """
    users = (lab.user("jump1"), lab.user("jump2"), lab.user("target"))
    if same_key:
        key = lab.key("everywhere")
        keys = (key, key, key)
        target = lab.sshd("t", users=users[2:], keys=[key], permit_open=[], count=targets, **options)
        b = lab.sshd("b", users=users[1:2], keys=[key], permit_open=target.endpoints, **options)
        a = lab.sshd("a", users=users[:1], keys=[key], permit_open=[b.endpoint], **options)
    else:
        keys = (lab.key("nowhere"), lab.key("bastion"), lab.key("target"))
        ca = lab.key("ca")
        certify(ca, keys[2], [users[2].name])
        target = lab.sshd("t", users=users[2:], ca=ca, permit_open=[], count=targets, **options)
        b = lab.sshd("b", users=users[1:2], keys=keys[1:2], permit_open=target.endpoints, **options)
        a = lab.sshd("a", users=users[:1], password=True, permit_open=[b.endpoint], **options)
    return Chain3(a, b, target, users, keys, lab.trust(a, b, target), same_key)


def place(server: Sshd | RecordingServer, user: User | str, **more: Any) -> dict[str, Any]:
    """Return the inventory variables of a server that is reached directly."""
    return {
        "ansible_connection": "bastion.ssh.jump",
        "ansible_host": server.address,
        "ansible_port": server.port,
        "ansible_user": user if isinstance(user, str) else user.name,
        **more,
    }


@dataclass(frozen=True)
class SameAddresses:
    """Hold four hosts that are easily confused; each has its name in $ANSWERS.

    ``east`` and ``west`` have the same private address behind different bastions, ``high`` and ``low`` two ports of one address.
    """

    bastions: list[RecordingServer]
    kinds: dict[str, dict[str, Any]]

    def inventory(self, count: int) -> dict[str, dict[str, Any]]:
        """Return an inventory with ``count`` names for each host, such as ``east-0``."""
        return {f"{name}-{number}": variables for number in range(count) for name, variables in self.kinds.items()}


def same_addresses(lab: Lab) -> SameAddresses:
    """Start the four hosts and two bastions."""
    user, key = lab.user("target"), lab.key("key")

    def named(name: str, **more: Any) -> Sshd:
        mark = f"BSSH_LAB={lab.path} ANSWERS={name}"
        return lab.sshd(name, users=[user], keys=[key], SetEnv=mark, MaxSessions=50, MaxStartups=100, **more)

    inside = [named("east"), named("west")]
    shared = lab.address()
    outside = [named("high", address=shared), named("low", address=shared)]
    private = ("10.1.2.3", 22)
    bastions = [
        lab.recorder(f"to-{server.name}", keys=[key], routes={private: (server.address, server.port)})
        for server in inside
    ]
    lines = [server.known_hosts_line(private[0]) for server in inside]
    lab.trust(*bastions, *outside, *lines)
    common = {"ansible_ssh_private_key_file": str(key.path)}
    kinds = {server.name: place(server, user, **common) for server in outside}
    for server, bastion in zip(inside, bastions, strict=True):
        hidden = {"ansible_host": private[0], "ansible_port": private[1]}
        kinds[server.name] = place(server, user, **common) | hidden | {"ansible_ssh_jump": f"edge@{bastion.endpoint}"}
    return SameAddresses(bastions, kinds)
