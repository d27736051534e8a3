# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""paramiko's Transport with what it leaves out: why the other side hung up, what it offered, exit signals."""

from __future__ import annotations

import logging
from typing import Any

from ..errors import said
from .library import paramiko

_MSG_CHANNEL_REQUEST = 98  # RFC 4254 section 9
_LOG = "bastion.ssh.paramiko"

#: What paramiko raises, in any call, when a connection has ended or is in trouble.
BROKEN = (paramiko.SSHException, EOFError, OSError)

# SHA-1 and what OpenSSH no longer offers either; with these gone, what is left of each list is sound.
_WEAK = {
    "kex": [
        "diffie-hellman-group1-sha1",
        "diffie-hellman-group14-sha1",
        "diffie-hellman-group-exchange-sha1",
    ],
    "keys": ["ssh-rsa", "ssh-dss", "ssh-rsa-cert-v01@openssh.com"],
    "pubkeys": ["ssh-rsa", "ssh-dss", "ssh-rsa-cert-v01@openssh.com"],
    "ciphers": ["aes128-cbc", "aes192-cbc", "aes256-cbc", "blowfish-cbc", "3des-cbc"],
    "macs": ["hmac-md5", "hmac-md5-96", "hmac-sha1-96"],
}


def _handle_request(channel: paramiko.Channel, message: paramiko.Message) -> None:
    """Keeps an exit signal (RFC 4254 section 6.10), which paramiko drops, and hands the request on."""
    if message.get_text() == "exit-signal":
        message.get_boolean()
        channel.exit_signal = said(message.get_binary(), 20)  # type: ignore[attr-defined]
    message.rewind()
    message.get_int()  # the channel's number, read before
    paramiko.Channel._handle_request(channel, message)  # type: ignore[attr-defined]


class HopTransport(paramiko.Transport):
    """One SSH connection to one hop, not yet authenticated.

    Strict key exchange is offered by default (CVE-2023-48795). Key exchange, login and channels take as long as their
    deadlines allow, so the library's own shorter limits are lifted.

    :param sock: a socket, or a channel of the hop before.
    """

    server_extensions: dict[str, bytes]  # of RFC 8308; paramiko sets it

    _channel_handler_table = {  # noqa: RUF012
        **paramiko.Transport._channel_handler_table,  # type: ignore[attr-defined]
        _MSG_CHANNEL_REQUEST: _handle_request,
    }

    def __init__(self, sock: Any) -> None:
        super().__init__(sock, disabled_algorithms=_WEAK)
        self.daemon = True
        # A channel of its own without handlers: nothing of paramiko's log is for users or for a log file.
        self.set_log_channel(_LOG)
        self.banner_timeout = self.handshake_timeout = self.auth_timeout = 86400.0
        #: Why the other side disconnected (RFC 4253 section 11.1), safe to show; empty if it did not say.
        self.disconnect_reason = ""
        #: Host key algorithms that the server offers, once the key exchange has begun.
        self.offered_host_keys: tuple[str, ...] = ()

    def _parse_disconnect(self, m: paramiko.Message) -> None:
        m.get_int()
        self.disconnect_reason = said(m.get_binary())

    def _really_parse_kex_init(self, m: paramiko.Message, ignore_first_byte: bool = False) -> Any:
        parsed = super()._really_parse_kex_init(m, ignore_first_byte)  # type: ignore[misc]
        if not ignore_first_byte:
            self.offered_host_keys = tuple(said(name, 60) for name in parsed["server_key_algo_list"])
        return parsed


def _silence() -> None:
    logger = logging.getLogger(_LOG)
    logger.addHandler(logging.NullHandler())
    logger.propagate = False


_silence()
