# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection.
"""A session that its own process holds, for whoever does without a broker."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ..client.interface import Report
from ..openssh.client_config import ClientConfig
from ..openssh.user_files import set_missing_home
from ..settings import read_settings
from .session import PooledSession
from .transports import TransportPool


class DirectSession(PooledSession):
    """Implements :class:`interface.Session`; its connections are dialled when it is used, and end with it.

    :param options: what the inventory says, as plain values.
    :raises SettingsError: with the variable's name.
    """

    def __init__(self, options: Mapping[str, Any], report: Report) -> None:
        set_missing_home()
        # Nobody else has a use for them, so they are kept for as long as there is a use for the session.
        config = ClientConfig()
        settings = replace(read_settings(options, config.config_lookup, config.ask_anew), persist=math.inf)
        self._own = TransportPool()
        super().__init__(self._own, settings, report)

    def close(self) -> None:
        """Hangs up on all hops. Harmless when repeated."""
        self._own.close()
