# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection.
"""A command on the target: one session channel, both output streams, stdin, and how it ended."""

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
    """A command that runs on a channel.

    :param place: of the target.
    :param channel: the exec request has been accepted.
    :param lost: makes the error for a connection that ended before the command did.
    """

    def __init__(self, place: str, channel: HopChannel, lost: Callable[[], HopError]) -> None:
        self.place = place
        self._channel = channel
        self._lost = lost
        # What is taken is acknowledged at once: else, where the server's TCP holds small packets back until all before
        # them are acknowledged (Nagle), the end of a command waits for a delayed acknowledgement, 40 ms.
        channel.in_window_threshold = 0
        self._poll = select.poll()
        # poll(2), as select(2) cannot watch descriptors above 1023.
        self._poll.register(channel.fileno(), select.POLLIN)

    def read(self, timeout: float | None) -> Output | Exited | None:
        """The next bytes of either stream, or the end of the command after all of its output.

        :param timeout: seconds; None waits for as long as it takes.
        :returns: None when the time is up.
        :raises HopError: the connection ended before the command did.
        """
        try:
            return self._read(Deadline(timeout))
        except BROKEN as error:  # taking bytes tells the other side that there is room for more
            raise self._lost() from error

    def write(self, data: bytes) -> None:
        """Sends to stdin; blocks while the other side takes nothing.

        :raises OSError: the command takes no more input, or the connection ended.
        """
        try:
            self._channel.sendall(data)
        except BROKEN as error:
            raise OSError("the command takes no more input") from error

    def close_stdin(self) -> None:
        """Ends stdin. Harmless when the command has ended."""
        with contextlib.suppress(*BROKEN):
            self._channel.shutdown_write()

    def close(self) -> None:
        """Ends the channel; the server hangs up on a command that still runs."""
        self._channel.close()

    def _read(self, deadline: Deadline) -> Output | Exited | None:
        channel = self._channel
        while True:
            if channel.recv_ready():
                return Output(Stream.STDOUT, channel.recv(_CHUNK))
            if channel.recv_stderr_ready():
                return Output(Stream.STDERR, channel.recv_stderr(_CHUNK))
            if channel.eof_received or channel.closed:
                # Bytes that came in before the end of file are all there by now; look once more.
                if channel.recv_ready() or channel.recv_stderr_ready():
                    continue
                return self._ending(deadline)
            if not self._wait(deadline):
                return None

    def _wait(self, deadline: Deadline) -> bool:
        """Whether there is something to read in time."""
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
        # OpenSSH tells the status when the command has ended, perhaps before the last of its output.
        whole = channel.eof_received or channel.server_closed.is_set()
        if whole and (channel.exit_status >= 0 or signal):
            return Exited(channel.exit_status if not signal else None, signal)
        raise self._lost()
