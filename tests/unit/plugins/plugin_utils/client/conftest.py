# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Both ends of a connection between a worker and the broker."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from ansible_collections.bastion.ssh.plugins.plugin_utils.client.wire import FrameStream


@pytest.fixture
def pair() -> Iterator[tuple[FrameStream, FrameStream]]:
    left, right = map(FrameStream, socket.socketpair())
    yield left, right
    left.close()
    right.close()


@pytest.fixture
def raw() -> Iterator[tuple[socket.socket, FrameStream]]:
    """A socket that says whatever it likes, and the connection that hears it."""
    left, right = socket.socketpair()
    connection = FrameStream(right)
    yield left, connection
    connection.close()
    left.close()
