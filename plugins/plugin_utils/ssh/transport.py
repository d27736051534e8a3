# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""paramiko's Transport with what it leaves out: why the other side hung up, what it offered, an end when it is stuck."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

from ..chain.model import TransportOptions
from ..errors import said
from .channel import MSG_CHANNEL_CLOSE, SHORT, HopChannel, TransportLock, handle_close, handle_request, send_aside
from .deadline import Deadline
from .library import BROKEN, InvalidTag, paramiko

_MSG_SERVICE_REQUEST = 5  # RFC 4250 section 4.1.2, as the next two
_MSG_USERAUTH_REQUEST = 50
_MSG_CHANNEL_REQUEST = 98
_LOG = "bastion.ssh.paramiko"
_GREETING_LINES = 10

# SHA-1 and what OpenSSH no longer offers either; with these gone, what is left of each list is sound.
_WEAK = {
    "kex": [
        "diffie-hellman-group1-sha1",
        "diffie-hellman-group14-sha1",
        "diffie-hellman-group-exchange-sha1",
    ],
    "keys": ["ssh-rsa", "ssh-dss", "ssh-rsa-cert-v01@openssh.com"],
    "pubkeys": ["ssh-rsa", "ssh-dss", "ssh-rsa-cert-v01@openssh.com"],
    "ciphers": ["aes128-cbc", "aes192-cbc", "aes256-cbc", "blowfish-cbc", "3des-cbc"],
    "macs": ["hmac-md5", "hmac-md5-96", "hmac-sha1-96"],
}


_ALL_WEAK = frozenset(name for names in _WEAK.values() for name in names)
# The same by another name (RFC 8731).
_ALIASES = {"curve25519-sha256": "curve25519-sha256@libssh.org"}


# First the ciphers that need no separate MAC, which costs several times what AES does; then what the library prefers.
_FAST = tuple(
    name
    for name in ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com")
    if name in paramiko.Transport._preferred_ciphers  # type: ignore[attr-defined] # since paramiko 3.5
)


class _Packetizer(paramiko.packet.Packetizer):
    """Counts bytes, keeps a greeting, and tells of a packet that was changed whatever the cipher is."""

    def __init__(self, sock: Any) -> None:
        super().__init__(sock)
        self.sent = self.received = 0
        #: When something arrived last.
        self.heard_at = time.monotonic()
        #: Lines before the version of the server (RFC 4253 section 4.2).
        self.greeting: list[str] = []
        #: Seconds after which there are to be new keys; 0 for never.
        self.rekey_seconds = 0
        self._keyed_at = time.monotonic()

    def start_handshake(self, timeout: float) -> None:
        """Nothing: whoever dials has a deadline, and the library's timer would outlive a dial that fails."""

    def readline(self, timeout: float) -> str:
        line = str(super().readline(timeout))
        if not line.startswith("SSH-") and len(self.greeting) < _GREETING_LINES:
            self.greeting.append(line)
        return line

    def read_message(self) -> tuple[int, paramiko.Message]:
        try:
            return super().read_message()
        except InvalidTag as error:  # of AES-GCM; the library lets it through
            raise paramiko.SSHException("Mismatched MAC") from error

    def set_inbound_cipher(self, *args: Any, **keywords: Any) -> None:
        self._keyed_at = time.monotonic()
        super().set_inbound_cipher(*args, **keywords)

    def need_rekey(self) -> bool:
        """Whether it is time for new keys (RFC 4253 section 9)."""
        overdue = self.rekey_seconds and time.monotonic() - self._keyed_at >= self.rekey_seconds
        return bool(overdue or super().need_rekey())

    def read_all(self, n: int, check_rekey: bool = False) -> Any:
        data = super().read_all(n, check_rekey)
        self.received += len(data)
        self.heard_at = time.monotonic()
        return data

    def write_all(self, out: Any) -> None:
        self.sent += len(out)
        super().write_all(out)


class NoAlgorithm(Exception):
    """None of the algorithms that somebody wants is there."""


