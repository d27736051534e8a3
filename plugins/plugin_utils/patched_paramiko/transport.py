# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection.
"""paramiko's Transport with what it leaves out: why the other side hung up, what it offered, an end when it is stuck."""

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

_AGENTS = 32  # connections to a forwarded agent at once; each takes two threads (OpenSSH's channels.c: 16,384 channels)
_RESOURCE_SHORTAGE = 4  # RFC 4254 section 5.1


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
    """A time limit that the library adds to the time of day and then compares with that, which can be set meanwhile.

    A server that has said nothing since it let us in may not serve yet: it is asked for an answer, and the time begins with that.
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
    """In place of the library's list of all channels that there ever were, which grows for as long as there is a connection."""

    def __init__(self) -> None:
        self._last = -1

    def __setitem__(self, number: int, _seen: bool) -> None:
        self._last = max(self._last, number)

    def __contains__(self, number: int) -> bool:
        return number <= self._last


class _Handlers(dict[int, Any]):
    """What is done with messages by their types; the library fails at a type that it has no name for.

    :param usual: the library's.
    :param unknown: for such a type.
    """

    def __init__(self, usual: Mapping[int, Any], unknown: Callable[[paramiko.Message], None]) -> None:
        super().__init__(usual)
        self._unknown = unknown

    def __contains__(self, kind: object) -> bool:
        return super().__contains__(kind) or kind not in paramiko.common.MSG_NAMES

    def __missing__(self, _kind: int) -> Any:
        return self._unknown


