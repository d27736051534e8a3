# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection.
"""Recognize the names of one-time codes in servers' questions, and in patterns for these."""

from __future__ import annotations

import re

# "authentication" or "token" alone may name a static secret.
_ONE_TIME = re.compile(
    r"(one.{0,4}time|(?<![a-z])[th]?otp(?![a-z])|2fa|mfa|(two|second|2nd)\W{0,8}factor)(\W{0,8}(pass)?(code|word))?"
    r"|(verification|authenticat(or|ion)|token)\W{0,8}code(?![a-z])|passcode",
    re.IGNORECASE,
)
_ADDRESS = re.compile(r"\S*@\S*")


def without_names(pattern: str) -> str:
    """Return a pattern without its names for a one-time code; unchanged if it has none."""
    return _ONE_TIME.sub("", pattern)


def names_code(pattern: str) -> bool:
    """Return whether a pattern names a one-time code."""
    return without_names(pattern) != pattern


def asks_for_code(question: str) -> bool:
    """Return whether a question mentions a one-time code, other than in a ``user@host``."""
    return _ONE_TIME.search(_ADDRESS.sub("", question)) is not None
