# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""From the controller to the target, hop by hop: connect or direct-tcpip, key exchange, host key, login.

Whoever opens something here closes it: a dial that fails leaves no socket, thread or process behind, and no
hop is ever left out.
"""

from __future__ import annotations

import contextlib
import math
import socket
import threading
import time
from collections.abc import Sequence
from typing import Any

from ..chain.model import TARGET, Chain, Hop, TransportOptions
from ..chain.tokens import expand_command
from ..errors import AlgorithmsRefused, ForwardingRefused, HopError, HopUnreachable, LinkLost, said
from .auth import Login
from .deadline import Deadline
from .host_keys import HostKey, HostKeyCheck, Trust
from .interface import Report
from .library import BROKEN, paramiko
from .logins import LoginTurns
from .proxy_command import ProxyProcess
from .transport import ChannelRefused, HopTransport, NoAlgorithm

_SETTLE = 0.3
_PAUSE = 1.0
_CHANGE_IT = "Change it in ssh_config, or leave it out."
_FAMILIES = {None: socket.AF_UNSPEC, "inet": socket.AF_INET, "inet6": socket.AF_INET6}
_NO_ADDRESS = "the name cannot be resolved"
_CHECK_NAME = "Check the name, and the resolver of the controller."
_NO_JUMP = "No jump host is set for this host (ansible_ssh_jump)."
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
        self.given_up = ""
        #: The host key that was verified.
        self.trust: Trust | None = None
        #: The address that it was connected to by, where this process has connected to it.
        self.address: str | None = None
        #: Whether one of the keys of last resort logged in.
        self.used_fallback = False
        #: Whether its server has told that it has no SFTP.
        self.no_sftp = False
        #: Seconds of silence after which it is given up.
        self.patience = math.inf
        #: Seconds until the last keepalive was answered; None if there was none yet.
        self.round_trip: float | None = None
        self._sock = sock
        self._proxy = proxy

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
        return f"the connection broke: {said(str(error)) or type(error).__name__}"

    @property
    def is_dead(self) -> bool:
        """Whether nothing can be done on it any more."""
        return bool(self.given_up) or not self.transport.is_active()

    def abort(self, why: str) -> None:
        """Ends what carries it, without waiting for the other side; the first reason counts."""
        self.given_up = self.given_up or why
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
            self.transport.join(_SETTLE)
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
    end = time.monotonic() + _SETTLE
    while True:
        dead = next((link for link in links if link.is_dead), None)
        if not links or dead is links[0] or time.monotonic() >= end:
            return dead
        links[0].transport.join(_SETTLE / 20)


def dead_hop(links: Sequence[Link], chain: Chain) -> HopUnreachable | None:
    """The error of the nearest link that is down: a hop that fails because one before it died is not at fault."""
    dead = nearest_dead(links)
    return None if dead is None else HopUnreachable(chain.place(links.index(dead)), dead.explain(), _IS_IT_UP)


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


def open_hop(
    chain: Chain, index: int, before: Sequence[Link], total: Deadline, turns: LoginTurns, report: Report
) -> Link:
    """Opens one hop of a chain: connects to it, verifies it, and logs in.

    :param index: which hop, from 0.
    :param before: the links to the hops before it.
    :param total: what is left of the time for all hops.
    :param turns: who may log in to a hop, and what was refused before.
    :returns: the caller closes it.
    :raises HopError: which names the hop; what was opened is closed.
    """
    started = time.monotonic()
    prefix, place = chain.hops[: index + 1], chain.place(index)
    hop = prefix[-1]
    check = HostKeyCheck(hop, place, report.warn)  # a file that cannot be read is told before there is any connection
    with turns.take(prefix, place, Deadline(hop.timeout, total)):
        deadline = Deadline(hop.timeout, total)
        link = _connect(chain, index, before, deadline)
        try:
            key = _greeted(link, check, before, chain, deadline)
            link.trust = check.verify(key, link.address)
            _log_in(link, chain, link.trust.secrets_allowed, before, deadline)
        except BaseException:
            hang_up([link])
            raise
    report.note(f"{place}: logged in after {time.monotonic() - started:.3f} s")
    return link


def look_at(chain: Chain, index: int, before: Sequence[Link], total: Deadline) -> tuple[HostKey, str | None]:
    """The host key that a hop shows, and the address that it was connected to by, without logging in to it.

    :param before: the links to the hops before it.
    :raises HopError: which names the hop.
    """
    hop = chain.hops[index]
    check = HostKeyCheck(hop, chain.place(index), lambda _line: None)
    deadline = Deadline(hop.timeout, total)
    link = _connect(chain, index, before, deadline)
    try:
        return _greeted(link, check, before, chain, deadline), link.address
    finally:
        hang_up([link])


def _greeted(link: Link, check: HostKeyCheck, before: Sequence[Link], chain: Chain, deadline: Deadline) -> HostKey:
    """The key exchange, with the host keys asked for first that are known; whoever gets the key has to verify it."""
    hop = chain.hops[len(before)]
    wanted = check.prefer(*link.transport.host_key_algorithms())
    if not wanted:
        names = ",".join(hop.host_keys.algorithms or ())
        raise AlgorithmsRefused(link.place, f"none of HostKeyAlgorithms {names} can be used here", _CHANGE_IT)
    link.transport.get_security_options().key_types = wanted
    _exchange_keys(link, before, chain, deadline)
    key = link.transport.get_remote_server_key()
    certificate = key.public_blob
    if certificate is None:
        return HostKey(key.get_name(), key.asbytes())
    return HostKey(key.get_name(), key.asbytes(), certificate.key_blob, certificate.key_type)


def _log_in(link: Link, chain: Chain, secrets_allowed: bool, before: Sequence[Link], deadline: Deadline) -> None:
    login = Login(link.transport, chain.hops[len(before)], link.place, deadline, secrets_allowed)
    try:
        deadline.limit(login.run)
    except TimeoutError as error:
        raise login.overdue() from error
    except HopUnreachable as error:
        dead = dead_hop(before, chain)
        if dead is None:
            raise
        raise dead from error
    link.used_fallback = login.used_fallback


def _connect(chain: Chain, index: int, before: Sequence[Link], deadline: Deadline) -> Link:
    hop, place = chain.hops[index], chain.place(index)
    if before:
        return _link(place, hop, _forward(chain, index, before, deadline))
    if hop.proxy_command is not None:
        command = expand_command(hop.proxy_command, hop)
        try:
            proxy = ProxyProcess(command, hop.surroundings)
        except OSError as error:
            problem = f"the ProxyCommand cannot be started: {error.strerror or error}"
            raise HopUnreachable(place, problem, "It is run by $SHELL, which has to be a shell.") from error
        return _link(place, hop, proxy.sock, proxy)
    sock, address = _tcp(hop, place, deadline)
    link = _link(place, hop, sock)
    link.address = address
    return link


def _link(place: str, hop: Hop, sock: Any, proxy: ProxyProcess | None = None) -> Link:
    try:
        return Link(place, sock, proxy, hop.transport)
    except NoAlgorithm as error:
        (proxy or sock).close()
        raise AlgorithmsRefused(place, str(error), _CHANGE_IT) from error


def _tcp(hop: Hop, place: str, deadline: Deadline) -> tuple[socket.socket, str]:
    """The first address that answers, in the resolver's order, and a connection to it; they share the time that there is."""
    addresses = _addresses(hop, place, deadline)
    problem: OSError | None = None
    for attempt in range(hop.transport.attempts):
        if deadline.expired:
            break
        if attempt:
            time.sleep(min(_PAUSE, deadline.remaining()))  # as ssh(1)
        for tried, address in enumerate(addresses):
            left = hop.transport.attempts - attempt
            try:
                # An address that answers nothing leaves time for those after it.
                sock = _connected(address, hop, deadline.remaining() / (left * len(addresses) - tried))
                return sock, str(address[4][0])
            except OSError as error:
                problem = error
    if deadline.expired:
        raise HopUnreachable(place, f"no connection within {deadline.seconds:g} seconds", _advice(hop)) from problem
    reason = (problem.strerror or str(problem)) if problem else _NO_ADDRESS
    raise HopUnreachable(place, f"cannot connect: {reason}", _advice(hop)) from problem


