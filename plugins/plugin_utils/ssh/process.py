# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection.
"""Run a command on the target over one session channel: stdin, both output streams, exit status."""

from __future__ import annotations

import contextlib
import select
from collections.abc import Callable

from ..client.become import Stream
from ..client.interface import Exited, Output
from ..deadline import SIGNAL_POLL, Deadline
from ..errors import HopError
from ..patched_paramiko.channel import HopChannel
from ..patched_paramiko.compat import BROKEN

_CHUNK = 256 * 1024


class ChannelProcess:
    """Represent a command that runs on a channel.

    :param place: the target as errors name it.
    :param channel: a channel whose exec request was accepted.
    :param lost: returns the error for a connection that ended before the command did.
    """

    def __init__(self, place: str, channel: HopChannel, lost: Callable[[], HopError]) -> None:
        self.place = place
        self._channel = channel
        self._lost = lost
        # Adjust the window after every read. Otherwise, if the server's TCP holds small packets back until all earlier ones
        # are acknowledged (Nagle), the end of a command waits 40 ms for a delayed acknowledgement.
        channel.in_window_threshold = 0
        self._poll = select.poll()
        # poll(2), as select(2) cannot watch descriptors above 1023.
        self._poll.register(channel.fileno(), select.POLLIN)

    def read(self, timeout: float | None) -> Output | Exited | None:
        """Return the next bytes of either stream or, after all output, how the command ended.

        :param timeout: in seconds; None for no limit.
        :returns: None on timeout.
        :raises HopError: the connection ended before the command did.
        """
        try:
            return self._read(Deadline(timeout))
        except BROKEN as error:  # reading also sends a window adjustment
            raise self._lost() from error

    def write(self, data: bytes) -> None:
        """Send data to stdin. Block while the window is full.

        :raises OSError: the command takes no more input, or the connection ended.
        """
        try:
            self._channel.sendall(data)
        except BROKEN as error:
            raise OSError("the command takes no more input") from error

    def close_stdin(self) -> None:
        """Close stdin. Harmless when the command has ended."""
        with contextlib.suppress(*BROKEN):
            self._channel.shutdown_write()

    def close(self) -> None:
        """Close the channel; the server hangs up on a command that still runs."""
        self._channel.close()

    def _read(self, deadline: Deadline) -> Output | Exited | None:
        channel = self._channel
        while True:
            if channel.recv_ready():
                return Output(Stream.STDOUT, channel.recv(_CHUNK))
            if channel.recv_stderr_ready():
                return Output(Stream.STDERR, channel.recv_stderr(_CHUNK))
            if channel.eof_received or channel.closed:
                # By now all bytes before the end of file are buffered; check once more.
                if channel.recv_ready() or channel.recv_stderr_ready():
                    continue
                return self._ending(deadline)
            if not self._wait(deadline):
                return None

    def _wait(self, deadline: Deadline) -> bool:
        """Wait until there is something to read. Return False on timeout."""
        while not self._poll.poll(1000 * min(SIGNAL_POLL, deadline.remaining())):
            if deadline.expired:
                return False
        return True

    def _ending(self, deadline: Deadline) -> Exited | None:
        channel = self._channel
        while not channel.status_event.wait(min(SIGNAL_POLL, deadline.remaining())):
            if deadline.expired:
                return None
        signal = channel.exit_signal
        # OpenSSH sends the status when the command ends, perhaps before the last of its output.
        whole = channel.eof_received or channel.server_closed.is_set()
        if whole and (channel.exit_status >= 0 or signal):
            return Exited(channel.exit_status if not signal else None, signal)
        raise self._lost()
