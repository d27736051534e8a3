# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection.
"""Extend paramiko's Transport: why the server disconnected, what it offered, and an end when a thread is stuck."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ..chain.model import TransportOptions
from ..deadline import Deadline, Heartbeat
from ..errors import sanitize
from .algorithms import ALL_WEAK, FAST, KEX, KEX_INFO, WEAK, Offer, nothing_common, usable
from .channel import (
    MSG_CHANNEL_CLOSE,
    SHORT,
    HopChannel,
    TransportLock,
    handle_close,
    handle_data,
    handle_extended_data,
    handle_request,
    of_open_channel,
    send_in_background,
)
from .compat import BROKEN, paramiko
from .key_exchange import CHECKED, rejection_reason
from .packetizer import Packetizer
from .userauth import Userauth
from .violation import Violation, as_broken

_MSG_UNIMPLEMENTED = 3  # RFC 4250 section 4.1.2, as the next ones
_MSG_SERVICE_REQUEST = 5
_MSG_CHANNEL_OPEN_FAILURE = 92
_MSG_CHANNEL_DATA = 94
_MSG_CHANNEL_EXTENDED_DATA = 95
_MSG_CHANNEL_REQUEST = 98
_MSG_GLOBAL_REQUEST = 80
_LOG = "bastion.ssh.paramiko"

_AGENTS = 32  # most connections to a forwarded agent, with two threads each (OpenSSH's channels.c: 16,384 channels)
_RESOURCE_SHORTAGE = 4  # RFC 4254 section 5.1


class ChannelRefused(Exception):
    """Signal that the server refused to open a channel (RFC 4254 section 5.1).

    :param code: its reason code.
    :param words: its description, sanitized.
    """

    def __init__(self, code: int, words: str) -> None:
        super().__init__(f"{words} (code {code})")
        self.code = code
        self.words = words


class _Until:
    """Serve as the timeout of paramiko's open_channel(), which adds it to time.time() and compares the sum with time.time().

    The time of day can be set meanwhile. Besides, a server that has sent nothing since it accepted the login may not serve yet:
    request an answer, and begin the timeout with it.

    :param waits: called every few seconds.
    """

    def __init__(self, seconds: float, transport: HopTransport, waits: Callable[[], None]) -> None:
        self._seconds = seconds
        self._transport = transport
        self._heart = Heartbeat(waits)
        self._deadline = Deadline(seconds)
        self._looked = self._waits = False

    def __radd__(self, _start: float) -> _Until:
        return self

    def __lt__(self, _now: float) -> bool:
        self._heart.beat()
        serves = self._transport.serves
        if not self._looked and not serves:
            self._transport.ask_for_life()
        elif self._waits and serves:
            self._deadline = Deadline(self._seconds)
        self._looked, self._waits = True, not serves
        return serves and self._deadline.expired


class _ChannelIds:
    """Remember the highest channel number used, in place of paramiko's dict of all, which grows as long as the connection lasts."""

    def __init__(self) -> None:
        self._last = -1

    def __setitem__(self, number: int, _seen: bool) -> None:
        self._last = max(self._last, number)

    def __contains__(self, number: int) -> bool:
        return number <= self._last


class _Handlers(dict[int, Any]):
    """Map message types to handlers. paramiko raises KeyError for a type that it has no name for.

    :param usual: paramiko's handlers.
    :param unknown: the handler for such a type.
    """

    def __init__(self, usual: Mapping[int, Any], unknown: Callable[[paramiko.Message], None]) -> None:
        super().__init__(usual)
        self._unknown = unknown

    def __contains__(self, kind: object) -> bool:
        return super().__contains__(kind) or kind not in paramiko.common.MSG_NAMES

    def __missing__(self, _kind: int) -> Any:
        return self._unknown


