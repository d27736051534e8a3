# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection.
"""An agent of the controller for commands on the target (ssh_config(5), ForwardAgent).

The library's own ends the connections of one command to the agent when another command begins on the same transport.
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
_CONNECT = 10.0  # seconds for an agent whose queue is full; OpenSSH's authfd.c waits for ever
_PAUSE = 0.05


def offer_agent(channel: paramiko.Channel, agent: str) -> None:
    """Lets the command of a session use an agent, if the server wants that.

    :param agent: its socket, or the word for the one of the environment.
    """
    path = os.environ.get(USUAL_AGENT, "") if agent == USUAL_AGENT else os.path.expanduser(agent)
    channel.request_forward_agent(lambda remote: _connected(remote, path))  # type: ignore[arg-type]  # it is a HopChannel


def _connected(remote: HopChannel, path: str) -> threading.Thread | None:
    """The thread that lives for as long as a connection to the agent takes anything; None if there is no room for it."""
    try:
        agent = socket.socket(socket.AF_UNIX)
    except OSError:
        remote.close()
        return None
    closing = threading.Lock()  # else what is shut down may have the same number and be another host's

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
    """One connection to the agent, until either side ends it."""
    _connect(agent, path, remote)
    if remote.closed:  # before there was anything to shut down
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
    """Connects; nothing but time wakes a thread that waits for room in the queue of a Unix socket."""
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
