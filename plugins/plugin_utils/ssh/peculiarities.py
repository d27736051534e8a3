# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection.
"""Recognize bugs of servers by their version, as OpenSSH's compat.c does."""

from __future__ import annotations

import re

_DROPBEAR = re.compile(r"SSH-2\.0-dropbear(?:_(\d+)\.(\d+))?")
# Introduced by commit 8e6f73e, fixed by pull request 326 (mkj/dropbear).
_FIRST, _LAST = (2022, 82), (2024, 86)


def one_session_at_a_time(version: str) -> bool:
    """Return whether a session may be lost if another one's command on the same connection ends while it begins.

    Until a session has a command, such a dropbear takes it for one whose command has ended, and closes it or fails an assertion.
    A dropbear without a version number is assumed to be affected.

    :param version: the server's version line (RFC 4253 section 4.2).
    """
    found = _DROPBEAR.match(version)
    if found is None:
        return False
    return found[1] is None or _FIRST <= (int(found[1]), int(found[2])) <= _LAST
