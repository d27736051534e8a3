# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Search for secrets in the arguments and environments of processes, and in files."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable
from pathlib import Path

from . import processes
from .lab import Lab

INTERVAL = 0.003


class Watch:
    """Poll every process of a lab during the context; a process that lives only briefly may be missed."""

    def __init__(self, lab: Lab) -> None:
        self._mark = str(lab.path).encode()
        self._stop = threading.Event()
        self._ours: dict[int, bool] = {}
        self.command_lines: set[bytes] = set()
        self.environments: set[bytes] = set()
        self._thread = threading.Thread(target=self._look_again, name="lab watch", daemon=True)

    def __enter__(self) -> Watch:
        self._look()
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._stop.set()
        self._thread.join(10)
        self._look()

    def _look_again(self) -> None:
        while not self._stop.wait(INTERVAL):
            self._look()

    def _look(self) -> None:
        present = set(processes.pids()) - {os.getpid()}
        # Forget a process that is gone, as its id may be reused.
        self._ours = {pid: ours for pid, ours in self._ours.items() if pid in present}
        for pid in sorted(present):
            if self._ours.get(pid) is False:
                continue
            command, environment = processes.command_line(pid), processes.environment(pid)
            # Decide once per process, as it may overwrite its environment or lose its parent later.
            if pid not in self._ours:
                parent = processes.parent(pid)
                inherited = parent == os.getpid() or self._ours.get(parent, False)
                self._ours[pid] = inherited or self._mark in environment or self._mark in command
            if self._ours[pid]:
                self.command_lines.add(command)
                self.environments.add(environment)

    def found(self, secrets: Iterable[str]) -> list[str]:
        """Return descriptions of where secrets were seen, naming each by its index."""
        places: list[str] = []
        for number, secret in enumerate(secrets):
            text = secret.encode()
            for line in sorted(line for line in self.command_lines if text in line):
                places.append(f"secret {number} in the arguments of {line.split(bytes(1))[0].decode()}")
            if any(text in environment for environment in self.environments):
                places.append(f"secret {number} in an environment")
        return places


def grep_tree(root: Path, secrets: Iterable[str], skip: Iterable[Path] = ()) -> list[Path]:
    """Return the files and symlinks under a directory that contain a secret; sockets and pipes are skipped."""
    texts = [secret.encode() for secret in secrets]
    skipped = set(skip)
    found: list[Path] = []
    for path in sorted(root.rglob("*")):
        if any(parent in skipped for parent in (path, *path.parents)):
            continue
        if path.is_symlink():
            content = str(path.readlink()).encode()
        elif path.is_file():
            content = path.read_bytes()
        else:
            continue
        if any(text in content for text in texts):
            found.append(path)
    return found
