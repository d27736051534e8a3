# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Takes from Python what a system in FIPS mode does not have.

A real one cannot be had here: OpenSSL's provider is made and tested for single builds of it, and a kernel has to be in that mode.
What raises there raises here, with the same words; SHA-1 for security does so for this collection alone, as ansible-core uses it.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from typing import Any

_WORDS = "[digital envelope routines] unsupported"
_OURS = "/bastion/ssh/"


def _missing(*_arguments: Any, **_keywords: Any) -> Any:
    raise ValueError(_WORDS)


def _unless_harmless(plain: Callable[..., Any], ours_only: bool) -> Callable[..., Any]:
    def digest(*arguments: Any, usedforsecurity: bool = True, **keywords: Any) -> Any:
        ours = _OURS in sys._getframe(1).f_code.co_filename
        if usedforsecurity and (ours or not ours_only):
            raise ValueError(_WORDS)
        return plain(*arguments, usedforsecurity=usedforsecurity, **keywords)

    return digest


setattr(hashlib, "blake2b", _missing)  # noqa: B010  # which mypy takes for a constant
setattr(hashlib, "blake2s", _missing)  # noqa: B010
setattr(hashlib, "md5", _unless_harmless(hashlib.md5, ours_only=False))  # noqa: B010
setattr(hashlib, "sha1", _unless_harmless(hashlib.sha1, ours_only=True))  # noqa: B010
