# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bastions and targets, with a link that can be damaged before each of them, whoever connects to it."""

from __future__ import annotations

import hashlib
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from lab import Forwarder, Key, Lab, Sshd, User, known_hosts_name

from .plan import SIZES
from .tasks import Place, Store

#: How many hosts are reached in which way.
WAYS = {"direct": 1, "proxied": 2, "a": 4, "a-b": 5, "c-b": 3, "c": 2}
PROXY_COMMAND = "nc %h %p"

#: Seconds: short, as everything has to happen often.
PERSIST = 6
ALIVE = {"ansible_ssh_server_alive_interval": 1, "ansible_ssh_server_alive_count_max": 3}
TIMEOUT = 10


@dataclass(frozen=True)
class Network:
    """All that there is.

    :param links: name -> what stands before a server, such as ``a`` (from the controller), ``a-b`` and ``host:a1``.
    :param first: the names of the links that begin at the controller.
    """

    lab: Lab
    servers: dict[str, Sshd]
    links: dict[str, Forwarder]
    first: tuple[str, ...]
    places: dict[str, Place]
    inventory: dict[str, Any]
    store: Store

    def moved(self) -> int:
        """Bytes that have gone over the links of the controller, both ways."""
        return sum(sum(self.links[name].passed.values()) for name in self.first)

    def logins(self) -> dict[str, int]:
        """How often each server has let somebody in."""
        return {name: len(server.logins()) for name, server in self.servers.items()}

    def sessions(self) -> int:
        """How many commands, and transfers, all servers have started."""
        return sum(server.count("Starting session: ") for server in self.servers.values())


def build(lab: Lab, seed: int) -> Network:
    """Start everything."""
    users = {name: lab.user(role) for name, role in zip("abct", ("jump1", "jump2", "jump3", "target"), strict=True)}
    key = lab.key("everywhere")
    servers = _servers(lab, users, key)
    links = {name: lab.forwarder(servers[name]) for name in ("a", "c")}
    links |= {name: lab.forwarder(servers["b"]) for name in ("a-b", "c-b")}
    places: dict[str, Place] = {}
    hosts: dict[str, dict[str, Any]] = {}
    lines = [servers[name[-1]].known_hosts_line(_known(link)) for name, link in links.items()]
    for name, server, address, way in _targets(servers):
        links[f"host:{name}"] = link = lab.forwarder((address, server.port))
        lines.append(server.known_hosts_line(_known(link)))
        places[name] = _place(lab, name, address)
        hosts[name] = _variables(link, places[name]) | _way(way, links, users, key)
    lab.trust(*lines)
    common = {
        "ansible_connection": "bastion.ssh.jump",
        "ansible_user": users["t"].name,
        "ansible_ssh_private_key_file": str(key.path),
        "ansible_ssh_timeout": TIMEOUT,
        "ansible_ssh_persist": PERSIST,
        **ALIVE,
    }
    inventory = {"all": {"hosts": hosts, "vars": common}}
    first = ("a", "c", *(f"host:{name}" for name in hosts if name.startswith(("direct", "proxied"))))
    return Network(lab, servers, links, first, places, inventory, _store(lab, seed))


def _servers(lab: Lab, users: dict[str, User], key: Key) -> dict[str, Sshd]:
    """Bastions a, b and c, and two servers that play all targets. Much is going on, so they get room for it."""
    # Not the debug log of the tests, which would be long; keys are exchanged anew every few MiB (RFC 4253, 9).
    common: dict[str, Any] = {"keys": [key], "LogLevel": "VERBOSE", "RekeyLimit": "4M", "MaxStartups": "200"}
    if _has_penalties():
        common["PerSourcePenalties"] = False
    names = sum(WAYS.values())
    counts = {"t": names - names // 2, "u": names // 2}
    servers = {name: lab.sshd(name, users=[users[name]], **common) for name in "abc"}
    room: dict[str, Any] = {"users": [users["t"]], "MaxSessions": 2}  # so that a host may need a second connection
    return servers | {name: lab.sshd(name, count=count, **room, **common) for name, count in counts.items()}


def _has_penalties() -> bool:
    """Whether sshd shuts out whoever's sessions end badly, which all sessions here may (OpenSSH 9.8)."""
    told = subprocess.run(["ssh", "-V"], stderr=subprocess.PIPE, text=True, check=True).stderr
    found = re.search(r"OpenSSH_(\d+)\.(\d+)", told)
    return found is not None and (int(found[1]), int(found[2])) >= (9, 8)


def _targets(servers: dict[str, Sshd]) -> list[tuple[str, Sshd, str, str]]:
    """Name, server, address and way of each."""
    names = [(f"{way}{number}", way) for way, count in WAYS.items() for number in range(1, count + 1)]
    ends = [(servers[name], address) for name in "tu" for address in servers[name].addresses]
    return [(name, server, address, way) for (name, way), (server, address) in zip(names, ends, strict=True)]


def _known(link: Forwarder) -> str:
    return known_hosts_name(link.address, link.port)


def _place(lab: Lab, name: str, address: str) -> Place:
    path = lab.path / "soak" / name
    place = Place(address, path / "ledger", path / "files")
    place.files.mkdir(parents=True)
    place.files.chmod(0o1777)
    place.ledger.touch()
    place.ledger.chmod(0o666)
    return place


def _variables(link: Forwarder, place: Place) -> dict[str, Any]:
    return {
        "ansible_host": link.address,
        "ansible_port": link.port,
        "soak_ledger": str(place.ledger),
        "soak_files": str(place.files),
    }


def _way(way: str, links: dict[str, Forwarder], users: dict[str, User], key: Key) -> dict[str, Any]:
    def hop(name: str) -> dict[str, Any]:
        link = links[name]
        user = users[name[-1]].name
        return {"host": link.address, "port": link.port, "user": user, "private_key_file": str(key.path)}

    if way == "direct":
        return {"ansible_ssh_jump": "none"}
    if way == "proxied":
        return {"ansible_proxy_command": PROXY_COMMAND}
    if way == "c":
        return {"ansible_ssh_jump": [hop("c") | {"proxy_command": PROXY_COMMAND}]}
    first, _dash, second = way.partition("-")
    return {"ansible_ssh_jump": [hop(first), *([hop(way)] if second else [])]}


def _store(lab: Lab, seed: int) -> Store:
    """Files of all sizes, made of the seed."""
    sources, fetched = lab.path / "soak/sources", lab.path / "soak/fetched"
    sources.mkdir()
    fetched.mkdir()
    digests: dict[int, str] = {}
    for size in SIZES:
        content = Random(f"{seed} file {size}").randbytes(size)
        (sources / str(size)).write_bytes(content)
        digests[size] = hashlib.sha256(content).hexdigest()
    return Store(sources, fetched, digests)


def file_digest(path: Path) -> str:
    """SHA-256; empty without such a file."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except FileNotFoundError:
        return ""
