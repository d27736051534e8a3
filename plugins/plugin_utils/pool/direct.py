# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection.
"""Provide a session in the caller's own process, without a broker."""

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
    """Implement :class:`interface.Session` without a broker: connect on first use, disconnect on close.

    :param options: inventory options as plain values.
    :raises SettingsError: an option is invalid; names its variable.
    """

    def __init__(self, options: Mapping[str, Any], report: Report) -> None:
        set_missing_home()
        # These connections are not shared, so keep them as long as the session.
        config = ClientConfig()
        settings = replace(read_settings(options, config.config_lookup, config.ask_anew), persist=math.inf)
        self._own = TransportPool()
        super().__init__(self._own, settings, report)

    def close(self) -> None:
        """Close the connections to all hops. Idempotent."""
        self._own.close()
