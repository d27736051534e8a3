# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How every message of docs/errors.md is come by, in files by the sections of the page."""

from __future__ import annotations

from . import broker, files, host_keys, installation, logins, sessions, settings, ssh_config, ways
from .other_tools import PAIRS
from .provocation import HOPS, WAITING, Provocation, Stage, as_pattern

__all__ = ["HOPS", "PAIRS", "SECTIONS", "WAITING", "Provocation", "Stage", "as_pattern"]

#: Headings of the page.
SECTIONS: dict[str, list[Provocation]] = {
    "Settings": [*settings.PROVOCATIONS, *ssh_config.PROVOCATIONS],
    "The route to a hop": ways.PROVOCATIONS,
    "Host keys": host_keys.PROVOCATIONS,
    "Logins": logins.PROVOCATIONS,
    "Sessions and commands": sessions.PROVOCATIONS,
    "The broker": broker.PROVOCATIONS,
    "Files": files.PROVOCATIONS,
    "Installation": installation.PROVOCATIONS,
}
