# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection.
"""What a one-time code is called, by a server that asks for it and by a pattern for that question."""

from __future__ import annotations

import re

# What is only "authentication", or a "token", may be static.
_ONE_TIME = re.compile(
    r"(one.{0,4}time|(?<![a-z])[th]?otp(?![a-z])|2fa|mfa|(two|second|2nd)\W{0,8}factor)(\W{0,8}(pass)?(code|word))?"
    r"|(verification|authenticat(or|ion)|token)\W{0,8}code(?![a-z])|passcode",
    re.IGNORECASE,
)
_ADDRESS = re.compile(r"\S*@\S*")


def without_names(pattern: str) -> str:
    """A pattern without what it calls a one-time code; the same if it speaks of none."""
    return _ONE_TIME.sub("", pattern)


def names_code(pattern: str) -> bool:
    """Whether a pattern speaks of a one-time code."""
    return without_names(pattern) != pattern


def asks_for_code(question: str) -> bool:
    """Whether a question speaks of a one-time code, if not of it alone; the name of an account or a host in it does not count."""
    return _ONE_TIME.search(_ADDRESS.sub("", question)) is not None
