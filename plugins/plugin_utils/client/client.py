# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection.
"""Use a session that the broker holds.

Every worker loads this for every task, so it is short, and neither it nor its imports need paramiko.
"""

from __future__ import annotations

import contextlib
import socket
from typing import Any

from ..errors import CONTROLLER, HopUnreachable, LinkLost, from_wire, sanitize
from .address import BrokerUnavailable, broker_name, open_directory, without_limit
from .become import Stream
from .interface import Exited, Output, Report
from .wire import BODY_LIMIT, Frame, FrameStream, PeerClosed, ProtocolError

_ANSWER_SECONDS = 20.0
_TRIES = 3
_LOOK = "Is the controller overloaded? The playbook bastion.ssh.sessions shows what the broker is at."
_LOG_SAYS = "Its log may say why: broker.log, beside its socket."


class BrokerSession:
    """Implement :class:`interface.Session` by requests to the broker, the first of them on first use.

    :param options: inventory options as plain values.
    :param directory: the broker's directory as set by the user; None for the default.
    :param home: Ansible's home directory (ANSIBLE_HOME).
    """

    def __init__(self, options: dict[str, Any], directory: str | None, home: str, report: Report) -> None:
        self._options = options
        self._directory = directory
        self._home = home
        self._report = report
        self._name: str | None = None  # the broker's; cached, as computing it takes longer than a request

    def start(self, command: str, pty: bool = False) -> BrokerProcess:
        """See :class:`interface.Session`. Raise BrokerUnavailable if no broker can serve it."""
        request = _Request(self._report, {"op": "start", "command": command, "pty": pty, "options": self._options})
        self._ask(request)
        return BrokerProcess(request)

    def put(self, source: str, target: str) -> None:
        """See :class:`interface.Session`. Raise BrokerUnavailable if no broker can serve it."""
        from . import local_files

        with local_files.source(source) as file:
            header = {"op": "put", "source": source, "target": target, "options": self._options}
            self._done(_Request(self._report, header, file.stream.fileno()))

    def fetch(self, source: str, target: str) -> None:
        """See :class:`interface.Session`. Raise BrokerUnavailable if no broker can serve it."""
        from . import local_files

        with local_files.complete(target) as file:
            header = {"op": "fetch", "source": source, "target": target, "options": self._options}
            mode = self._done(_Request(self._report, header, file.stream.fileno())).header.get("mode")
            file.mode = mode if isinstance(mode, int) else None

    def reset(self) -> None:
        """See :class:`interface.Session`. Raise BrokerUnavailable if no broker can serve it."""
        self._done(_Request(self._report, {"op": "reset", "options": self._options}))

    def connect(self) -> list[dict[str, Any]]:
        """See :class:`interface.Session`. Raise BrokerUnavailable if no broker can serve it."""
        found: list[dict[str, Any]] = self._done(
            _Request(self._report, {"op": "connect", "options": self._options})
        ).header["found"]
        return found

    def scan_host_keys(self, accept: bool, fingerprints: list[str] | None) -> list[dict[str, Any]]:
        """See :class:`interface.Session`. Raise BrokerUnavailable if no broker can serve it."""
        header = {"op": "survey", "accept": accept, "fingerprints": fingerprints, "options": self._options}
        found: list[dict[str, Any]] = self._done(_Request(self._report, header)).header["found"]
        return found

    def close(self) -> None:
        """See :class:`interface.Session`. The broker keeps its connections."""

    def _done(self, request: _Request) -> Frame:
        try:
            return self._ask(request)
        finally:
            request.close()

    def _ask(self, request: _Request) -> Frame:
        """Return the first result of a request; send it again if a broker ended before it did anything."""
        for _try in range(_TRIES):
            try:
                request.send(self._connect())
                return request.first_result()
            except _BrokerEnded:
                request.close()
            except TimeoutError:  # the socket's queue is full
                raise _silent(CONTROLLER) from None
            except BaseException:
                request.close()
                raise
        raise HopUnreachable(CONTROLLER, "the broker ended before it did anything, more than once", _LOG_SAYS)

    def _connect(self) -> socket.socket:
        with open_directory(self._directory, self._home) as directory:
            name = self._name = self._name or broker_name()
            sock = directory.connect(f"{name}.sock")
            if sock is not None:
                return sock
            # Needed only to start a broker.
            from ..settings import read_settings
            from .spawn import start

            read_settings(self._options)  # reports mistakes before any process is started
            return start(directory, name)


class _BrokerEnded(Exception):
    """Signal that the broker ended before it did anything."""


