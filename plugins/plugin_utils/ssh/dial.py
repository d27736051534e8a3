# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection.
"""Connect to the hops of a chain: TCP or direct-tcpip, key exchange, host key, login.

A failed attempt leaves no socket, thread or process behind, and no hop is ever skipped.
"""

from __future__ import annotations

import errno
import random
import socket
import threading
import time
from collections.abc import Sequence
from typing import Any

from ..chain.model import TARGET, Chain, Hop
from ..chain.tokens import expand_command
from ..client.interface import Report
from ..deadline import Deadline
from ..errors import AlgorithmsRefused, ForwardingRefused, HopError, HopTemporarilyUnavailable, HopUnreachable, sanitize
from ..patched_paramiko.algorithms import NoAlgorithm
from ..patched_paramiko.compat import BROKEN, paramiko
from ..patched_paramiko.transport import ChannelRefused, HopTransport
from .auth import Login
from .backoff import pause
from .host_keys import HostKey, HostKeyCheck
from .link import Link, dead_hop, hang_up
from .login_lock import LoginLock
from .proxy_command import ProxyProcess

_PAUSE = 1.0
_CHANGE_IT = "Change it in ssh_config, or leave it out."
_FAMILIES = {None: socket.AF_UNSPEC, "inet": socket.AF_INET, "inet6": socket.AF_INET6}
_BY_HAND = "Try the command by hand."
_IS_IT_SSH = "Is it an SSH server? Its log may say why."
_NO_ADDRESS = "the name cannot be resolved"
_CHECK_NAME = "Check the name, and the resolver of the controller."
_NO_JUMP = "No jump host is set for this host (ansible_ssh_jump)."
_ORDER = "The controller connects to it directly: if it is behind another bastion, list that one before it."


def open_hop(
    chain: Chain,
    index: int,
    before: Sequence[Link],
    total: Deadline,
    turns: LoginLock,
    report: Report,
    cancelled: threading.Event,
) -> Link:
    """Connect to one hop of a chain, verify its host key and log in.

    :param index: of the hop, from 0.
    :param before: the links to the hops before it.
    :param total: the deadline for all hops.
    :param turns: serializes logins, and remembers refused ones.
    :param cancelled: set when the connection is no longer needed, which ends further attempts.
    :returns: the link, which the caller closes.
    :raises HopError: names the hop; everything that was opened is closed.
    """
    started = time.monotonic()
    prefix, place = chain.hops[: index + 1], chain.place(index)
    hop = prefix[-1]
    check = HostKeyCheck(hop, place, report.warn)  # reports an unreadable file before connecting
    with turns.hold(prefix, place, Deadline(hop.patience, total), report.waits):
        deadline = Deadline(hop.timeout, total)
        link, key = _meet(chain, index, before, check, deadline, report, cancelled)
        try:
            link.trust = check.verify(key, link.address)
            _log_in(link, chain, before, Deadline(hop.login_timeout, total), report)
        except BaseException:
            hang_up([link])
            raise
    link.login_seconds = time.monotonic() - started
    report.note(f"{place}: logged in after {link.login_seconds:.3f} s")
    return link


def fetch_host_key(chain: Chain, index: int, before: Sequence[Link], total: Deadline) -> tuple[HostKey, str | None]:
    """Return a hop's host key without logging in, and its IP address if the controller connected to it over TCP.

    :param before: the links to the hops before it.
    :raises HopError: names the hop.
    """
    hop = chain.hops[index]
    report = Report(note=lambda _line: None, warn=lambda _line: None)
    check = HostKeyCheck(hop, chain.place(index), report.warn)
    link, key = _meet(chain, index, before, check, Deadline(hop.timeout, total), report, threading.Event())
    hang_up([link])
    return key, link.address


