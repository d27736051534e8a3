# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Search the log of an sshd that runs with LogLevel DEBUG1."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from .processes import wait_until


class Login(NamedTuple):
    """Record an attempt to log in, as logged by sshd."""

    user: str
    method: str


class Forward(NamedTuple):
    """Record a connection that a client asked sshd to open (direct-tcpip)."""

    host: str
    port: int


class SshdLog:
    """Search the log of one server, which is complete for every connection that has ended."""

    def __init__(self, path: Path) -> None:
        self.log_path = path
        path.touch()

    def log(self) -> str:
        """Return the whole text, across restarts."""
        return self.log_path.read_text(errors="replace")

    def count(self, text: str) -> int:
        """Return how many lines contain a text."""
        return sum(text in line for line in self.log().splitlines())

    def wait_log(self, pattern: str, timeout: float = 30, times: int = 1) -> list[re.Match[str]]:
        """Wait until a regular expression matches at least ``times`` times; return the matches."""

        def matches() -> list[re.Match[str]]:
            found = list(re.finditer(pattern, self.log(), re.MULTILINE))
            return found if len(found) >= times else []

        try:
            return wait_until(matches, timeout, f"{times} x {pattern!r} in {self.log_path}")
        except TimeoutError as error:
            raise TimeoutError(f"{error}\n{self.log()[-4000:]}") from None

    def connections(self, address: str = "") -> int:
        """Return how many TCP connections were accepted, on one address or on all."""
        pattern = rf"^Connection from .* on {re.escape(address)} port " if address else r"^Connection from "
        return len(re.findall(pattern, self.log(), re.MULTILINE))

    def _attempts(self, verb: str) -> list[Login]:
        pattern = rf"^{verb} (\S+) for (?:invalid user )?(\S+) from "
        return [Login(user, method) for method, user in re.findall(pattern, self.log(), re.MULTILINE)]

    def logins(self, method: str = "") -> list[Login]:
        """Return the accepted logins in order, of one method or of all."""
        return [login for login in self._attempts("Accepted") if method in ("", login.method)]

    def failures(self, method: str = "") -> list[Login]:
        """Return the refused logins in order, of one method or of all; each public key that is not accepted counts."""
        return [login for login in self._attempts("Failed") if method in ("", login.method)]

    def userauth_requests(self) -> list[Login]:
        """Return every authentication request, including the initial method "none"."""
        pattern = r"userauth-request for user (\S*) service ssh-connection method (\S+)"
        return [Login(*found) for found in re.findall(pattern, self.log())]

    def agent_requests(self) -> int:
        """Return how often a client asked to forward its agent."""
        return self.count("request auth-agent-req@openssh.com")

    def forwards(self) -> list[Forward]:
        """Return the destinations that clients asked for, whether permitted or not."""
        pattern = r"server_request_direct_tcpip: originator \S+ port \d+, target (\S+) port (\d+)"
        return [Forward(host, int(port)) for host, port in re.findall(pattern, self.log())]
