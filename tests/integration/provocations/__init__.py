# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How every message of docs/errors.md is come by, in files by the sections of the page."""

from __future__ import annotations

from . import settings, ssh_config
from .provocation import Provocation, Stage

__all__ = ["SECTIONS", "Provocation", "Stage"]

#: Headings of the page.
SECTIONS: dict[str, list[Provocation]] = {
    "Settings": [*settings.PROVOCATIONS, *ssh_config.PROVOCATIONS],
}
