# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is compared: connection plugins, each set up for the same way through two bastions."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from lab.client import ssh_config

from . import ROOT
from .network import Network

T = TypeVar("T")

OTHERS = ROOT / ".build/bench/others"

TITLES = {
    "local": "connection: local, Ansible's own floor",
    "ssh": "ansible.builtin.ssh: ProxyJump, ControlPersist to the target, default arguments",
    "ssh-hops": "ansible.builtin.ssh: ControlMaster on the hops, too (ssh_config), no compression, 5 retries",
    "jump": "bastion.ssh.jump",
    "libssh": "ansible.netcommon.libssh: proxy command, host keys not checked",
    "mitogen": "mitogen: mitogen_linear, mitogen_via; needs Python and a key on the bastions",
}
FLOOR = "local"
RIVAL = "ssh"
OURS = "jump"
KEEP = ("ssh", "ssh-hops", "jump")  # have connections of an earlier run; for the others each run is the first
SLOW = ("libssh", "mitogen")  # a single round, and not with a hundred hosts


@dataclass(frozen=True)
class Contender:
    """A connection plugin with the settings that it needs."""

    name: str
    variables: Mapping[str, Any]
    env: Mapping[str, str] = field(default_factory=dict)
    bastions: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def in_turn(items: Sequence[T], number: int) -> list[T]:
    """Those of one round; each round begins with another, so that none always has the same one before it."""
    start = number % len(items)
    return [*items[start:], *items[:start]]


def why_missing(name: str) -> str | None:
    """What keeps a contender from being measured here."""
    if name == "libssh" and not (OTHERS / "collections/ansible_collections/ansible/netcommon").is_dir():
        return _said(name, "the collection ansible.netcommon could not be had")
    module = {"libssh": "pylibsshext", "mitogen": "ansible_mitogen"}.get(name)
    if module and importlib.util.find_spec(module) is None:
        return _said(name, f"the Python package {module} could not be installed")
    return None


def _said(name: str, otherwise: str) -> str:
    log = OTHERS / f"{name}.log"
    lines = log.read_text().splitlines() if log.exists() else []
    return lines[-1] if lines else otherwise


def contender(name: str, network: Network) -> Contender:
    """One of TITLES, for a network."""
    return _MAKERS[name](network)


def _login(network: Network) -> dict[str, Any]:
    return {"ansible_user": network.users[2].name, "ansible_ssh_private_key_file": str(network.key.path)}


def _hops(network: Network, **more: object) -> dict[str, dict[str, object]]:
    """The bastions for ssh_config, as Host a and Host b."""
    return {
        name: {
            "HostName": server.address,
            "Port": server.port,
            "User": user.name,
            "IdentityFile": network.key.path,
            "IdentitiesOnly": "yes",
            **more,
        }
        for name, server, user in zip("ab", (network.a, network.b), network.users[:2], strict=True)
    }


def plain_config(network: Network) -> Path:
    """Knows the bastions by the names a and b; says no way."""
    return ssh_config(network.lab, _hops(network), "ssh_config")


def _local(network: Network) -> Contender:
    return Contender("local", {"ansible_connection": "local"})


def _ssh(network: Network) -> Contender:
    way = {"ansible_connection": "ssh", "ansible_ssh_common_args": f"-F {plain_config(network)} -o ProxyJump=a,b"}
    return Contender("ssh", _login(network) | way)


def _ssh_hops(network: Network) -> Contender:
    # %n, as the path of a socket must be short; in HOME, as each measurement has its own.
    kept = {"ControlMaster": "auto", "ControlPersist": "60s", "ControlPath": "${HOME}/.ansible/cp/hop-%n"}
    hosts = _hops(network, **kept)
    hosts["b"]["ProxyJump"] = "a"
    hosts["127.*"] = {"ProxyJump": "b"}
    way = {
        "ansible_connection": "ssh",
        "ansible_ssh_retries": 5,
        "ansible_ssh_args": "-o ControlMaster=auto -o ControlPersist=60s",
        "ansible_ssh_common_args": f"-F {ssh_config(network.lab, hosts, 'ssh_config.hops')}",
    }
    return Contender("ssh-hops", _login(network) | way)


def _jump(network: Network) -> Contender:
    way = {
        "ansible_connection": "bastion.ssh.jump",
        "ansible_ssh_jump": network.jump_string,
        "ansible_ssh_jump_private_key_file": str(network.key.path),
    }
    return Contender("jump", _login(network) | way)


def _libssh(network: Network) -> Contender:
    way = {
        "ansible_connection": "ansible.netcommon.libssh",
        "ansible_libssh_proxy_command": f"ssh -F {plain_config(network)} -J a -W %h:%p b",
        "ansible_libssh_config_file": "/dev/null",
        "ansible_host_key_checking": False,  # libssh reads known_hosts of the home in passwd only, whatever HOME says
    }
    paths = f"{OTHERS}/collections:{os.environ.get('ANSIBLE_COLLECTIONS_PATH', '')}"
    return Contender("libssh", _login(network) | way, {"ANSIBLE_COLLECTIONS_PATH": paths})


def _mitogen(network: Network) -> Contender:
    """Its strategy replaces the plugin ssh. Its processes on the bastions run ssh to the next hop, so each bastion has to
    hold a key that its user can read.
    """
    keys = network.lab.path / "mitogen"
    for user in network.users[:2]:
        path = keys / user.name / "key"
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(network.key.path, path)
        shutil.chown(path, user.uid, user.gid)
    known_hosts = shutil.copy(network.lab.home / ".ssh/known_hosts", keys / "known_hosts")
    Path(known_hosts).chmod(0o644)
    (keys / "root").mkdir(exist_ok=True)
    shutil.copy(network.key.path, keys / "root/key")
    config = keys / "ssh_config"
    config.write_text(f"IdentityFile {keys}/%u/key\nUserKnownHostsFile {known_hosts}\nGlobalKnownHostsFile none\n")
    spec = importlib.util.find_spec("ansible_mitogen")
    assert spec
    assert spec.origin
    strategies = Path(spec.origin).parent / "plugins/strategy"
    common = {"ansible_connection": "ssh", "ansible_ssh_common_args": f"-F {config}"}
    bastions = {
        name: common | {"ansible_host": server.address, "ansible_port": server.port, "ansible_user": user.name}
        for name, server, user in zip("ab", (network.a, network.b), network.users[:2], strict=True)
    }
    bastions["b"]["mitogen_via"] = "a"
    target = common | {"ansible_user": network.users[2].name, "mitogen_via": "b"}
    env = {"ANSIBLE_STRATEGY_PLUGINS": str(strategies), "ANSIBLE_STRATEGY": "mitogen_linear"}
    return Contender("mitogen", target, env, bastions)


_MAKERS = {
    "local": _local,
    "ssh": _ssh,
    "ssh-hops": _ssh_hops,
    "jump": _jump,
    "libssh": _libssh,
    "mitogen": _mitogen,
}
