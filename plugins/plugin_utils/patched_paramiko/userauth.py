# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection.
"""paramiko's side of a login (RFC 4252, RFC 4256) with what it leaves out: answers that come early, and bounds."""

from __future__ import annotations

import threading
from typing import Any

from ..errors import sanitize
from .compat import paramiko
from .violation import Violation

_MSG_USERAUTH_REQUEST = 50  # RFC 4250 section 4.1.2

# What a login may hold. OpenSSH's client knows no bound for these but its deadline; where there is one in its server, it is that.
_BANNERS = 100
_BANNER = 4096  # bytes that are kept of one; a line of it is shown
_METHODS = 4096  # bytes of their names
_QUESTIONS = 100  # in one round (OpenSSH's auth2-chall.c: "too many replies")
_QUESTION = 4096  # bytes of one; a terminal of 24 lines has 1,920
_ROUNDS = 20


class Withheld(paramiko.SSHException):
    """The user's side has no answer to a question, and none was sent, so that the server counts no failure."""


class PasswordExpired(paramiko.SSHException):
    """The server wants the password to be changed first (RFC 4252 section 8); the words are its own, safe to show."""


class Userauth(paramiko.auth_handler.AuthOnlyHandler):
    """The library makes the event after it has sent the request, and so misses an answer that comes between.

    What a server says while it lets a user in is bounded; the deadline of the login is what bounds its time.
    """

    def __init__(self, transport: Any) -> None:
        super().__init__(transport)
        self._banners = self._rounds = 0

    @property
    def _client_handler_table(self) -> dict[int, Any]:
        """Nothing once the login is over: what comes then is answered as unknown, as OpenSSH's clientloop.c does."""
        return {} if self.authenticated else dict(super()._client_handler_table)  # type: ignore[misc]

    def send_auth_request(self, username: str, method: str, finish_message: Any = None) -> list[str]:
        """Sends a request (RFC 4252 section 5) and waits for its answer: methods still wanted, none if it is over."""
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
        """Asks for the methods (RFC 4252 section 5.2)."""
        return self.send_auth_request(username, "none", lambda _request: None)

    def _parse_userauth_success(self, m: paramiko.Message) -> None:
        self.transport.let_in()  # type: ignore[attr-defined]
        super()._parse_userauth_success(m)  # type: ignore[misc]

    def _parse_userauth_banner(self, m: paramiko.Message) -> None:
        self._banners += 1
        if self._banners > _BANNERS:
            raise Violation(f"it sent more than {_BANNERS} banners in one login")
        self.banner = m.get_binary()[:_BANNER]  # type: ignore[assignment]

    def _parse_userauth_failure(self, m: paramiko.Message) -> None:
        size = len(m.get_binary())
        if size > _METHODS:
            raise Violation(f"it sent a list of methods of {size} bytes, and {_METHODS} are the most")
        m.rewind()
        super()._parse_userauth_failure(m)  # type: ignore[misc]

    def _parse_userauth_info_request(self, m: paramiko.Message) -> None:
        if self.auth_method == "password":  # the number has another meaning then (RFC 4252 section 8)
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
        """Ends an attempt that the server has not ended: the next request takes its place (RFC 4252 section 5.1)."""
        self.transport.saved_exception = error
        self.auth_event.set()  # type: ignore[union-attr]

    def _check_questions(self, m: paramiko.Message) -> None:
        """Looks whether a round of questions is within its bounds (RFC 4256 section 3.2)."""
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
