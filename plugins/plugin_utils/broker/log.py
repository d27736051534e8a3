# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection.
"""Write the log that several brokers share, of other versions or limits, in a directory that they hold open."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os

from ..client.address import Directory


class LogFile(logging.Handler):
    """Write to a file of limited size: a full file is renamed with ``.1`` appended, and a new one begun.

    A file that another broker has renamed is reopened. A line that cannot be written is lost.

    :param limit: size of each of the two files, in bytes.
    :raises OSError: the file cannot be written, or is a symlink.
    """

    def __init__(self, directory: Directory, name: str, limit: int) -> None:
        super().__init__()
        self._directory = directory
        self._name = name
        self._limit = limit
        self._descriptor = self._opened()

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line. :meth:`logging.Handler.handle` lets only one thread in at a time."""
        line = f"{self.format(record)}\n".encode(errors="backslashreplace")
        with contextlib.suppress(OSError):  # the disk is full, or the directory was removed
            self._find(len(line))
            os.write(self._descriptor, line)

    def close(self) -> None:
        """Close the file. Idempotent."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)
        super().close()

    def duplicate(self) -> int:
        """Return a descriptor of the file that is open now, which the caller owns."""
        return os.dup(self._descriptor)

    def _opened(self) -> int:
        return self._directory.open(self._name, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def _find(self, more: int) -> None:
        """Ensure that the open file is the one with the name, and has room for ``more`` bytes."""
        found = os.fstat(self._descriptor)
        if found.st_ino == self._directory.inode(self._name):
            if found.st_size + more <= self._limit:
                return
            # Two brokers that find the same file full must not both rename. Do not wait for the lock: its holder may be stopped.
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if found.st_ino == self._directory.inode(self._name):
                    self._directory.rename(self._name, f"{self._name}.1")
        before, self._descriptor = self._descriptor, self._opened()
        os.close(before)