def _meet(
    chain: Chain,
    index: int,
    before: Sequence[Link],
    check: HostKeyCheck,
    deadline: Deadline,
    report: Report,
    cancelled: threading.Event,
) -> tuple[Link, HostKey]:
    """Connect to a hop and return its host key. While the hop is temporarily unavailable, retry until the deadline."""
    told: list[HopTemporarilyUnavailable] = []
    while True:
        try:
            return _met(chain, index, before, check, deadline, report)
        except HopTemporarilyUnavailable as error:
            told.append(error)
            seconds = pause(len(told), random.random())
            if deadline.remaining() <= seconds:
                raise
            report.note(f"{error} Trying again in {seconds:.1f} s.")
            if cancelled.wait(seconds):
                raise
        except HopUnreachable:
            if told and deadline.expired:  # the earlier error says more than a timeout
                raise told[-1] from None
            raise


def _met(
    chain: Chain, index: int, before: Sequence[Link], check: HostKeyCheck, deadline: Deadline, report: Report
) -> tuple[Link, HostKey]:
    link = _connect(chain, index, before, deadline, report)
    try:
        return link, _greeted(link, check, before, chain, deadline)
    except BaseException:
        hang_up([link])
        raise


def _greeted(link: Link, check: HostKeyCheck, before: Sequence[Link], chain: Chain, deadline: Deadline) -> HostKey:
    """Exchange keys, preferring the types of known host keys. Return the host key, which the caller must verify."""
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


def _log_in(link: Link, chain: Chain, before: Sequence[Link], deadline: Deadline, report: Report) -> None:
    secrets_allowed = link.trust is not None and link.trust.secrets_allowed
    login = Login(link.transport, chain.hops[len(before)], link.place, deadline, secrets_allowed)
    link.transport.login_deadline = deadline
    try:
        deadline.limit(login.run, report.waits)
    except TimeoutError as error:
        raise login.overdue() from error
    except HopUnreachable as error:
        dead = dead_hop(before, chain)
        if dead is None:
            raise
        raise dead from error
    link.used_fallback = login.used_fallback
    link.agent_keys = frozenset(login.agent_keys)


def _connect(chain: Chain, index: int, before: Sequence[Link], deadline: Deadline, report: Report) -> Link:
    hop, place = chain.hops[index], chain.place(index)
    if before:
        return _link(place, hop, _forward(chain, index, before, deadline, report))
    if hop.proxy_command is not None:
        command = expand_command(hop.proxy_command, hop)
        try:
            proxy = ProxyProcess(command, hop.exec_context)
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
    """Connect to the first address that answers, in the resolver's order. Return the socket and the IP address."""
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
                # Divide the remaining time, so that a silent address leaves some for the others.
                sock = _connected(address, hop, deadline.remaining() / (left * len(addresses) - tried))
                return sock, str(address[4][0])
            except OSError as error:
                problem = error
    if deadline.expired:
        raise HopUnreachable(place, f"no connection within {deadline.seconds:g} seconds", _advice(hop)) from problem
    reason = (problem.strerror or str(problem)) if problem else _NO_ADDRESS
    refused = problem is not None and problem.errno == errno.ECONNREFUSED
    raise _unreachable(hop, refused)(place, f"cannot connect: {reason}", _advice(hop)) from problem


def _unreachable(hop: Hop, refused: bool) -> type[HopUnreachable]:
    """Return the error class for a failed connection, which decides whether to retry.

    A jump host that refuses connections may be restarting, and many hosts depend on it. A target that does is reported at once,
    as many targets may be down and each is one host only.
    """
    return HopTemporarilyUnavailable if refused and hop.setting != TARGET else HopUnreachable


def _addresses(hop: Hop, place: str, deadline: Deadline) -> list[Any]:
    family = _FAMILIES[hop.transport.address_family]
    try:
        return deadline.limit(lambda: socket.getaddrinfo(hop.host, hop.port, family, socket.SOCK_STREAM))
    except TimeoutError as error:
        problem = f"the name was not resolved within {deadline.seconds:g} seconds"
        raise HopUnreachable(place, problem, _CHECK_NAME) from error
    except (OSError, UnicodeError) as error:
        problem = f"{_NO_ADDRESS}: {getattr(error, 'strerror', None) or error}"
        raise HopUnreachable(place, problem, _CHECK_NAME + _hint(hop)) from error