class _Request:
    """Send one request, and receive the broker's answers to it."""

    def __init__(self, report: Report, header: dict[str, Any], descriptor: int | None = None) -> None:
        self._report = report
        self._header = header
        self._descriptor = descriptor
        self._connection: FrameStream | None = None
        self._committed = False
        self._given_up = False
        self.place = ""  # of the target; empty until the broker has accepted the request

    def send(self, sock: socket.socket) -> None:
        """Send the request. A broker that has closed already is no error here, as it may have sent a reason."""
        self.place = ""
        self._connection = FrameStream(sock)
        try:
            with contextlib.suppress(PeerClosed):
                self._connection.send(self._header, descriptor=self._descriptor)
        except ProtocolError as error:
            raise BrokerUnavailable(f"the request does not fit into a frame: {error}", lasting=False) from error
        without_limit(sock)

    def first_result(self) -> Frame:
        """Wait until the command runs or the request is done, and return that frame."""
        seconds: float | None = _ANSWER_SECONDS
        while True:
            try:
                frame = self.receive(seconds)
            except TimeoutError:
                self._give_up()
                seconds = None
                continue
            event = frame.header.get("event")
            if event in ("started", "done"):
                return frame
            if event == "accepted":
                self.place, seconds = str(frame.header["place"]), float(frame.header["seconds"])
            elif event == "committed":
                self._committed, seconds = True, None

    def receive(self, timeout: float | None) -> Frame:
        """Return the next frame, after showing the messages before it.

        :param timeout: seconds to wait for each frame; None waits indefinitely.
        :raises JumpError: the broker reported an error, or ended.
        :raises BrokerUnavailable: the broker refuses to serve this process.
        :raises TimeoutError: no frame arrived in time.
        """
        while True:
            frame = self._next(timeout)
            event = frame.header.get("event")
            if event == "note":
                self._report.note(str(frame.header["line"]))
            elif event == "remark":
                self._report.remark(str(frame.header["line"]))
            elif event == "warn":
                self._report.warn(str(frame.header["line"]))
            elif event == "error":
                raise from_wire(frame.header)
            elif event == "refused":
                raise BrokerUnavailable(sanitize(str(frame.header["why"])), bool(frame.header["lasting"]))
            else:
                return frame

    def tell(self, header: dict[str, Any], body: bytes = b"") -> None:
        """Send another frame; raise PeerClosed if the broker is gone."""
        if self._connection is not None:
            self._connection.send(header, body)

    def close(self) -> None:
        """End the request, and what the broker does for it. Idempotent."""
        if self._connection is not None:
            self._connection.close()

    def _next(self, timeout: float | None) -> Frame:
        try:
            frame = None if self._connection is None else self._connection.receive(timeout)
        except ProtocolError:
            frame = None
        if frame is not None:
            return frame
        raise self._ended()

    def _give_up(self) -> None:
        """Withdraw the request by shutting down the socket; frames already received stay readable."""
        self._given_up = True
        if self._connection is not None:
            self._connection.hang_up()

    def _ended(self) -> Exception:
        """Return the error that the end of the stream means."""
        if self._given_up:
            if self._committed:
                return LinkLost(self.place, "the broker gave no answer in time", _LOOK)
            return _silent(self.place or CONTROLLER)
        if self._committed:
            return LinkLost(self.place, "the broker on the controller ended, which held the connection", _LOG_SAYS)
        return _BrokerEnded()


def _silent(place: str) -> HopUnreachable:
    return HopUnreachable(place, "the broker gave no answer in time; nothing was done", _LOOK)


class BrokerProcess:
    """Implement :class:`interface.Process`: a command that the broker runs."""

    def __init__(self, request: _Request) -> None:
        self.place = request.place
        self._request = request

    def read(self, timeout: float | None) -> Output | Exited | None:
        """See :class:`interface.Process`."""
        try:
            frame = self._request.receive(timeout)
        except TimeoutError:
            return None
        header = frame.header
        if header.get("event") == "output":
            return Output(Stream(header["stream"]), frame.body)
        return Exited(header["status"], header["signal"])

    def write(self, data: bytes) -> None:
        """See :class:`interface.Process`."""
        for start in range(0, len(data), BODY_LIMIT):
            self._request.tell({"op": "in"}, data[start : start + BODY_LIMIT])

    def close_stdin(self) -> None:
        """See :class:`interface.Process`."""
        with contextlib.suppress(OSError):
            self._request.tell({"op": "eof"})

    def close(self) -> None:
        """See :class:`interface.Process`."""
        self._request.close()