class HopTransport(paramiko.ServiceRequestingTransport):  # type: ignore[name-defined,misc]
    """One SSH connection to one hop, not yet authenticated.

    Strict key exchange is offered by default (CVE-2023-48795). Key exchange, login and channels take as long as their
    deadlines allow, so the library's own shorter limits are lifted.

    :param sock: a socket, or a channel of the hop before.
    :raises NoAlgorithm: of those that are wanted, there is none.
    """

    #: Seconds between looks of a thread that nothing wakes. What ends a link wakes it, so there is nothing to look for.
    _active_check_timeout = 30.0
    _preferred_ciphers = FAST + tuple(
        name
        for name in paramiko.Transport._preferred_ciphers  # type: ignore[attr-defined]
        if name not in FAST
    )
    _preferred_kex = KEX
    _kex_info = KEX_INFO | CHECKED
    server_extensions: dict[str, bytes]  # of RFC 8308; paramiko sets it, and the next two
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
        # A request that the server has no name for, such as a keepalive, was refused (RFC 4254 section 4), whatever it says.
        answers = {**self._handler_table, _MSG_UNIMPLEMENTED: self._parse_request_failure}
        self._handler_table = _Handlers(answers, self._pass_over)
        self.daemon = True
        if options is not None:
            self._follow(options)
        # A channel of its own without handlers: nothing of paramiko's log is for users or for a log file.
        self.set_log_channel(_LOG)
        self.banner_timeout = self.auth_timeout = self.clear_to_send_timeout = 86400.0
        #: Why the other side disconnected (RFC 4253 section 11.1), safe to show; empty if it did not say.
        self.disconnect_reason = ""
        self._shown_key: bytes | None = None
        #: What the server has nothing in common with us of, once the key exchange has begun, and what to do.
        self.nothing_common: tuple[str, str] | None = None
        self.channels_seen = _ChannelIds()
        # In place of the library's, which it does not use before it is started.
        self.clear_to_send_lock = TransportLock(self)
        self.lock = TransportLock(self, SHORT)
        self.server_accept_cv = threading.Condition(self.lock)  # type: ignore[arg-type]
        self._userauth_accepted = threading.Event()
        self._received_then: int | None = None  # when the login was over, until the server serves
        #: Of the login, which is not over for users before the server serves: OpenSSH's has PAM open a session first.
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
        """The usual ones, in the library's order, and all that it has; none that is not safe."""
        there = (name for name in self._key_info if name not in ALL_WEAK)
        return tuple(self.preferred_keys), tuple(there)

    def sign_only_with(self, algorithms: tuple[str, ...] | None) -> None:
        """Signs logins with no others (PubkeyAcceptedAlgorithms); None for all that are safe."""
        if algorithms is not None:
            others = [name for name in self._preferred_pubkeys if name not in algorithms]
            self.disabled_algorithms = {**WEAK, "pubkeys": [*WEAK["pubkeys"], *others]}

    def forget_questions(self) -> None:
        """Lets go of what answers questions of a login, and so of the answers, which the library keeps for as long as itself."""
        if self.auth_handler is not None:
            self.auth_handler.interactive_handler = lambda *_asked: []

    def get_banner(self) -> bytes | None:
        """The last banner, also when the connection has ended, which is when it says why; the library's is none then."""
        return None if self.auth_handler is None else self.auth_handler.banner

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
        return sanitize(" ".join(self.packetizer.greeting))

    def abandon(self) -> None:
        """Gives up a connection whose thread does not end, as it is stuck: whoever waits for it gets an error.

        None of the locks that the thread may hold is waited for. The library knows several ways into such a deadlock
        (paramiko#247, #2534, #2685).
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
        """What went wrong last. The library forgets it when it has told it; why a connection ended is asked more than once.

        Handling a message can raise anything, and what is raised is kept here, for this thread and for all that wait: always
        as an error of a broken connection.
        """
        return self._saved_exception

    @saved_exception.setter
    def saved_exception(self, error: Exception | None) -> None:
        if error is not None or self.active:
            self._saved_exception = None if error is None else as_broken(error)

    def run(self) -> None:
        """The thread. Its last act is to close what carries it, which fails where that is a channel of a dead hop."""
        try:
            super().run()
        except Exception as error:
            if self._saved_exception is None:
                self.saved_exception = error
            self.abandon()  # what the library has not come to

    def ensure_session(self) -> None:
        """Asks for the userauth service once (RFC 4252 section 5): some servers hang up when it is asked for again.

        The library's own would wait for ever on a connection that has ended, and has no ears for a banner yet.

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
        """Reads the version. The library has words of its own for whatever goes wrong, also for what we found."""
        try:
            super()._check_banner()
        except paramiko.SSHException as error:
            if isinstance(error.__context__, Violation):
                raise error.__context__ from None
            raise

    def _pass_over(self, m: paramiko.Message) -> None:
        """Says of a message that there is no such type (RFC 4253 section 11.4)."""
        answer = paramiko.Message()
        answer.add_byte(bytes([_MSG_UNIMPLEMENTED]))
        answer.add_int(m.seqno)
        self._send_message(answer)

    def _parse_service_accept(self, m: paramiko.Message) -> None:
        if m.get_text() == "ssh-userauth":
            self._userauth_accepted.set()

    def _parse_ext_info(self, msg: paramiko.Message) -> None:
        """What the server can do (RFC 8308). The library reads a value as UTF-8 when it signs, and so might not log in."""
        super()._parse_ext_info(msg)
        self.server_extensions = {
            name: value.decode("utf-8", "replace").encode() for name, value in self.server_extensions.items()
        }

    def _verify_key(self, host_key: bytes, sig: bytes) -> None:
        """The host key of a key exchange; that of a later one must be the one that was verified (clientloop.c asks anew)."""
        problem = rejection_reason(self.host_key_type, host_key, sig)
        if not problem and self._shown_key not in (None, host_key):
            problem = "the server shows another host key than before in a new key exchange"
        if problem:
            raise paramiko.SSHException(problem)
        super()._verify_key(host_key, sig)
        self._shown_key = host_key

    def _parse_disconnect(self, m: paramiko.Message) -> None:
        m.get_int()
        self.disconnect_reason = sanitize(m.get_binary())

    def let_in(self) -> None:
        """The server has let us in."""
        self._received_then = self.received

    @property
    def serves(self) -> bool:
        """Whether the server has said anything since it let us in, or has had its time for that."""
        silent = self._received_then is not None and self.received == self._received_then
        if silent and not self.login_deadline.expired:
            return False
        self._received_then = None
        return True

    def ask_for_life(self) -> None:
        """Asks for an answer, whatever it is."""
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
        """A channel. The library keeps one refusal for all that are being opened, and so may tell it to the wrong one.

        :param kind: ``session``, or ``direct-tcpip`` with a destination.
        :param timeout: seconds, from when the server serves.
        :param waits: called now and then until it is open.
        :raises ChannelRefused: by the server.
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
        """Why a channel was not opened; where there was no answer, it is not wanted any more."""
        with self.lock:
            if self.channel_events.pop(number, None) is not None:
                self._unwanted.add(number)
                self._channels.delete(number)
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
        number, theirs, window, packet_size = (m.get_int() for _field in range(4))
        with self.lock:
            opened = self.channel_events.pop(number, None)
            channel = self._channels.get(number)
            late = number in self._unwanted
            self._unwanted.discard(number)
            if opened is not None and channel is not None:  # nothing has been received on it, and it is not in use
                HopChannel.upgrade(channel, self)
                channel._set_remote_channel(theirs, window, packet_size)
                opened.set()
        if late:
            send_in_background(self._close_unwanted, theirs)
        elif opened is None:  # OpenSSH's channels.c: "open confirmation for non-opening channel"
            raise Violation("it confirmed a channel that was not requested")

    def _parse_channel_open_failure(self, m: paramiko.Message) -> None:
        number = m.get_int()
        refusal = ChannelRefused(m.get_int(), sanitize(m.get_binary()))
        with self.lock:
            opened = self.channel_events.pop(number, None)
            if opened is not None:
                self._refused[number] = refusal
                self._channels.delete(number)
                opened.set()

    def _set_forward_agent_handler(self, handler: Any) -> None:
        """Hands over the channels that the server opens to a forwarded agent, the only ones that it may open.

        :param handler: returns the thread that ends with what the connection takes; None if there is none.
        """

        def opened(channel: Any) -> None:
            HopChannel.upgrade(channel, self)
            carrier = handler(channel)
            if carrier is not None:
                self._agents.append(carrier)

        super()._set_forward_agent_handler(opened)

    def _parse_channel_open(self, m: paramiko.Message) -> None:
        """The library refuses all but those to an agent that is forwarded, and knows no bound for these."""
        self._agents = [
            carrier for carrier in self._agents if carrier.is_alive()
        ]  # a channel may be closed long before
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
        parsed = super()._really_parse_kex_init(m, ignore_first_byte)
        if not ignore_first_byte:
            self._pass_over_macs(parsed)
            self.nothing_common = nothing_common(self._offers(parsed))
        return parsed

    def _pass_over_macs(self, parsed: dict[str, Any]) -> None:
        """Needs no MAC where the cipher is one itself (OpenSSH's kex.c, kex_choose_conf); the library looks for one."""
        for side in ("client", "server"):
            offered = parsed[f"{side}_encrypt_algo_list"]
            cipher = next((name for name in self.preferred_ciphers if name in offered), "")
            if self._cipher_info.get(cipher, {}).get("is_aead"):
                parsed[f"{side}_mac_algo_list"] = list(self.preferred_macs)

    def _offers(self, parsed: Mapping[str, Any]) -> Iterator[Offer]:
        """In the order in which the library looks for what is common."""
        # Some names in this list are of no key exchange, but say what else a server can do (RFC 8308; CVE-2023-48795).
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
