# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection.
"""Recognize one-time codes, and their names in servers' questions and in patterns for these."""

from __future__ import annotations

import re

# "authentication" or "token" alone may name a static secret.
_ONE_TIME = re.compile(
    r"(one.{0,4}time|(?<![a-z])[th]?otp(?![a-z])|2fa|mfa|(two|second|2nd)\W{0,8}factor)(\W{0,8}(pass)?(code|word))?"
    r"|(verification|authenticat(or|ion)|token)\W{0,8}code(?![a-z])|passcode",
    re.IGNORECASE,
)
_ADDRESS = re.compile(r"\S*@\S*")
# A one-time code (RFC 4226 section 5.3, RFC 6238): differs at each login, and proves the same identity.
_CODE = re.compile(r"(\d{6,10})?")
# Digits may also be a PIN or a password, and a different one of those proves nothing. So the pattern must name a one-time code, and no
# other kind of answer. "Code" alone is ambiguous: it counts only where another credential identifies the user.
_CALLED_CODE = re.compile(r"(?<![a-z])code(?![a-z])", re.IGNORECASE)
_CALLED_STATIC = re.compile(r"pin|pass", re.IGNORECASE)


def is_code(answer: str) -> bool:
    """Return whether an answer looks like a one-time code, or is empty."""
    return _CODE.fullmatch(answer) is not None


def names_code(pattern: str) -> bool:
    """Return whether a pattern names a one-time code."""
    return _ONE_TIME.search(pattern) is not None


def is_one_time(pattern: str, answer: str, alone: bool) -> bool:
    """Return whether an answer is a one-time code, so that a different one proves the same identity.

    :param alone: whether no other credential identifies the user.
    """
    called = names_code(pattern) or (not alone and _CALLED_CODE.search(pattern) is not None)
    return called and not _CALLED_STATIC.search(_ONE_TIME.sub("", pattern)) and is_code(answer)


def asks_for_code(question: str) -> bool:
    """Return whether a question mentions a one-time code, other than in a ``user@host``."""
    return _ONE_TIME.search(_ADDRESS.sub("", question)) is not None
