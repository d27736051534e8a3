# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a channel lets wait. The transport is a stand-in: no server can be made to have the lock held at the right moment."""

from __future__ import annotations

import threading

import paramiko
import pytest

from ansible_collections.bastion.ssh.plugins.plugin_utils.patched_paramiko.channel import _CloseOrderedTransport
from ansible_collections.bastion.ssh.plugins.plugin_utils.patched_paramiko.violation import Violation

FAILURE = 100  # RFC 4250 section 4.1.2


class _Exchanging(threading.Thread):
    """The thread of a transport in a key exchange that its server does not end, and that asks for answers meanwhile."""

    def __init__(self, answers: int) -> None:
        super().__init__()
        self.clear_to_send = threading.Event()
        self.sent: list[int] = []
        self.error: Violation | None = None
        self._gate = _CloseOrderedTransport(self)
        self._answers = answers

    def is_active(self) -> bool:
        return True

    def run(self) -> None:
        try:
            for number in range(self._answers):
                message = paramiko.Message()
                message.add_byte(bytes([FAILURE]))
                message.add_int(number)
                self._gate._send_user_message(message)
        except Violation as error:
            self.error = error

    def _send_user_message(self, message: paramiko.Message) -> None:
        self.clear_to_send.wait(60)
        self.sent.append(int.from_bytes(message.asbytes()[1:], "big"))


def helpers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "farewell"]


# trust: T53
@pytest.mark.parametrize(("asked", "taken"), [(50, 50), (1000, 65)])
def test_answers_wait_in_order_and_not_without_end(asked: int, taken: int) -> None:
    """One is being sent, and 64 wait."""
    transport = _Exchanging(asked)
    transport.start()
    transport.join()
    assert len(helpers()) == 1
    transport.clear_to_send.set()
    for thread in helpers():
        thread.join(60)
    assert transport.sent in (list(range(taken)), list(range(taken - 1)))  # the helper may not have taken the first yet
    assert (transport.error is not None) is (asked > taken)