def _usable(
    keyword: str, wanted: tuple[str, ...] | None, usual: Sequence[str], known: Mapping[str, Any]
) -> tuple[str, ...]:
    """Those of the algorithms that are wanted which the library has and which are safe; the usual ones where nobody says any."""
    if wanted is None:
        return tuple(usual)
    names = (_ALIASES.get(name, name) for name in wanted)
    found = tuple(dict.fromkeys(name for name in names if name in known and name not in _ALL_WEAK))
    if not found:
        raise NoAlgorithm(f"none of {keyword} {','.join(wanted)} can be used here; {','.join(usual)} can")
    return found


class ChannelRefused(Exception):
    """The other side does not open a channel (RFC 4254 section 5.1).

    :param code: its reason.
    :param words: its words, safe to show.
    """

    def __init__(self, code: int, words: str) -> None:
        super().__init__(f"{words} (code {code})")
        self.code = code
        self.words = words


class _Until:
    """A time limit that the library adds to the time of day and then compares with that, which can be set meanwhile."""

    def __init__(self, deadline: Deadline) -> None:
        self._deadline = deadline

    def __radd__(self, _start: float) -> _Until:
        return self

    def __lt__(self, _now: float) -> bool:
        return self._deadline.expired


class _Seen:
    """In place of the library's list of all channels that there ever were, which grows for as long as there is a connection."""

    def __init__(self) -> None:
        self._last = -1

    def __setitem__(self, number: int, _seen: bool) -> None:
        self._last = max(self._last, number)

    def __contains__(self, number: int) -> bool:
        return number <= self._last


class _Userauth(paramiko.auth_handler.AuthOnlyHandler):
    """The library makes the event after it has sent the request, and so misses an answer that comes between."""

    def send_auth_request(self, username: str, method: str, finish_message: Any = None) -> list[str]:
        """Sends a request (RFC 4252 section 5) and waits for its answer: methods still wanted, none if it is over."""
        self.auth_method = method
        self.username = username
        self.auth_event = threading.Event()
        request = paramiko.Message()
        request.add_byte(bytes([_MSG_USERAUTH_REQUEST]))
        request.add_string(username)
        request.add_string("ssh-connection")
        request.add_string(method)
        finish_message(request)
        self.transport._send_message(request)  # type: ignore[attr-defined]
        return list(self.wait_for_response(self.auth_event))

    def auth_none(self, username: str) -> list[str]:  # type: ignore[override]
        """Asks for the methods (RFC 4252 section 5.2)."""
        return self.send_auth_request(username, "none", lambda _request: None)


