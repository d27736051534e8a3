# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection.
"""One hop that is connected, and why it is not any more."""

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
    """One hop that is connected, trusted and logged in to, or on its way there.

    :param sock: what carries it: a socket, or a channel of the hop before.
    :param proxy: the ProxyCommand behind the socket, if that is how the first hop is reached.
    :raises NoAlgorithm: of those in ``options``, there is none.
    """

    def __init__(
        self, place: str, sock: Any, proxy: ProxyProcess | None = None, options: TransportOptions | None = None
    ) -> None:
        self.place = place
        self.transport = HopTransport(sock, options)
        self.transport.name = place  # of its thread, for the log
        self.given_up = ""
        #: What a person can do about its end, where nothing had taken effect.
        self.advice = _IS_IT_UP
        #: The host key that was verified; None again once secrets may be sent there that were not at the login, or no more.
        self.trust: Trust | None = None
        #: The address that it was connected to by, where this process has connected to it.
        self.address: str | None = None
        #: Whether one of the keys of last resort logged in.
        self.used_fallback = False
        #: Those keys of an agent that it logged in with, as the agent lists them.
        self.agent_keys: frozenset[bytes] = frozenset()
        #: Seconds from the beginning of the connection to the end of the login.
        self.login_seconds = 0.0
        #: What a shell says there in place of SFTP, empty where it says nothing; None as long as there may be SFTP.
        self.no_sftp: str | None = None
        #: Seconds of silence after which it is given up.
        self.patience = math.inf
        #: Seconds until the last keepalive was answered; None if there was none yet.
        self.round_trip: float | None = None
        self._sock = sock
        self._proxy = proxy

    @property
    def one_session_at_a_time(self) -> bool:
        """Whether its server can begin a session only when the one before has ended."""
        return one_session_at_a_time(self.transport.remote_version)

    @property
    def proxied(self) -> bool:
        """Whether a ProxyCommand carries it."""
        return self._proxy is not None

    def explain(self) -> str:
        """Why this link is dead, as far as is known."""
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
        """Whether nothing can be done on it any more."""
        return bool(self.given_up) or not self.transport.is_active()

    def abort(self, why: str, advice: str = _IS_IT_UP) -> None:
        """Ends what carries it, without waiting for the other side; the first reason counts."""
        if not self.given_up:
            self.given_up, self.advice = why, advice
        self._end_carrier()

    def give_up(self, why: str) -> None:
        """Ends a silent link for all who use it, whether the network is silent or the library is stuck."""
        self.abort(why)
        self._settle()

    def close(self) -> None:
        """Closes the connection and what carries it. Harmless when repeated."""
        self._end_carrier()
        self._settle()
        with contextlib.suppress(*BROKEN):
            self._sock.close()
        self.transport.close()
        if self._proxy is not None:
            self._proxy.close()

    def _settle(self) -> None:
        """Waits for the thread, which must not find the descriptor to be somebody else's."""
        if self.transport.is_alive():
            self.transport.join(_THREAD_EXIT_GRACE)
        if self.transport.is_alive():
            self.transport.abandon()

    def _end_carrier(self) -> None:
        # With the carrier gone the transport's thread ends at once instead of at its next look.
        with contextlib.suppress(*BROKEN):
            if isinstance(self._sock, socket.socket):
                self._sock.shutdown(socket.SHUT_RDWR)
            else:
                self._sock.close()


def nearest_dead(links: Sequence[Link]) -> Link | None:
    """The nearest link that is down, as the ones behind it are down because of it; asked when something has failed.

    What is nested in a link ends a moment before the link itself is known to be down, so that moment is given to it.
    """
    end = time.monotonic() + _THREAD_EXIT_GRACE
    while True:
        dead = next((link for link in links if link.is_dead), None)
        if not links or dead is links[0] or time.monotonic() >= end:
            return dead
        links[0].transport.join(_THREAD_EXIT_GRACE / 20)


def dead_hop(links: Sequence[Link], chain: Chain) -> HopUnreachable | None:
    """The error of the nearest link that is down: a hop that fails because one before it died is not at fault."""
    dead = nearest_dead(links)
    return None if dead is None else HopUnreachable(chain.place(links.index(dead)), dead.explain(), dead.advice)


def lost_link(links: Sequence[Link], chain: Chain) -> LinkLost | None:
    """The error for a link that is down while something was under way; it may or may not have taken effect."""
    dead = nearest_dead(links)
    if dead is None:
        return None
    return LinkLost(chain.place(links.index(dead)), f"the connection was lost: {dead.explain()}", _LOOK_FIRST)


def hang_up(links: list[Link]) -> None:
    """Closes links, last first, and forgets them."""
    if links:
        # First what carries them all: else a link that takes no more bytes would hold up the farewell of each nested one.
        links[0].abort("it was closed")
    while links:
        links.pop().close()
