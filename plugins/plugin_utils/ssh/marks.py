# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection.
"""Separate a command's output from what its shell prints around it, in a startup file or an exit trap."""

from __future__ import annotations

import secrets

_BYTES = 16  # random bytes of a mark, enough that no file contains it by chance


class Marks:
    """Find the output of a command between two marks."""

    def __init__(self) -> None:
        self._mark = secrets.token_hex(_BYTES)
        self._line = f"{self._mark}\n".encode()
        self._held = b""  # may be the beginning of a mark
        self._begun = False
        #: Whether both marks have been found.
        self.ended = False

    def around(self, command: str) -> str:
        """Return a command line, for any shell, that also prints the marks. It fails if the command does."""
        return f"echo {self._mark} && {command} && echo {self._mark}"

    def feed(self, data: bytes) -> bytes:
        """Take the next bytes. Return those that are known to be the command's output."""
        if self.ended:
            return b""
        data = self._held + data
        if not self._begun:
            _before, found, rest = data.partition(self._line)
            if not found:
                self._held = self._tail(data)
                return b""
            self._begun, data = True, rest
        output, found, _after = data.partition(self._line)
        if found:
            self.ended, self._held = True, b""
            return output
        self._held = self._tail(data)
        return data[: len(data) - len(self._held)]

    def _tail(self, data: bytes) -> bytes:
        return data[-(len(self._line) - 1) :]
