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

from .contenders import contender, plain_config
from .network import Network

ROUNDS = 8
BLOCK = 25  # commands of one client before it is the next one's turn

TITLES = {
    "ssh": "ssh -S through a master",
    "broker": "bastion.ssh.jump: a client of the broker",
    "own": "bastion.ssh.jump: a session in the same process",
}

Exec = Callable[[], None]


class NotAvailable(Exception):
    """A client that does not exist here; the text says why."""


@contextlib.contextmanager
def through_master(network: Network) -> Iterator[Exec]:
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

    def one() -> None:
        subprocess.run(command, env=env, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)

    try:
        yield one
    finally:
        subprocess.run(["ssh", "-F", "none", "-S", socket, "-O", "exit", *to], env=env, check=False,
                       stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip


@contextlib.contextmanager
def through_broker(_network: Network) -> Iterator[Exec]:
    """A client of the broker, which has the connections."""
    raise NotAvailable("there is no broker yet")
    yield


@contextlib.contextmanager
def in_own_process(network: Network) -> Iterator[Exec]:
    """A session of this process over connections of its own: no second process has a part in it."""
    try:
        from sessions import opened  # of the integration tests
    except ImportError as error:
        raise NotAvailable(str(error)) from None
    address, port = network.places[0]
    variables = dict(contender("jump", network).variables)
    hop_key = variables.pop("ansible_ssh_jump_private_key_file")
    users = [user.name for user in network.users[:2]]
    variables |= {
        "ansible_host": address,
        "ansible_port": port,
        "ansible_ssh_jump": [
            {"host": server.address, "port": server.port, "user": user, "private_key_file": hop_key}
            for server, user in zip((network.a, network.b), users, strict=True)
        ],
    }
    with opened(network.lab, variables) as session:

        def one() -> None:
            if session.run("true").status:
                raise RuntimeError("true failed")

        yield one


CLIENTS = {"ssh": through_master, "broker": through_broker, "own": in_own_process}


def exec_rounds(network: Network, rounds: int, missing: dict[str, str]) -> Iterator[dict[str, Any]]:
    """A row for each block of commands; what is not available is told in missing."""
    with contextlib.ExitStack() as stack:
        ready: dict[str, Exec] = {}
        for name, client in CLIENTS.items():
            try:
                ready[name] = stack.enter_context(client(network))
            except NotAvailable as error:
                missing[f"exec {name}"] = str(error)
        for number in range(rounds):
            for name, one in ready.items():
                one()  # the first of a block finds cold caches
                yield {"client": name, "round": number, "wall": [_seconds(one) for _command in range(BLOCK)]}


def _seconds(one: Exec) -> float:
    start = time.monotonic()
    one()
    return time.monotonic() - start
