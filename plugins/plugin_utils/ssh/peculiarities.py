# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection.
"""What a server cannot do by its version, as OpenSSH's compat.c has it for others."""

from __future__ import annotations

import re

_DROPBEAR = re.compile(r"SSH-2\.0-dropbear(?:_(\d+)\.(\d+))?")
# From commit 8e6f73e until that of pull request 326 (mkj/dropbear).
_FIRST, _LAST = (2022, 82), (2024, 86)


def one_session_at_a_time(version: str) -> bool:
    """Whether a session may be lost if the command of another one on the same connection ends while it begins.

    Until it has a command, such a dropbear takes it for one whose command has ended, and closes it, or fails an assertion.
    One that does not say its number is taken for such a one.

    :param version: the line of the server (RFC 4253 section 4.2).
    """
    found = _DROPBEAR.match(version)
    if found is None:
        return False
    return found[1] is None or _FIRST <= (int(found[1]), int(found[2])) <= _LAST