def _addresses(hop: Hop, place: str, deadline: Deadline) -> list[Any]:
    family = _FAMILIES[hop.transport.address_family]
    try:
        return deadline.limit(lambda: socket.getaddrinfo(hop.host, hop.port, family, socket.SOCK_STREAM))
    except TimeoutError as error:
        problem_said = f"the name was not resolved within {deadline.seconds:g} seconds"
        raise HopUnreachable(place, problem_said, _CHECK_NAME) from error
    except (OSError, UnicodeError) as error:
        problem_said = f"{_NO_ADDRESS}: {getattr(error, 'strerror', None) or error}"
        raise HopUnreachable(place, problem_said, _CHECK_NAME + _hint(hop)) from error


def _connected(found: Any, hop: Hop, seconds: float) -> socket.socket:
    family, kind, protocol, _name, address = found
    sock = socket.socket(family, kind, protocol)
    try:
        if hop.transport.bind_address is not None:
            # An address, not a name: AI_NUMERICHOST keeps the resolver out, which may take long.
            own = socket.getaddrinfo(hop.transport.bind_address, 0, family, kind, protocol, socket.AI_NUMERICHOST)
            sock.bind(own[0][4])
        sock.settimeout(seconds)
        sock.connect(address)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except OSError:
        sock.close()
        raise
    return sock


