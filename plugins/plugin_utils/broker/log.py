# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection.
"""The log that several brokers write to, of other versions or agents, in a directory that they have open."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os

from ..client.address import Directory


class LogFile(logging.Handler):
    """Keeps the last lines: when a file is full it gets the name with ``.1``, and a new one is begun.

    What one broker has moved away, another opens anew. A line that cannot be written is lost.

    :param limit: of each of the two files, in bytes.
    :raises OSError: it cannot be written, or is a symlink.
    """

    def __init__(self, directory: Directory, name: str, limit: int) -> None:
        super().__init__()
        self._directory = directory
        self._name = name
        self._limit = limit
        self._descriptor = self._opened()

    def emit(self, record: logging.LogRecord) -> None:
        """Writes a line. There is only one thread at a time in it, as :meth:`logging.Handler.handle` sees to."""
        line = f"{self.format(record)}\n".encode(errors="backslashreplace")
        with contextlib.suppress(OSError):  # the disk is full, or the directory was removed
            self._find(len(line))
            os.write(self._descriptor, line)

    def close(self) -> None:
        """Closes the file. Harmless when repeated."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)
        super().close()

    def _opened(self) -> int:
        return self._directory.open(self._name, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def _find(self, more: int) -> None:
        """Sees that the file is the one that has the name, and has room for so many bytes more."""
        found = os.fstat(self._descriptor)
        if found.st_ino == self._directory.inode(self._name):
            if found.st_size + more <= self._limit:
                return
            # Two that find the same file full would move the next one, too. A stopped broker holds up nothing.
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if found.st_ino == self._directory.inode(self._name):
                    self._directory.rename(self._name, f"{self._name}.1")
        before, self._descriptor = self._descriptor, self._opened()
        os.close(before)
