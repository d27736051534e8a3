# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection.
"""Cache values derived from secrets under digests of these, and drop those not used recently."""

from __future__ import annotations

import hmac
import secrets
from typing import Generic, TypeVar

_T = TypeVar("_T")

_KEY = secrets.token_bytes(32)
_KEPT = 4096


def digest(value: object) -> str:
    """Return a digest of the value's repr(), keyed with a secret of this process, so that it is useless elsewhere."""
    return hmac.digest(_KEY, repr(value).encode(), "sha256").hex()  # SHA-256 is available in FIPS mode


class Recent(Generic[_T]):
    """Hold recently used values. All methods may be called from any thread."""

    def __init__(self) -> None:
        self._now: dict[str, _T] = {}
        self._before: dict[str, _T] = {}

    def __setitem__(self, key: str, value: _T) -> None:
        if len(self._now) >= _KEPT:
            self.age()
        self._now[key] = value

    def get(self, key: str) -> _T | None:
        """Return the value of a digest, or None, and mark it as used."""
        now, before = self._now, self._before
        value = now.get(key)
        if value is None:
            value = before.get(key)
            if value is not None:
                now[key] = value
        return value

    def age(self) -> None:
        """Drop the values not used since the last call."""
        self._before, self._now = self._now, {}

    def clear(self) -> None:
        """Drop all values."""
        self._before, self._now = {}, {}
