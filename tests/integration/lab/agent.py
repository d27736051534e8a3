# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run a separate ssh-agent."""

from __future__ import annotations

import re
import socket
import subprocess
from pathlib import Path

from . import processes
from .keys import Key
from .machine import MARK

SIGN_REQUEST = 13


class Agent:
    """Run an ssh-agent that logs its requests."""

    def __init__(self, path: Path, mark: str) -> None:
        self.path = path
        self.socket = path / "socket"
        self._log = path / "log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                ["ssh-agent", "-d", "-a", str(self.socket)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
                env={"PATH": "/usr/bin:/bin", MARK: mark},
            )
        processes.wait_until(self._listens, 30, f"ssh-agent listening on {self.socket}")

    def __enter__(self) -> Agent:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def _listens(self) -> bool:
        """Return whether it accepts connections, which it does shortly after it has bound its socket."""
        with socket.socket(socket.AF_UNIX) as client:
            return client.connect_ex(str(self.socket)) == 0

    @property
    def env(self) -> dict[str, str]:
        """Return what a client needs in its environment."""
        return {"SSH_AUTH_SOCK": str(self.socket)}

    def _ssh_add(self, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["ssh-add", *arguments],
            env={"PATH": "/usr/bin:/bin", **self.env, **env},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    def add(self, *keys: Key, confirm: bool = False) -> None:
        """Load keys, with the certificate beside a key if there is one; confirm: each use needs a confirmation, which never comes."""
        for key in keys:
            ask = self.path / "askpass"
            ask.write_text('#!/bin/sh\nprintf %s "$PASSPHRASE"\n')
            ask.chmod(0o700)
            env = {"SSH_ASKPASS": str(ask), "SSH_ASKPASS_REQUIRE": "force", "PASSPHRASE": key.passphrase or ""}
            result = self._ssh_add("-q", *(["-c"] if confirm else []), str(key.path), **env)
            if result.returncode:
                raise RuntimeError(f"ssh-add {key.path}: {result.stderr.strip()}")

    def remove_all(self) -> None:
        """Remove all keys."""
        self._ssh_add("-q", "-D").check_returncode()

    def fingerprints(self) -> list[str]:
        """Return the fingerprints of the keys that it holds."""
        return re.findall(r"SHA256:\S+", self._ssh_add("-l").stdout)

    def signatures(self) -> int:
        """Return how many signatures were requested."""
        return len(re.findall(rf"process_message: .*type {SIGN_REQUEST}$", self._log.read_text(), re.MULTILINE))

    def close(self) -> None:
        """End the agent."""
        processes.end_child(self._process)
