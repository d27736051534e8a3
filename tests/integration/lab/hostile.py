# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run an SSH server that accepts any login and then breaks the protocol as planned, which no real server can be made to do."""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import paramiko
from paramiko.common import AUTH_FAILED, AUTH_SUCCESSFUL, OPEN_SUCCEEDED
from paramiko.server import InteractiveQuery

from .keys import known_hosts_name, make_key

Act = Callable[[Any], None]

# RFC 4250 section 4.1.2
CHANNEL_OPEN, CHANNEL_DATA, CHANNEL_EXTENDED_DATA, CHANNEL_REQUEST, CHANNEL_SUCCESS, CHANNEL_FAILURE = (
    90,
    94,
    95,
    98,
    99,
    100,
)

for _name in ("paramiko.hostile", "paramiko.sftp"):
    logging.getLogger(_name).setLevel(logging.CRITICAL + 1)


@dataclass(frozen=True)
class Plan:
    """Define what a hostile server does; most fields are functions to call.

    :param connected: called in place of SSH, with the socket.
    :param login: called when the login begins, with the transport.
    :param password: called before a password is refused, with the transport.
    :param opening: called before a channel is confirmed, with the transport.
    :param command: called when a command is run, with its channel, whose attribute ``command`` is the command line.
    :param sftp: called when SFTP is started, with its channel.
    :param methods: login methods that it offers; None accepts any login.
    :param ask: returns the questions of the next round; an empty list refuses the login.
    """

    connected: Act | None = None
    login: Act | None = None
    password: Act | None = None
    opening: Act | None = None
    command: Act | None = None
    sftp: Act | None = None
    methods: str | None = None
    ask: Callable[[], Sequence[str]] | None = None
    ciphers: Sequence[str] = ()
    macs: Sequence[str] = ()
    compression: bool = False


class _Interface(paramiko.ServerInterface):
    def __init__(self, plan: Plan, transport: paramiko.Transport) -> None:
        self._plan = plan
        self._transport = transport

    def get_allowed_auths(self, username: str) -> str:
        return self._plan.methods or "none"

    def get_banner(self) -> Any:
        if self._plan.login:
            self._plan.login(self._transport)
        return None, None

    def check_auth_none(self, username: str) -> int:
        return AUTH_SUCCESSFUL if self._plan.methods is None else AUTH_FAILED

    def check_auth_password(self, username: str, password: str) -> int:
        if self._plan.password:
            self._plan.password(self._transport)
        return AUTH_FAILED

    def check_auth_interactive(self, username: str, submethods: str) -> Any:
        return self.check_auth_interactive_response([])

    def check_auth_interactive_response(self, responses: Any) -> Any:
        assert self._plan.ask
        questions = self._plan.ask()
        return InteractiveQuery("", "", *((text, False) for text in questions)) if questions else AUTH_FAILED

    def check_channel_request(self, kind: str, chanid: int) -> int:
        if self._plan.opening:
            self._plan.opening(self._transport)
        return OPEN_SUCCEEDED

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        if self._plan.command:
            channel.__dict__["command"] = command
            self._in_thread(self._plan.command, channel)
        return self._plan.command is not None

    def check_channel_subsystem_request(self, channel: paramiko.Channel, name: str) -> bool:
        if self._plan.sftp:
            self._in_thread(self._plan.sftp, channel)
        return self._plan.sftp is not None

    def check_channel_forward_agent_request(self, channel: paramiko.Channel) -> bool:
        return True

    @staticmethod
    def _in_thread(act: Act, channel: Any) -> None:
        def run() -> None:
            with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
                send(channel, CHANNEL_SUCCESS, channel.remote_chanid)  # before paramiko's, which may come too late
                act(channel)

        threading.Thread(target=run, daemon=True).start()


class HostileServer:
    """Serve connections according to a plan, until closed."""

    def __init__(self, path: Path, address: str, port: int, plan: Plan) -> None:
        self.address = address
        self.port = port
        self._plan = plan
        #: Number of connections accepted.
        self.connections = 0
        path.mkdir(parents=True)
        self._key = make_key(path / "host_ed25519")
        self._listening = socket.create_server((address, port))
        self._open: list[Any] = []
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def __enter__(self) -> HostileServer:
        return self

    def __exit__(self, *_error: object) -> None:
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join()
        for each in self._open:
            each.close()

    def known_hosts_lines(self) -> list[str]:
        """Return the known_hosts line of its host key, as a list."""
        return [f"{known_hosts_name(self.address, self.port)} {self._key.public}"]

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _peer = self._listening.accept()
                self._open.append(sock)
                self.connections += 1
                threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
            if self._plan.connected:
                self._plan.connected(sock)
                return
            transport = paramiko.Transport(sock)
            transport.set_log_channel("paramiko.hostile")
            self._open.append(transport)
            transport.add_server_key(paramiko.Ed25519Key.from_private_key_file(str(self._key.path)))
            # paramiko's handler would close a channel on which a request was refused.
            handlers: dict[int, Any] = transport._channel_handler_table  # type: ignore[attr-defined]
            transport.__dict__["_channel_handler_table"] = handlers | {CHANNEL_FAILURE: lambda _channel, _message: None}
            security = transport.get_security_options()
            if self._plan.ciphers:
                security.ciphers = tuple(self._plan.ciphers)
            if self._plan.macs:
                security.digests = tuple(self._plan.macs)
            transport.use_compression(self._plan.compression)
            transport.start_server(server=_Interface(self._plan, transport))


def send(channel: Any, kind: int, *fields: int | bytes | bool | str) -> None:
    """Send a message of these fields on a transport, or on that of a channel, whatever its state."""
    message = paramiko.Message()
    message.add_byte(bytes([kind]))
    for field in fields:
        if isinstance(field, bool):
            message.add_boolean(field)
        elif isinstance(field, int):
            message.add_int(field)
        else:
            message.add_string(field)
    getattr(channel, "transport", channel)._send_message(message)


def ends(channel: Any, status: int = 0, words: bytes = b"") -> None:
    """End a command, after sending ``words`` to its stdout."""
    if words:
        channel.sendall(words)
    send(channel, CHANNEL_REQUEST, channel.remote_chanid, "exit-status", False, status)
    channel.close()


def lies_about_length(channel: Any, mebibytes: int = 64) -> None:
    """Announce a packet of almost 4 GiB, whatever the cipher is, and send ``mebibytes`` MiB of it, if the client reads so much."""
    packetizer = channel.transport.packetizer
    build = packetizer._build_packet
    packetizer._build_packet = lambda payload: (0xF000000C).to_bytes(4, "big") + build(payload)[4:]
    sends_on(lambda: send(channel, CHANNEL_DATA, channel.remote_chanid, bytes(32768)), mebibytes)


def sends_on(act: Callable[[], object], mebibytes: int = 16) -> None:
    """Repeat an action that sends 32 KiB until ``mebibytes`` MiB are sent."""
    for _number in range(32 * mebibytes):
        act()
