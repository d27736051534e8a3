# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Input of a worker that comes when there is no command for it; the command is played."""

from __future__ import annotations

import contextlib
import logging
import socket
from typing import cast

import pytest

from ansible_collections.bastion.ssh.plugins.plugin_utils.broker.requests import Broker, RequestHandler
from ansible_collections.bastion.ssh.plugins.plugin_utils.client.interface import Exited
from ansible_collections.bastion.ssh.plugins.plugin_utils.client.wire import FrameStream
from ansible_collections.bastion.ssh.plugins.plugin_utils.pool.session import PooledSession


class Ended:
    """A session, and its command, which reads nothing."""

    def start(self, *_command: object) -> Ended:
        return self

    def read(self, _timeout: float | None) -> Exited:
        return Exited(0, None)

    def close(self) -> None:
        """Nothing is open."""

    def cancel(self) -> None:
        """Nothing goes on."""


@pytest.mark.parametrize("has_run", [True, False])
def test_input_that_a_command_did_not_read_is_dropped(
    has_run: bool, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    near, far = socket.socketpair()
    with contextlib.closing(FrameStream(near)) as worker, contextlib.closing(FrameStream(far)) as connection:
        ended = Ended()
        conversation = RequestHandler(connection, cast(Broker, None))
        monkeypatch.setattr(conversation, "_session", lambda _header: ended)
        if has_run:
            conversation._start({"command": "true"})
        for header, body in ({"op": "in"}, b"late"), ({"op": "in"}, b"later"), ({"op": "eof"}, b""):
            worker.send(header, body)
        worker.hang_up()
        with caplog.at_level(logging.INFO, "bastion.ssh.broker"):
            conversation._receive_stdin(cast(PooledSession, ended))
        assert caplog.messages == ([] if has_run else ["a worker's input: input before there is a command"])
        left = [] if has_run else [b"later", b""]
        assert [frame.body for frame in iter(connection.receive, None) if frame is not None] == left  # until its end
