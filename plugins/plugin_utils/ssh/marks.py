# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection.
"""What a command writes, without what its shell writes around it: a startup file may print, and a trap at the end."""

from __future__ import annotations

import secrets

_BYTES = 16  # which no file has by chance


class Marks:
    """Finds the output of a command between two marks that nothing else contains."""

    def __init__(self) -> None:
        self._mark = secrets.token_hex(_BYTES)
        self._line = f"{self._mark}\n".encode()
        self._held = b""  # may be the begin of a mark
        self._begun = False
        #: Whether both marks have been found.
        self.ended = False

    def around(self, command: str) -> str:
        """A command line that writes the marks, too; it fails where the command does. Any shell reads it."""
        return f"echo {self._mark} && {command} && echo {self._mark}"

    def feed(self, data: bytes) -> bytes:
        """Takes what comes next, and returns as much as is known to be the command's own."""
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