class HopTransport(paramiko.ServiceRequestingTransport):  # type: ignore[name-defined,misc]
    """Represent one SSH connection to one hop, at first without a login.

    The base class (since paramiko 3.2) requests the userauth service only once. Strict key exchange is offered by default
    (CVE-2023-48795). Key exchange, login and channels have their own deadlines, so paramiko's shorter timeouts are lifted.

    :param sock: a socket, or a channel of the hop before.
    :raises NoAlgorithm: none of the configured algorithms can be used.
    """

    #: Seconds between checks of an idle thread, 0.1 in paramiko. What ends a link wakes the thread, so none are needed.
    _active_check_timeout = 30.0
    _preferred_ciphers = FAST + tuple(
        name
        for name in paramiko.Transport._preferred_ciphers  # type: ignore[attr-defined]
        if name not in FAST
    )
    _preferred_kex = KEX
    _kex_info = KEX_INFO | CHECKED
    server_extensions: dict[str, bytes]  # of RFC 8308; paramiko sets this and the next two
    auth_handler: Any
    _handler_table: dict[int, Any]
    _saved_exception: Exception | None = None

    _channel_handler_table = {  # noqa: RUF012
        kind: of_open_channel(handle)
        for kind, handle in {
            **paramiko.Transport._channel_handler_table,  # type: ignore[attr-defined]
            _MSG_CHANNEL_DATA: handle_data,
            _MSG_CHANNEL_EXTENDED_DATA: handle_extended_data,
            MSG_CHANNEL_CLOSE: handle_close,
            _MSG_CHANNEL_REQUEST: handle_request,
        }.items()
    }

    def __init__(self, sock: Any, options: TransportOptions | None = None) -> None:
        super().__init__(sock, disabled_algorithms=WEAK, packetizer_class=Packetizer)
        # A server that does not know a request, such as a keepalive, may reply UNIMPLEMENTED instead of a failure (RFC 4254
        # section 4). paramiko ignores that, and waits on.
        answers = {**self._handler_table, _MSG_UNIMPLEMENTED: self._parse_request_failure}
        self._handler_table = _Handlers(answers, self._pass_over)
        self.daemon = True
        if options is not None:
            self._follow(options)
        # A logger without handlers, as paramiko's log is neither for users nor for log files.
        self.set_log_channel(_LOG)
        self.banner_timeout = self.auth_timeout = self.clear_to_send_timeout = 86400.0
        #: Why the server disconnected (RFC 4253 section 11.1), sanitized; empty if it sent no reason.
        self.disconnect_reason = ""
        self._shown_key: bytes | None = None
        #: A problem and an advice, if the key exchange finds no common algorithm.
        self.nothing_common: tuple[str, str] | None = None
        self.channels_seen = _ChannelIds()
        # Replace paramiko's locks, which it does not use before start_client().
        self.clear_to_send_lock = TransportLock(self)
        self.lock = TransportLock(self, SHORT)
        self.server_accept_cv = threading.Condition(self.lock)  # type: ignore[arg-type]
        self._userauth_accepted = threading.Event()
        self._received_then: int | None = None  # bytes received up to the end of the login; None once the server serves
        #: Deadline of the login, which includes the wait until the server serves: OpenSSH's has PAM open a session first.
        self.login_deadline = Deadline(None)
        self._opening = threading.local()
        self._refused: dict[int, ChannelRefused] = {}
        self._unwanted: set[int] = set()  # channels that were not opened in time
        self._agents: list[threading.Thread] = []  # of the connections that the server has opened

    def _follow(self, options: TransportOptions) -> None:
        security = self.get_security_options()
        security.ciphers = usable("Ciphers", options.ciphers, self.preferred_ciphers, self._cipher_info)
        security.digests = usable("MACs", options.macs, self.preferred_macs, self._mac_info)
        security.kex = usable("KexAlgorithms", options.kex, self.preferred_kex, self._kex_info)
        self.use_compression(options.compression)
        if options.rekey_bytes:
            self.packetizer.REKEY_BYTES = options.rekey_bytes
        self.packetizer.rekey_seconds = options.rekey_seconds

    def host_key_algorithms(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return paramiko's preferred host key algorithms in its order, and all that it has, both without unsafe ones."""
        there = (name for name in self._key_info if name not in ALL_WEAK)
        return tuple(self.preferred_keys), tuple(there)

    def sign_only_with(self, algorithms: tuple[str, ...] | None) -> None:
        """Sign logins with these algorithms only (PubkeyAcceptedAlgorithms); None for all that are safe."""
        if algorithms is not None:
            others = [name for name in self._preferred_pubkeys if name not in algorithms]
            self.disabled_algorithms = {**WEAK, "pubkeys": [*WEAK["pubkeys"], *others]}

    def forget_questions(self) -> None:
        """Drop the handler of interactive questions, and with it the answers, which paramiko keeps as long as the transport."""
        if self.auth_handler is not None:
            self.auth_handler.interactive_handler = lambda *_asked: []

    def get_banner(self) -> bytes | None:
        """Return the last banner, also after the connection has ended, when it may say why and paramiko returns None."""
        return None if self.auth_handler is None else self.auth_handler.banner

    @property
    def sent(self) -> int:
        """Return the bytes sent to the hop, including the overhead of SSH."""
        return int(self.packetizer.sent)

    @property
    def heard_at(self) -> float:
        """Return the time of the last received data, of ``time.monotonic()``."""
        return float(self.packetizer.heard_at)

    @property
    def received(self) -> int:
        """Return the bytes received from the hop, including the overhead of SSH."""
        return int(self.packetizer.received)

    @property
    def greeting(self) -> str:
        """Return what the server sent before its version or in place of it, sanitized."""
        return sanitize(" ".join(self.packetizer.greeting))

    def abandon(self) -> None:
        """Fail all calls that wait for a connection whose thread is stuck.

        Take none of the locks that the thread may hold. paramiko can deadlock in several ways (paramiko#247, #2534, #2685).
        """
        self.active = False
        self.packetizer.close()
        if self.auth_handler is not None:
            self.auth_handler.abort()
        if self.completion_event is not None:
            self.completion_event.set()
        for opened in list(self.channel_events.values()):
            opened.set()
        for channel in self._channels.values():
            if isinstance(channel, HopChannel):
                channel.abandon()

    @property
    def saved_exception(self) -> Exception | None:
        """Return the last error. paramiko clears it once read, but why a connection ended is asked more than once.

        Handling a message can raise anything. paramiko stores it here and raises it in waiting threads, so turn it into an error
        of a broken connection.
        """
        return self._saved_exception

    @saved_exception.setter
    def saved_exception(self, error: Exception | None) -> None:
        if error is not None or self.active:
            self._saved_exception = None if error is None else as_broken(error)

    def run(self) -> None:
        """Run the thread. paramiko closes the underlying stream at the end, which raises if that is a channel of a dead hop."""
        try:
            super().run()
        except Exception as error:
            if self._saved_exception is None:
                self.saved_exception = error
            self.abandon()  # do what paramiko did not get to

    def ensure_session(self) -> None:
        """Request the userauth service once (RFC 4252 section 5), as some servers disconnect at a second request.

        paramiko's version hangs on a dead connection and cannot yet handle a banner.

        :raises paramiko.SSHException: no answer within ``auth_timeout`` seconds, or the connection ended.
        """
        if self._userauth_accepted.is_set():
            return
        self.auth_handler = Userauth(self)
        request = paramiko.Message()
        request.add_byte(bytes([_MSG_SERVICE_REQUEST]))
        request.add_string("ssh-userauth")
        self._send_message(request)
        end = time.monotonic() + self.auth_timeout
        while not self._userauth_accepted.wait(0.05):
            if not self.is_active() or time.monotonic() >= end:
                raise paramiko.SSHException("no userauth service")

    def _check_banner(self) -> None:
        """Read the server's version. paramiko turns any error into one of its own, so raise the Violation behind it."""
        try:
            super()._check_banner()
        except paramiko.SSHException as error:
            if isinstance(error.__context__, Violation):
                raise error.__context__ from None
            raise

    def _pass_over(self, m: paramiko.Message) -> None:
        """Reply UNIMPLEMENTED to a message of unknown type (RFC 4253 section 11.4)."""
        answer = paramiko.Message()
        answer.add_byte(bytes([_MSG_UNIMPLEMENTED]))
        answer.add_int(m.seqno)
        self._send_message(answer)

    def _parse_service_accept(self, m: paramiko.Message) -> None:
        # paramiko sets a flag that its ensure_session() polls.
        if m.get_text() == "ssh-userauth":
            self._userauth_accepted.set()

    def _parse_ext_info(self, msg: paramiko.Message) -> None:
        """Store the server's extensions (RFC 8308). paramiko decodes a value as UTF-8 when it signs, which may fail the login."""
        super()._parse_ext_info(msg)
        self.server_extensions = {
            name: value.decode("utf-8", "replace").encode() for name, value in self.server_extensions.items()
        }

    def _verify_key(self, host_key: bytes, sig: bytes) -> None:
        """Verify the host key and signature of a key exchange.

        paramiko does not check that they match the negotiated algorithm, and accepts another host key in a later exchange, which
        ssh(1) verifies again (clientloop.c).
        """
        problem = rejection_reason(self.host_key_type, host_key, sig)
        if not problem and self._shown_key not in (None, host_key):
            problem = "the server shows another host key than before in a new key exchange"
        if problem:
            raise paramiko.SSHException(problem)
        super()._verify_key(host_key, sig)
        self._shown_key = host_key

    def _parse_disconnect(self, m: paramiko.Message) -> None:
        # paramiko only logs the reason.
        m.get_int()
        self.disconnect_reason = sanitize(m.get_binary())

    def let_in(self) -> None:
        """Record that the server has accepted the login."""
        self._received_then = self.received

    @property
    def serves(self) -> bool:
        """Return whether the server has sent anything since it accepted the login, or the login's deadline has passed."""
        silent = self._received_then is not None and self.received == self._received_then
        if silent and not self.login_deadline.expired:
            return False
        self._received_then = None
        return True

    def ask_for_life(self) -> None:
        """Send a request to which the server must reply, whatever the reply is."""
        request = paramiko.Message()
        request.add_byte(bytes([_MSG_GLOBAL_REQUEST]))
        request.add_string("keepalive@openssh.com")
        request.add_boolean(True)
        self._send_message(request)

    def open(
        self,
        kind: str,
        destination: tuple[str, int] | None = None,
        timeout: float = 10.0,
        waits: Callable[[], None] = lambda: None,
    ) -> HopChannel:
        """Open a channel. paramiko stores one refusal for all channels being opened, and may raise it for the wrong one.

        :param kind: ``session``, or ``direct-tcpip`` with a destination.
        :param destination: host and port.
        :param timeout: in seconds, from when the server serves.
        :param waits: called every few seconds until the channel is open.
        :raises ChannelRefused: the server refused.
        :raises paramiko.SSHException: no answer in time, or the connection ended.
        """
        origin = None if destination is None else ("127.0.0.1", 65535)
        try:
            until: Any = _Until(timeout, self, waits)
            channel: HopChannel = self.open_channel(kind, destination, origin, timeout=until)
            return channel
        except BROKEN:
            refusal = self._take_refusal(getattr(self._opening, "number", -1))
            if refusal is None:
                raise
            raise refusal from None

    def _take_refusal(self, number: int) -> ChannelRefused | None:
        """Return why a channel was not opened; None if there was no answer, and then close it if it is opened later."""
        with self.lock:
            if self.channel_events.pop(number, None) is not None:
                self._unwanted.add(number)
                self._channels.delete(number)
            return self._refused.pop(number, None)

    def _close_unwanted(self, number: int) -> None:
        """Close a channel that was opened too late, which would stay open at the server with the connection that it forwards.

        :param number: the server's number of the channel.
        """
        message = paramiko.Message()
        message.add_byte(bytes([MSG_CHANNEL_CLOSE]))
        message.add_int(number)
        with contextlib.suppress(*BROKEN):
            self._send_user_message(message)

    def _next_channel(self) -> int:
        # Remember the number for each thread that opens a channel; paramiko does not return it if that fails.
        self._opening.number = number = super()._next_channel()
        return int(number)

    def _parse_channel_open_success(self, m: paramiko.Message) -> None:
        # paramiko confirms the channel even after open_channel() has timed out, and only logs one that was not requested.
        number, theirs, window, packet_size = (m.get_int() for _field in range(4))
        with self.lock:
            opened = self.channel_events.pop(number, None)
            channel = self._channels.get(number)
            late = number in self._unwanted
            self._unwanted.discard(number)
            if opened is not None and channel is not None:  # not in use yet, and nothing received on it
                HopChannel.upgrade(channel, self)
                channel._set_remote_channel(theirs, window, packet_size)
                opened.set()
        if late:
            send_in_background(self._close_unwanted, theirs)
        elif opened is None:  # OpenSSH's channels.c: "open confirmation for non-opening channel"
            raise Violation("it confirmed a channel that was not requested")

    def _parse_channel_open_failure(self, m: paramiko.Message) -> None:
        # paramiko stores the refusal in saved_exception, without the server's description, for whichever thread reads it first.
        number = m.get_int()
        refusal = ChannelRefused(m.get_int(), sanitize(m.get_binary()))
        with self.lock:
            opened = self.channel_events.pop(number, None)
            if opened is not None:
                self._refused[number] = refusal
                self._channels.delete(number)
                opened.set()

    def _set_forward_agent_handler(self, handler: Any) -> None:
        """Set the handler for channels that the server opens to a forwarded agent, the only ones that it may open.

        paramiko passes it a plain Channel, and does not track what it starts.

        :param handler: returns the thread that carries the connection; None if there is none.
        """

        def opened(channel: Any) -> None:
            HopChannel.upgrade(channel, self)
            carrier = handler(channel)
            if carrier is not None:
                self._agents.append(carrier)

        super()._set_forward_agent_handler(opened)

    def _parse_channel_open(self, m: paramiko.Message) -> None:
        """Bound the channels to a forwarded agent. paramiko refuses all others, and has no bound for these."""
        # Count threads, not channels: a channel may be closed long before its thread ends.
        self._agents = [carrier for carrier in self._agents if carrier.is_alive()]
        if len(self._agents) < _AGENTS:
            super()._parse_channel_open(m)
            return
        m.get_binary()
        refusal = paramiko.Message()
        refusal.add_byte(bytes([_MSG_CHANNEL_OPEN_FAILURE]))
        refusal.add_int(m.get_int())
        refusal.add_int(_RESOURCE_SHORTAGE)
        refusal.add_string("")
        refusal.add_string("")
        self._send_message(refusal)

    def _really_parse_kex_init(self, m: paramiko.Message, ignore_first_byte: bool = False) -> Any:
        # paramiko's error for algorithms that do not match does not say what the server offered.
        parsed = super()._really_parse_kex_init(m, ignore_first_byte)
        if not ignore_first_byte:
            self._pass_over_macs(parsed)
            self.nothing_common = nothing_common(self._offers(parsed))
        return parsed

    def _pass_over_macs(self, parsed: dict[str, Any]) -> None:
        """Let the MACs match if the cipher is AEAD and needs none (OpenSSH's kex.c, kex_choose_conf); paramiko requires one."""
        for side in ("client", "server"):
            offered = parsed[f"{side}_encrypt_algo_list"]
            cipher = next((name for name in self.preferred_ciphers if name in offered), "")
            if self._cipher_info.get(cipher, {}).get("is_aead"):
                parsed[f"{side}_mac_algo_list"] = list(self.preferred_macs)

    def _offers(self, parsed: Mapping[str, Any]) -> Iterator[Offer]:
        """Yield the server's offers in the order in which paramiko negotiates them."""
        # Some names in this list are not key exchange methods, but announce extensions (RFC 8308; CVE-2023-48795).
        kex = [name for name in parsed["kex_algo_list"] if not name.startswith(("ext-info-", "kex-strict-"))]
        yield Offer("key exchanges", "KexAlgorithms", kex, self.preferred_kex, self._kex_info)
        keys = parsed["server_key_algo_list"]
        yield Offer("host key algorithms", "HostKeyAlgorithms", keys, self.preferred_keys, self._key_info)
        for side in ("client", "server"):
            offered = parsed[f"{side}_encrypt_algo_list"]
            yield Offer("ciphers", "Ciphers", offered, self.preferred_ciphers, self._cipher_info)
        for side in ("client", "server"):
            yield Offer("MACs", "MACs", parsed[f"{side}_mac_algo_list"], self.preferred_macs, self._mac_info)


def _silence() -> None:
    logger = logging.getLogger(_LOG)
    logger.addHandler(logging.NullHandler())
    logger.propagate = False


_silence()
