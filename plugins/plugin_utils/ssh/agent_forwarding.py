# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""An agent of the controller for commands on the target (ssh_config(5), ForwardAgent).

The library's own ends the connections of one command to the agent when another command begins on the same transport.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading

from ..chain.model import USUAL_AGENT
from .library import BROKEN, paramiko

_BLOCK = 16384


def offer_agent(channel: paramiko.Channel, agent: str) -> None:
    """Lets the command of a session use an agent, if the server wants that.

    :param agent: its socket, or the word for the one of the environment.
    """
    path = os.environ.get(USUAL_AGENT, "") if agent == USUAL_AGENT else os.path.expanduser(agent)

    def opened(remote: paramiko.Channel) -> None:
        try:
            threading.Thread(target=_carry, args=(remote, path), name="agent", daemon=True).start()
        except RuntimeError:  # no thread can be started
            remote.close()

    channel.request_forward_agent(opened)


def _carry(remote: paramiko.Channel, path: str) -> None:
    """One connection to the agent, until either side ends it."""
    with contextlib.suppress(*BROKEN), contextlib.closing(remote), socket.socket(socket.AF_UNIX) as agent:
        agent.connect(path)
        answers = threading.Thread(target=_answer, args=(agent, remote), name="agent-answers", daemon=True)
        answers.start()
        while data := remote.recv(_BLOCK):
            agent.sendall(data)
        agent.shutdown(socket.SHUT_WR)
        answers.join()


def _answer(agent: socket.socket, remote: paramiko.Channel) -> None:
    with contextlib.suppress(*BROKEN):
        while data := agent.recv(_BLOCK):
            remote.sendall(data)
    with contextlib.suppress(*BROKEN):
        remote.close()
