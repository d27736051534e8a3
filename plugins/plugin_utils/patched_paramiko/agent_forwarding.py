# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection.
"""Forward an agent of the controller to commands on the target (ssh_config(5), ForwardAgent).

This replaces paramiko's AgentRequestHandler, which closes one command's connections to the agent when another command begins on the
same transport.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time

from ..chain.model import USUAL_AGENT
from ..deadline import Deadline
from .channel import HopChannel
from .compat import BROKEN, paramiko

_BLOCK = 16384
_CONNECT = 10.0  # seconds for an agent whose listen queue is full; OpenSSH's authfd.c has no limit
_PAUSE = 0.05


def offer_agent(channel: paramiko.Channel, agent: str) -> None:
    """Request that the server forward an agent to the command of a session.

    :param agent: the path of its socket, or SSH_AUTH_SOCK for that of the environment.
    """
    path = os.environ.get(USUAL_AGENT, "") if agent == USUAL_AGENT else os.path.expanduser(agent)
    channel.request_forward_agent(lambda remote: _connected(remote, path))  # type: ignore[arg-type]  # it is a HopChannel


def _connected(remote: HopChannel, path: str) -> threading.Thread | None:
    """Start a thread that carries one connection to the agent. Return it; None if no descriptor or thread is left."""
    try:
        agent = socket.socket(socket.AF_UNIX)
    except OSError:
        remote.close()
        return None
    closing = threading.Lock()  # else shutdown() may hit a reused descriptor, perhaps another host's

    def shut_down() -> None:
        with closing, contextlib.suppress(OSError):
            agent.shutdown(socket.SHUT_RDWR)

    def carry() -> None:
        try:
            with contextlib.suppress(RuntimeError, *BROKEN), contextlib.closing(remote):  # no thread can be started
                _carry(remote, agent, path)
        finally:
            with closing:
                agent.close()

    remote.on_close = shut_down
    carrier = threading.Thread(target=carry, name="agent", daemon=True)
    try:
        carrier.start()
    except RuntimeError:  # no thread can be started
        agent.close()
        remote.close()
        return None
    return carrier


def _carry(remote: HopChannel, agent: socket.socket, path: str) -> None:
    """Carry one connection to the agent until either side ends it."""
    _connect(agent, path, remote)
    if remote.closed:  # closed before shut_down() had a connection to end
        return
    answers = threading.Thread(target=_answer, args=(agent, remote), name="agent-answers", daemon=True)
    answers.start()
    try:
        while data := remote.recv(_BLOCK):
            agent.sendall(data)
        agent.shutdown(socket.SHUT_WR)
    except BROKEN:
        remote.close()
    answers.join()


def _connect(agent: socket.socket, path: str, remote: HopChannel) -> None:
    """Connect to the agent. Poll, as a blocking connect() to a full listen queue cannot be interrupted."""
    deadline = Deadline(_CONNECT)
    agent.setblocking(False)
    while True:
        try:
            agent.connect(path)
            break
        except BlockingIOError:
            if remote.closed or deadline.expired:
                raise
            time.sleep(_PAUSE)
    agent.setblocking(True)


def _answer(agent: socket.socket, remote: paramiko.Channel) -> None:
    with contextlib.suppress(*BROKEN):
        while data := agent.recv(_BLOCK):
            remote.sendall(data)
    with contextlib.suppress(*BROKEN):
        remote.close()