def _advice(first: Hop) -> str:
    """For a first hop that the controller cannot reach: often a bastion was meant to be before it."""
    advice = f"Check the host, its port {first.port} and the firewall."
    return advice + _hint(first)


def _hint(first: Hop) -> str:
    return f" {_NO_JUMP}" if first.setting == TARGET else ""


def _forward(chain: Chain, index: int, links: Sequence[Link], deadline: Deadline) -> paramiko.Channel:
    """A channel to the next hop; its name is resolved by the hop before it (RFC 4254 section 7.2)."""
    hop = chain.hops[index]
    try:
        return links[-1].transport.open("direct-tcpip", (hop.host, hop.port), deadline.remaining())
    except ChannelRefused as error:
        raise _forwarding_error(error, chain, index) from error
    except BROKEN as error:
        words = f"the hop before it opened no connection in {deadline.seconds:g} seconds"
        advice = f"Does a firewall drop what that hop sends to {hop.host} port {hop.port}? Else a longer ansible_ssh_timeout."
        raise dead_hop(links, chain) or HopUnreachable(chain.place(index), words, advice) from error


def _forwarding_error(error: ChannelRefused, chain: Chain, index: int) -> HopError:
    """What a refused direct-tcpip means (RFC 4254 section 5.1)."""
    hop, place = chain.hops[index], chain.place(index)
    host = f"[{hop.host}]" if ":" in hop.host else hop.host
    if error.code == 1:  # SSH_OPEN_ADMINISTRATIVELY_PROHIBITED
        visited = [(earlier.host, earlier.port) for earlier in chain.hops[:index]]
        if (hop.host, hop.port) in visited:
            return ForwardingRefused(
                chain.place(index - 1),
                f"it refuses to forward to {host}:{hop.port}, which is hop {visited.index((hop.host, hop.port)) + 1} as well",
                "The way to this host leads through itself; for a bastion, let ansible_ssh_jump be 'none'.",
            )
        return ForwardingRefused(
            chain.place(index - 1),
            f"it refuses to forward to {host}:{hop.port}",
            f"In its sshd_config, AllowTcpForwarding must be 'yes' or 'local', DisableForwarding 'no', and PermitOpen, "
            f"if set, must list {host}:{hop.port}; so must the permitopen of the key that was used. Hops are visited in the order in which they are written.",
        )
    words = error.words
    if error.code == 2:  # SSH_OPEN_CONNECT_FAILED
        return HopUnreachable(
            place,
            f"the hop before it cannot connect to {host}:{hop.port}" + (f": {words}" if words else ""),
            "The name is resolved, and the connection made, by that hop.",
        )
    problem = f"the hop before it opened no connection: {words} (code {error.code})"
    return HopUnreachable(place, problem, "The log of that hop says why.")


def _exchange_keys(link: Link, before: Sequence[Link], chain: Chain, deadline: Deadline) -> None:
    hop = chain.hops[len(before)]
    done = threading.Event()
    link.transport.start_client(event=done)
    done.wait(deadline.remaining())
    if done.is_set() and link.transport.is_active():
        return
    error = link.transport.saved_exception
    if isinstance(error, paramiko.ssh_exception.IncompatiblePeer):
        raise AlgorithmsRefused(link.place, *_incompatible(link.transport, str(error))) from error
    dead = dead_hop(before, chain)
    if dead is not None:
        raise dead from error
    if not done.is_set():
        raise HopUnreachable(
            link.place,
            f"connected, but no SSH answer within {deadline.seconds:g} seconds",
            f"Is {hop.host} port {hop.port} an SSH server, and not overloaded?",
        )
    raise HopUnreachable(link.place, *_handshake_failure(link, error)) from error


def _handshake_failure(link: Link, error: BaseException | None) -> tuple[str, str]:
    """What ended a conversation before there was a common key, and what to look at."""
    words = said(str(error)) if error else ""
    ended = not words or "banner" in words or isinstance(error, (EOFError, OSError))
    if link.proxied:
        return link.explain() if ended else f"the key exchange failed: {words}", "Try the command by hand."
    if ended:
        return (
            "it closed the connection before an SSH conversation began",
            "Is it an SSH server, and do its MaxStartups, PerSourcePenalties and firewall let this controller in? "
            "Fewer forks, or ansible_ssh_retries, help a busy one.",
        )
    return f"the key exchange failed: {words}", "Is it an SSH server?"


def _incompatible(transport: HopTransport, words: str) -> tuple[str, str]:
    if "host key" not in words:
        return f"no common algorithm that is safe to use: {said(words)}", "Update the SSH server."
    offered = ", ".join(transport.offered_host_keys)
    return (
        f"the server offers only the host key algorithms {offered}, and none of them is safe to use (ssh-rsa signs with SHA-1)",
        "Give it an ed25519 host key, or update it so that it signs with rsa-sha2-256.",
    )
