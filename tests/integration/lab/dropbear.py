# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run a real dropbear on its own loopback address."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from . import processes
from .keys import Key, known_hosts_name
from .machine import MARK
from .users import User


class Dropbear:
    """Serve one user, who logs in with a key."""

    def __init__(self, path: Path, address: str, port: int, user: User, key: Key, mark: str) -> None:
        path.mkdir(parents=True)
        self.address = address
        self.port = port
        self._authorize(user, key)
        made = subprocess.run(
            ["dropbearkey", "-t", "ed25519", "-f", str(path / "key")], capture_output=True, text=True, check=True
        )
        found = re.search(r"^ssh-ed25519 \S+", made.stdout, re.MULTILINE)
        assert found, made.stdout
        self._public = found[0]
        self._log = path / "log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                ["dropbear", "-F", "-E", "-r", str(path / "key"), "-p", f"{address}:{port}"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", MARK: mark},
                start_new_session=True,
            )
        processes.wait_until(lambda: "Not backgrounding" in self.log(), 30, "dropbear")

    @staticmethod
    def _authorize(user: User, key: Key) -> None:
        directory = user.home / ".ssh"
        directory.mkdir(mode=0o700)
        keys = directory / "authorized_keys"
        keys.write_text(f"{key.public}\n")
        keys.chmod(0o600)
        for path in (directory, keys):
            shutil.chown(path, user.uid, user.gid)

    def __enter__(self) -> Dropbear:
        return self

    def __exit__(self, *_error: object) -> None:
        processes.end([self._process.pid, *processes.descendants(self._process.pid)])
        self._process.wait()

    def log(self) -> str:
        """Return its log so far."""
        return self._log.read_text(errors="replace")

    def logins(self) -> int:
        """Return how often the user has logged in."""
        return self.log().count("auth succeeded for ")

    def known_hosts_line(self, name: str | None = None) -> str:
        """Return the known_hosts line of its host key."""
        return f"{name or known_hosts_name(self.address, self.port)} {self._public}"