class HopTransport(paramiko.ServiceRequestingTransport):  # type: ignore[name-defined,misc]
    """One SSH connection to one hop, not yet authenticated.

    Strict key exchange is offered by default (CVE-2023-48795). Key exchange, login and channels take as long as their
    deadlines allow, so the library's own shorter limits are lifted.

    :param sock: a socket, or a channel of the hop before.
    :raises NoAlgorithm: of those that are wanted, there is none.
    """

    #: Seconds between looks of a thread that nothing wakes. What ends a link wakes it, so there is nothing to look for.
    _active_check_timeout = 30.0
    _preferred_ciphers = _FAST + tuple(
        name
        for name in paramiko.Transport._preferred_ciphers  # type: ignore[attr-defined]
        if name not in _FAST
    )
    server_extensions: dict[str, bytes]  # of RFC 8308; paramiko sets it
    _saved_exception: Exception | None = None

    _channel_handler_table = {  # noqa: RUF012
        **paramiko.Transport._channel_handler_table,  # type: ignore[attr-defined]
        MSG_CHANNEL_CLOSE: handle_close,
        _MSG_CHANNEL_REQUEST: handle_request,
    }

    def __init__(self, sock: Any, options: TransportOptions | None = None) -> None:
        super().__init__(sock, disabled_algorithms=_WEAK, packetizer_class=_Packetizer)
        self.daemon = True
        if options is not None:
            self._follow(options)
        # A channel of its own without handlers: nothing of paramiko's log is for users or for a log file.
        self.set_log_channel(_LOG)
        self.banner_timeout = self.auth_timeout = self.clear_to_send_timeout = 86400.0
        #: Why the other side disconnected (RFC 4253 section 11.1), safe to show; empty if it did not say.
        self.disconnect_reason = ""
        #: Host key algorithms that the server offers, once the key exchange has begun.
        self.offered_host_keys: tuple[str, ...] = ()
        self.channels_seen = _Seen()
        # In place of the library's, which it does not use before it is started.
        self.clear_to_send_lock = TransportLock(self)
        self.lock = TransportLock(self, SHORT)
        self.server_accept_cv = threading.Condition(self.lock)  # type: ignore[arg-type]
        self._userauth_accepted = threading.Event()
        self._opening = threading.local()
        self._refused: dict[int, ChannelRefused] = {}
        self._unwanted: set[int] = set()  # channels that were not opened in time

    def _follow(self, options: TransportOptions) -> None:
        security = self.get_security_options()
        security.ciphers = _usable("Ciphers", options.ciphers, self.preferred_ciphers, self._cipher_info)
        security.digests = _usable("MACs", options.macs, self.preferred_macs, self._mac_info)
        security.kex = _usable("KexAlgorithms", options.kex, self.preferred_kex, self._kex_info)
        self.use_compression(options.compression)
        if options.rekey_bytes:
            self.packetizer.REKEY_BYTES = options.rekey_bytes
        self.packetizer.rekey_seconds = options.rekey_seconds

    def host_key_algorithms(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The usual ones, in the library's order, and all that it has; none that is not safe."""
        there = (name for name in self._key_info if name not in _ALL_WEAK)
        return tuple(self.preferred_keys), tuple(there)

    def sign_only_with(self, algorithms: tuple[str, ...] | None) -> None:
        """Signs logins with no others (PubkeyAcceptedAlgorithms); None for all that are safe."""
        if algorithms is not None:
            others = [name for name in self._preferred_pubkeys if name not in algorithms]
            self.disabled_algorithms = {**_WEAK, "pubkeys": [*_WEAK["pubkeys"], *others]}

    def forget_questions(self) -> None:
        """Lets go of what answers questions of a login, and so of the answers, which the library keeps for as long as itself."""
        if self.auth_handler is not None:
            self.auth_handler.interactive_handler = lambda *_asked: []

    @property
    def sent(self) -> int:
        """Bytes that went to the hop, those of SSH itself included."""
        return int(self.packetizer.sent)

    @property
    def heard_at(self) -> float:
        """When something arrived last, by the clock that never goes back."""
        return float(self.packetizer.heard_at)

    @property
    def received(self) -> int:
        """Bytes that came from the hop, those of SSH itself included."""
        return int(self.packetizer.received)

    @property
    def greeting(self) -> str:
        """What the server said before, or in place of, an SSH conversation, safe to show."""
        return said(" ".join(self.packetizer.greeting))

    def abandon(self) -> None:
        """Gives up a connection whose thread does not end, as it is stuck: whoever waits for it gets an error.

        None of the locks that the thread may hold is waited for. The library knows several ways into such a deadlock
        (paramiko#247, #2534, #2685).
        """
        self.active = False
        self.packetizer.close()
        if self.auth_handler is not None:
            self.auth_handler.abort()
        for opened in list(self.channel_events.values()):
            opened.set()
        for channel in self._channels.values():
            if isinstance(channel, HopChannel):
                channel.abandon()

    @property
    def saved_exception(self) -> Exception | None:
        """What went wrong last. The library forgets it when it has told it; why a connection ended is asked more than once."""
        return self._saved_exception

    @saved_exception.setter
    def saved_exception(self, error: Exception | None) -> None:
        if error is not None or self.active:
            self._saved_exception = error

    def run(self) -> None:
        """The thread. Its last act is to close what carries it, which fails where that is a channel of a dead hop."""
        try:
            super().run()
        except BROKEN:
            self.abandon()  # what the library has not come to

    def ensure_session(self) -> None:
        """Asks for the userauth service once (RFC 4252 section 5): some servers hang up when it is asked for again.

        The library's own would wait for ever on a connection that has ended, and has no ears for a banner yet.

        :raises paramiko.SSHException: no answer within ``auth_timeout`` seconds, or the connection ended.
        """
        if self._userauth_accepted.is_set():
            return
        self.auth_handler = _Userauth(self)
        request = paramiko.Message()
        request.add_byte(bytes([_MSG_SERVICE_REQUEST]))
        request.add_string("ssh-userauth")
        self._send_message(request)
        end = time.monotonic() + self.auth_timeout
        while not self._userauth_accepted.wait(0.05):
            if not self.is_active() or time.monotonic() >= end:
                raise paramiko.SSHException("no userauth service")

    def _parse_service_accept(self, m: paramiko.Message) -> None:
        if m.get_text() == "ssh-userauth":
            self._userauth_accepted.set()

    def _parse_disconnect(self, m: paramiko.Message) -> None:
        m.get_int()
        self.disconnect_reason = said(m.get_binary())

    def open(self, kind: str, destination: tuple[str, int] | None = None, timeout: float = 10.0) -> HopChannel:
        """A channel. The library keeps one refusal for all that are being opened, and so may tell it to the wrong one.

        :param kind: ``session``, or ``direct-tcpip`` with a destination.
        :param timeout: seconds.
        :raises ChannelRefused: by the server.
        :raises paramiko.SSHException: no answer in time, or the connection ended.
        """
        origin = None if destination is None else ("127.0.0.1", 65535)
        try:
            channel: HopChannel = self.open_channel(kind, destination, origin, timeout=_Until(Deadline(timeout)))
            return channel
        except BROKEN:
            refusal = self._take_refusal(getattr(self._opening, "number", -1))
            if refusal is None:
                raise
            raise refusal from None

    def _take_refusal(self, number: int) -> ChannelRefused | None:
        """Why a channel was not opened; where there was no answer, it is not wanted any more."""
        with self.lock:
            if self.channel_events.pop(number, None) is not None:
                self._unwanted.add(number)
            return self._refused.pop(number, None)

    def _close_unwanted(self, number: int) -> None:
        """Else a channel that was opened too late would stay open at the server, with the connection that it forwards."""
        message = paramiko.Message()
        message.add_byte(bytes([MSG_CHANNEL_CLOSE]))
        message.add_int(number)
        with contextlib.suppress(*BROKEN):
            self._send_user_message(message)

    def _next_channel(self) -> int:
        self._opening.number = number = super()._next_channel()
        return int(number)

    def _parse_channel_open_success(self, m: paramiko.Message) -> None:
        number = m.get_int()
        if number in self._unwanted:
            self._unwanted.discard(number)
            send_aside(self._close_unwanted, m.get_int())
            return
        channel = self._channels.get(number)
        if channel is not None:  # nothing has been received on it yet, and nobody uses it
            HopChannel.adopt(channel, self)
        m.rewind()
        super()._parse_channel_open_success(m)

    def _parse_channel_open_failure(self, m: paramiko.Message) -> None:
        number = m.get_int()
        refusal = ChannelRefused(m.get_int(), said(m.get_binary()))
        with self.lock:
            opened = self.channel_events.pop(number, None)
            if opened is not None:
                self._refused[number] = refusal
                self._channels.delete(number)
                opened.set()

    def _really_parse_kex_init(self, m: paramiko.Message, ignore_first_byte: bool = False) -> Any:
        parsed = super()._really_parse_kex_init(m, ignore_first_byte)
        if not ignore_first_byte:
            self.offered_host_keys = tuple(said(name, 60) for name in parsed["server_key_algo_list"])
        return parsed


def _silence() -> None:
    logger = logging.getLogger(_LOG)
    logger.addHandler(logging.NullHandler())
    logger.propagate = False


_silence()