def _connected(found: Any, hop: Hop, seconds: float) -> socket.socket:
    family, kind, protocol, _name, address = found
    sock = socket.socket(family, kind, protocol)
    try:
        if hop.transport.bind_address is not None:
            # AI_NUMERICHOST avoids the resolver, which may be slow: BindAddress must be an address.
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
    """Return the advice for a first hop that the controller cannot reach."""
    advice = f"Check the host, its port {first.port} and the firewall."
    return advice + _hint(first)


def _hint(first: Hop) -> str:
    """Return a hint at a missing jump host before the first hop, a common mistake."""
    return f" {_NO_JUMP if first.setting == TARGET else _ORDER}"


def _forward(chain: Chain, index: int, links: Sequence[Link], deadline: Deadline, report: Report) -> paramiko.Channel:
    """Open a channel to the next hop, whose name is resolved by the hop before it (RFC 4254 section 7.2)."""
    hop, transport = chain.hops[index], links[-1].transport
    served = transport.serves
    try:
        channel = transport.open("direct-tcpip", (hop.host, hop.port), deadline.remaining(), report.waits)
        if not served:
            deadline.restart(hop.timeout)  # do not count the wait until the hop before it served
        return channel
    except ChannelRefused as error:
        raise _forwarding_error(error, chain, index) from error
    except BROKEN as error:
        words = f"the hop before it opened no connection in {deadline.seconds:g} seconds"
        advice = f"Does a firewall drop what that hop sends to {hop.host} port {hop.port}? Else a longer ansible_ssh_timeout."
        raise dead_hop(links, chain) or HopUnreachable(chain.place(index), words, advice) from error


def _forwarding_error(error: ChannelRefused, chain: Chain, index: int) -> HopError:
    """Return the error for a refused direct-tcpip channel (RFC 4254 section 5.1)."""
    hop, place = chain.hops[index], chain.place(index)
    host = f"[{hop.host}]" if ":" in hop.host else hop.host
    if error.code == 1:  # SSH_OPEN_ADMINISTRATIVELY_PROHIBITED
        visited = [(earlier.host, earlier.port) for earlier in chain.hops[:index]]
        if (hop.host, hop.port) in visited:
            return ForwardingRefused(
                chain.place(index - 1),
                f"it refuses to forward to {host}:{hop.port}, which is hop {visited.index((hop.host, hop.port)) + 1} as well",
                "The route to this host leads through the host itself; for a bastion, let ansible_ssh_jump be 'none'.",
            )
        return ForwardingRefused(
            chain.place(index - 1),
            f"it refuses to forward to {host}:{hop.port}",
            f"In its sshd_config, AllowTcpForwarding must be 'yes' or 'local', DisableForwarding 'no', and PermitOpen, "
            f"if set, must list {host}:{hop.port}; so must the permitopen of the key that was used. Hops are visited in the order in which they are written.",
        )
    words = error.words
    if error.code == 2:  # SSH_OPEN_CONNECT_FAILED
        return _unreachable(hop, "refused" in words.lower())(
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
    if deadline.wait(done) and link.transport.is_active():
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
    raise _handshake_error(link, error) from error


def _handshake_error(link: Link, error: BaseException | None) -> HopUnreachable:
    """Return the error for a connection that failed before or during the key exchange."""
    words = sanitize(str(error or ""))
    ended = not words or "banner" in words or isinstance(error, (EOFError, OSError))
    if ended and link.proxied:
        return HopUnreachable(link.place, link.explain(), _BY_HAND)
    if ended and not link.transport.remote_version:
        greeting = link.transport.greeting
        return HopTemporarilyUnavailable(
            link.place,
            f"it closed the connection before an SSH conversation began, and said: {greeting}"
            if greeting
            else "it closed the connection before an SSH conversation began",
            "Is it an SSH server, and do its MaxStartups, PerSourcePenalties and firewall let this controller in? "
            "Fewer forks, or a longer ansible_ssh_timeout, help where it is busy.",
        )
    why = link.explain() if ended else words
    return HopUnreachable(link.place, f"the key exchange failed: {why}", _BY_HAND if link.proxied else _IS_IT_SSH)


def _incompatible(transport: HopTransport, words: str) -> tuple[str, str]:
    return transport.nothing_common or (
        f"no common algorithm that is safe to use: {sanitize(words)}",
        "Update the SSH server.",
    )
