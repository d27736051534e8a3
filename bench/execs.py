# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One command through connections that exist, from client to client, without Ansible."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

from lab.client import ssh_config

from .contenders import contender, in_turn, plain_config
from .network import Network
from .plugins import plugin

ROUNDS = 8
BLOCK = 25  # commands of one client before it is the next one's turn

TITLES = {
    "ssh": "ssh -S through a master",
    "broker": "bastion.ssh.jump: a client of the broker",
    "own": "bastion.ssh.jump: a session in the same process",
}

Block = Callable[[int], list[float]]  # seconds of so many commands


class NotAvailable(Exception):
    """A client that does not exist here; the text says why."""


@contextlib.contextmanager
def through_master(network: Network) -> Iterator[Block]:
    """A process of ssh for each command, through a master that waits."""
    address, port = network.places[0]
    env = network.lab.environment()
    to = ["-l", network.users[2].name, "-p", str(port), address]
    socket = str(network.lab.path / "master")
    master = ["ssh", "-F", str(plain_config(network)), "-i", str(network.key.path), "-J", "a,b", "-MNf", "-S", socket]
    # Not -f alone: without its output closed, we would wait for the master.
    subprocess.run([*master, *to], env=env, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL)  # fmt: skip
    command = ["ssh", "-F", str(ssh_config(network.lab, {}, "ssh_config.none")), "-S", socket, *to, "true"]

    def one() -> float:
        start = time.monotonic()
        subprocess.run(command, env=env, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        return time.monotonic() - start

    try:
        yield lambda count: [one() for _command in range(count)]
    finally:
        subprocess.run(["ssh", "-F", "none", "-S", socket, "-O", "exit", *to], env=env, check=False,
                       stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip


@contextlib.contextmanager
def through_broker(network: Network) -> Iterator[Block]:
    """A client of the broker, which has the connections."""
    with _jump(network, {}, "BrokerSession") as block:
        yield block


@contextlib.contextmanager
def in_own_process(network: Network) -> Iterator[Block]:
    """A session of the process itself, over connections of its own."""
    with _jump(network, {"ansible_ssh_persist": 0}, "DirectSession") as block:
        yield block


@contextlib.contextmanager
def _jump(network: Network, variables: dict[str, Any], session: str) -> Iterator[Block]:
    with plugin(network, contender("jump", network), variables, alone=False) as ask:
        if (found := ask("session")) != session:
            raise NotAvailable(f"the plugin has a {found}, not a {session}")
        yield lambda count: list(ask("exec", count))


CLIENTS = {"ssh": through_master, "broker": through_broker, "own": in_own_process}


def exec_rounds(network: Network, rounds: int, missing: dict[str, str]) -> Iterator[dict[str, Any]]:
    """A row for each block of commands; what is not available is told in missing."""
    with contextlib.ExitStack() as stack:
        ready: dict[str, Block] = {}
        for name, client in CLIENTS.items():
            try:
                ready[name] = stack.enter_context(client(network))
            except NotAvailable as error:
                missing[f"exec {name}"] = str(error)
        for number in range(rounds):
            for name, block in in_turn(list(ready.items()), number):
                block(1)  # the first one finds cold caches
                yield {"client": name, "round": number, "wall": block(BLOCK)}
