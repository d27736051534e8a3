# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection.
"""Hold the connection to one hop, and explain why it ended."""

from __future__ import annotations

import contextlib
import math
import socket
import time
from collections.abc import Sequence
from typing import Any

from ..chain.model import Chain, TransportOptions
from ..errors import HopUnreachable, LinkLost, sanitize
from ..patched_paramiko.compat import BROKEN
from ..patched_paramiko.transport import HopTransport
from .host_keys import Trust
from .peculiarities import one_session_at_a_time
from .proxy_command import ProxyProcess

_THREAD_EXIT_GRACE = 0.3
_IS_IT_UP = "Is it up, and the network on the way to it? Its log may say why."
_LOOK_FIRST = "What the task did may have taken effect; look there before you run it again."


class Link:
    """Hold the connection to one hop, from before the key exchange to its end.

    :param place: the hop as errors name it.
    :param sock: the underlying stream: a socket, or a channel of the hop before.
    :param proxy: the ProxyCommand behind the socket, if there is one.
    :raises NoAlgorithm: none of the algorithms in ``options`` can be used.
    """

    def __init__(
        self, place: str, sock: Any, proxy: ProxyProcess | None = None, options: TransportOptions | None = None
    ) -> None:
        self.place = place
        self.transport = HopTransport(sock, options)
        self.transport.name = place  # the thread's name, for the log
        self.given_up = ""
        #: The advice in the error if it ends before anything took effect.
        self.advice = _IS_IT_UP
        #: The verified host key; None again if a later check allows secrets and that of the login did not, or vice versa.
        self.trust: Trust | None = None
        #: The hop's IP address, if this process connected to it over TCP.
        self.address: str | None = None
        #: Whether the login needed a fallback key.
        self.used_fallback = False
        #: Blobs of the agent's keys used for the login, as the agent lists them.
        self.agent_keys: frozenset[bytes] = frozenset()
        #: Seconds until the end of the login, including any wait for the login lock.
        self.login_seconds = 0.0
        #: What a shell prints in place of SFTP, empty for nothing; None unless SFTP is known to be missing.
        self.no_sftp: str | None = None
        #: Seconds of silence after which it is closed.
        self.patience = math.inf
        #: Round trip of the last keepalive in seconds; None before the first reply.
        self.round_trip: float | None = None
        self._sock = sock
        self._proxy = proxy

    @property
    def one_session_at_a_time(self) -> bool:
        """Return whether its server can begin a session only when the one before has ended."""
        return one_session_at_a_time(self.transport.remote_version)

    @property
    def proxied(self) -> bool:
        """Return whether the connection runs through a ProxyCommand."""
        return self._proxy is not None

    def explain(self) -> str:
        """Return why this link is dead, as far as known."""
        if self.given_up:
            return self.given_up
        if self._proxy is not None:
            return f"the connection through the ProxyCommand ended: {self._proxy.explain()}"
        reason = self.transport.disconnect_reason
        if reason:
            return f"the server disconnected and said: {reason}"
        error = self.transport.saved_exception
        if error is None or isinstance(error, EOFError):
            return "the server closed the connection"
        return f"the connection broke: {sanitize(str(error)) or type(error).__name__}"

    @property
    def is_dead(self) -> bool:
        """Return whether this link can no longer be used."""
        return bool(self.given_up) or not self.transport.is_active()

    def abort(self, why: str, advice: str = _IS_IT_UP) -> None:
        """Close the underlying stream without waiting for the other side. Keep the first reason only."""
        if not self.given_up:
            self.given_up, self.advice = why, advice
        self._end_carrier()

    def give_up(self, why: str) -> None:
        """Close a silent link and fail all calls that wait for it, even if paramiko's thread is stuck."""
        self.abort(why)
        self._settle()

    def close(self) -> None:
        """Close the connection and its underlying stream. Harmless when repeated."""
        self._end_carrier()
        self._settle()
        with contextlib.suppress(*BROKEN):
            self._sock.close()
        self.transport.close()
        if self._proxy is not None:
            self._proxy.close()

    def _settle(self) -> None:
        """Wait briefly for the transport's thread, which must not go on to use a reused descriptor."""
        if self.transport.is_alive():
            self.transport.join(_THREAD_EXIT_GRACE)
        if self.transport.is_alive():
            self.transport.abandon()

    def _end_carrier(self) -> None:
        # This ends the transport's thread at once instead of at its next check.
        with contextlib.suppress(*BROKEN):
            if isinstance(self._sock, socket.socket):
                self._sock.shutdown(socket.SHUT_RDWR)
            else:
                self._sock.close()


def nearest_dead(links: Sequence[Link]) -> Link | None:
    """Return the nearest dead link, which is why those behind it are dead; None if all are alive. Call it after a failure.

    A nested link notices first, so wait briefly for the outer one.
    """
    end = time.monotonic() + _THREAD_EXIT_GRACE
    while True:
        dead = next((link for link in links if link.is_dead), None)
        if not links or dead is links[0] or time.monotonic() >= end:
            return dead
        links[0].transport.join(_THREAD_EXIT_GRACE / 20)


def dead_hop(links: Sequence[Link], chain: Chain) -> HopUnreachable | None:
    """Return the error of the nearest dead link, as a hop is not at fault if one before it died; None if all are alive."""
    dead = nearest_dead(links)
    return None if dead is None else HopUnreachable(chain.place(links.index(dead)), dead.explain(), dead.advice)


def lost_link(links: Sequence[Link], chain: Chain) -> LinkLost | None:
    """Return the error for a link that died during an operation, which may have taken effect; None if all are alive."""
    dead = nearest_dead(links)
    if dead is None:
        return None
    return LinkLost(chain.place(links.index(dead)), f"the connection was lost: {dead.explain()}", _LOOK_FIRST)


def hang_up(links: list[Link]) -> None:
    """Close links, last first, and clear the list."""
    if links:
        # End the outermost stream first: a link that accepts no more bytes would block the closing of each nested one.
        links[0].abort("it was closed")
    while links:
        links.pop().close()
