# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Questions to the log of an sshd that runs with LogLevel DEBUG1."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from .processes import wait_until


class Login(NamedTuple):
    """An attempt to log in, as sshd decided it."""

    user: str
    method: str


class Forward(NamedTuple):
    """A connection that sshd was asked to open for a client (direct-tcpip)."""

    host: str
    port: int


class SshdLog:
    """What one server saw. The file is complete for every connection that has ended."""

    def __init__(self, path: Path) -> None:
        self.log_path = path
        path.touch()

    def log(self) -> str:
        """The whole text, over all restarts."""
        return self.log_path.read_text(errors="replace")

    def count(self, text: str) -> int:
        """How many lines contain a text."""
        return sum(text in line for line in self.log().splitlines())

    def wait_log(self, pattern: str, timeout: float = 30, times: int = 1) -> list[re.Match[str]]:
        """Wait until lines match a regular expression so many times; return the matches."""

        def matches() -> list[re.Match[str]]:
            found = list(re.finditer(pattern, self.log(), re.MULTILINE))
            return found if len(found) >= times else []

        try:
            return wait_until(matches, timeout, f"{times} x {pattern!r} in {self.log_path}")
        except TimeoutError as error:
            raise TimeoutError(f"{error}\n{self.log()[-4000:]}") from None

    def connections(self, address: str = "") -> int:
        """How many TCP connections were accepted; on one address only, if told."""
        pattern = rf"^Connection from .* on {re.escape(address)} port " if address else r"^Connection from "
        return len(re.findall(pattern, self.log(), re.MULTILINE))

    def _attempts(self, verb: str) -> list[Login]:
        pattern = rf"^{verb} (\S+) for (?:invalid user )?(\S+) from "
        return [Login(user, method) for method, user in re.findall(pattern, self.log(), re.MULTILINE)]

    def logins(self, method: str = "") -> list[Login]:
        """The accepted logins, in order; of one method only, if told."""
        return [login for login in self._attempts("Accepted") if method in ("", login.method)]

    def failures(self, method: str = "") -> list[Login]:
        """The refused logins, in order; a public key that is not welcome counts. Of one method only, if told."""
        return [login for login in self._attempts("Failed") if method in ("", login.method)]

    def userauth_requests(self) -> list[Login]:
        """Every request to authenticate, the leading method "none" included."""
        pattern = r"userauth-request for user (\S*) service ssh-connection method (\S+)"
        return [Login(*found) for found in re.findall(pattern, self.log())]

    def agent_requests(self) -> int:
        """How often a client asked to forward its agent."""
        return self.count("request auth-agent-req@openssh.com")

    def forwards(self) -> list[Forward]:
        """Where clients asked to be connected to, whether that was permitted or not."""
        pattern = r"server_request_direct_tcpip: originator \S+ port \d+, target (\S+) port (\d+)"
        return [Forward(host, int(port)) for host, port in re.findall(pattern, self.log())]
