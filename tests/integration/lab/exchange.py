# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run an SSH server whose key exchanges a test can change. It accepts every login, and answers each command with ``done``."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import paramiko

from .keys import known_hosts_name

#: A function that changes a transport.
Bend = Callable[[Any], None]


class _Anybody(paramiko.ServerInterface):
    def __init__(self, transport: paramiko.Transport, before_the_end: Bend) -> None:
        self._transport = transport
        self._before_the_end = before_the_end

    def get_allowed_auths(self, username: str) -> str:
        return "publickey"

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        return paramiko.common.AUTH_SUCCESSFUL

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return paramiko.common.OPEN_SUCCEEDED

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        threading.Thread(target=self._end, args=(channel,), daemon=True).start()
        return True

    def _end(self, channel: paramiko.Channel) -> None:
        with contextlib.suppress(paramiko.SSHException, EOFError, OSError):
            channel.recv(1)  # end of stdin, which the client sends once the command has started
            self._before_the_end(self._transport)
            channel.sendall(b"done\n")
            channel.send_exit_status(0)
            channel.close()


class Exchanger:
    """Listen until the context is left."""

    def __init__(self, address: str, port: int, key: paramiko.PKey, bend: Bend, before_the_end: Bend) -> None:
        """Start listening; bend: changes a transport before it starts; before_the_end: the same before a command ends."""
        self.address = address
        self.port = port
        self._key = key
        self._bend = bend
        self._before_the_end = before_the_end
        self._listening = socket.create_server((address, port))
        self._transports: list[paramiko.Transport] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def __enter__(self) -> Exchanger:
        return self

    def __exit__(self, *_error: object) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        for transport in self._transports:
            transport.close()

    @property
    def endpoint(self) -> str:
        """Return address and port."""
        return f"{self.address}:{self.port}"

    def known_hosts_line(self) -> str:
        """Return the known_hosts line of its host key."""
        return f"{known_hosts_name(self.address, self.port)} {self._key.get_name()} {self._key.get_base64()}"

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                transport = paramiko.Transport(self._listening.accept()[0])
                self._transports.append(transport)
                transport.add_server_key(self._key)
                self._bend(transport)
                with contextlib.suppress(paramiko.SSHException, EOFError, OSError):
                    transport.start_server(threading.Event(), _Anybody(transport, self._before_the_end))


def renew_keys(transport: Any) -> None:
    """Run another key exchange on a connection, and wait until it or the connection ends."""
    transport.renegotiate_keys()
    while transport.in_kex and transport.is_active():
        time.sleep(0.01)
