# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection.
"""Extend paramiko's client side of a login (RFC 4252, RFC 4256): early answers, and bounds."""

from __future__ import annotations

import threading
from typing import Any

from ..errors import sanitize
from .compat import paramiko
from .violation import Violation

_MSG_USERAUTH_REQUEST = 50  # RFC 4250 section 4.1.2

# Bounds of one login. OpenSSH's client has only a deadline; a bound that its server has is used here.
_BANNERS = 100
_BANNER = 4096  # bytes to keep of a banner, of which one line is shown
_METHODS = 4096  # bytes of a list of methods
_QUESTIONS = 100  # in one round (OpenSSH's auth2-chall.c: "too many replies")
_QUESTION = 4096  # bytes of a question; a terminal of 24 lines has 1,920
_ROUNDS = 20


class Withheld(paramiko.SSHException):
    """Signal that a question has no known answer. None was sent, so that the server counts no failure."""


class PasswordExpired(paramiko.SSHException):
    """Signal that the password must be changed first (RFC 4252 section 8). The text is the server's, sanitized."""


class Userauth(paramiko.auth_handler.AuthOnlyHandler):
    """Send login requests, and bound what the server sends; the login's deadline bounds the time.

    paramiko's AuthOnlyHandler (since 3.2) creates its event after sending the request, and misses an answer that comes in between.
    It bounds nothing.
    """

    def __init__(self, transport: Any) -> None:
        super().__init__(transport)
        self._banners = self._rounds = 0

    @property
    def _client_handler_table(self) -> dict[int, Any]:
        """Return no handlers once the login is over, so that messages get UNIMPLEMENTED, as from OpenSSH's clientloop.c.

        paramiko handles such messages during the whole connection.
        """
        return {} if self.authenticated else dict(super()._client_handler_table)  # type: ignore[misc]

    def send_auth_request(self, username: str, method: str, finish_message: Any = None) -> list[str]:
        """Send a request (RFC 4252 section 5) and wait for the answer. Return the methods still required; none after a login.

        Unlike paramiko, create the event before sending.
        """
        self.auth_method = method
        self.username = username
        self.auth_event = threading.Event()
        request = paramiko.Message()
        request.add_byte(bytes([_MSG_USERAUTH_REQUEST]))
        request.add_string(username)
        request.add_string("ssh-connection")
        request.add_string(method)
        finish_message(request)
        self.transport._send_message(request)  # type: ignore[attr-defined]
        return list(self.wait_for_response(self.auth_event))

    def auth_none(self, username: str) -> list[str]:  # type: ignore[override]
        """Request the list of methods (RFC 4252 section 5.2). paramiko's version (as of 5.1) calls None and raises TypeError."""
        return self.send_auth_request(username, "none", lambda _request: None)

    def _parse_userauth_success(self, m: paramiko.Message) -> None:
        # Before paramiko wakes the thread that waits for the login.
        self.transport.let_in()  # type: ignore[attr-defined]
        super()._parse_userauth_success(m)  # type: ignore[misc]

    def _parse_userauth_banner(self, m: paramiko.Message) -> None:
        # paramiko keeps the whole banner, and accepts any number.
        self._banners += 1
        if self._banners > _BANNERS:
            raise Violation(f"it sent more than {_BANNERS} banners in one login")
        self.banner = m.get_binary()[:_BANNER]  # type: ignore[assignment]

    def _parse_userauth_failure(self, m: paramiko.Message) -> None:
        # paramiko splits a list of any length.
        size = len(m.get_binary())
        if size > _METHODS:
            raise Violation(f"it sent a list of methods of {size} bytes, and {_METHODS} are the most")
        m.rewind()
        super()._parse_userauth_failure(m)  # type: ignore[misc]

    def _parse_userauth_info_request(self, m: paramiko.Message) -> None:
        # paramiko accepts any number of rounds and questions, and lets the handler's errors end the connection. After a password
        # it raises, too, though the message is PASSWD_CHANGEREQ then (RFC 4252 section 8).
        if self.auth_method == "password":
            self._end_attempt(PasswordExpired(sanitize(m.get_binary())))
            return
        if self.auth_method == "keyboard-interactive":
            self._check_questions(m)
            m.rewind()
        try:
            super()._parse_userauth_info_request(m)  # type: ignore[misc]
        except Withheld as error:
            self._end_attempt(error)

    def _end_attempt(self, error: Exception) -> None:
        """End an attempt that the server has not ended; the next request replaces it (RFC 4252 section 5.1)."""
        self.transport.saved_exception = error
        self.auth_event.set()  # type: ignore[union-attr]

    def _check_questions(self, m: paramiko.Message) -> None:
        """Raise Violation if a round of questions exceeds its bounds (RFC 4256 section 3.2)."""
        self._rounds += 1
        if self._rounds > _ROUNDS:
            raise Violation(f"it asked more than {_ROUNDS} times in one login")
        for _text in ("name", "instruction", "language"):
            m.get_binary()
        count = m.get_int()
        if count > _QUESTIONS:
            raise Violation(f"it asked {count} questions at once, and {_QUESTIONS} are the most")
        for _question in range(count):
            size = len(m.get_binary())
            if size > _QUESTION:
                raise Violation(f"it asked a question of {size} bytes, and {_QUESTION} are the most")
            m.get_boolean()
