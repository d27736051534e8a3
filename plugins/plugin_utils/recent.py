# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection.
"""What was made of secrets a moment ago: found again by a digest of them, and let go of when it is of no use any more."""

from __future__ import annotations

import hmac
import secrets
from typing import Generic, TypeVar

_T = TypeVar("_T")

_KEY = secrets.token_bytes(32)
_KEPT = 4096


def digest(value: object) -> str:
    """The same for values whose repr() is the same; of no use outside of this process, whose key is in it."""
    return hmac.digest(_KEY, repr(value).encode(), "sha256").hex()  # which there is in FIPS mode, too


class Recent(Generic[_T]):
    """Keeps what was used of late. Everything here may be called from any thread."""

    def __init__(self) -> None:
        self._now: dict[str, _T] = {}
        self._before: dict[str, _T] = {}

    def __setitem__(self, key: str, value: _T) -> None:
        if len(self._now) >= _KEPT:
            self.age()
        self._now[key] = value

    def get(self, key: str) -> _T | None:
        """What was kept under a digest, and is kept for longer now."""
        now, before = self._now, self._before
        value = now.get(key)
        if value is None:
            value = before.get(key)
            if value is not None:
                now[key] = value
        return value

    def age(self) -> None:
        """Lets go of what was not used since the last time."""
        self._before, self._now = self._now, {}

    def clear(self) -> None:
        """Lets go of everything."""
        self._before, self._now = {}, {}
