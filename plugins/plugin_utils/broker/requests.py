# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection.
"""Serve one request of a worker, from its first frame to the last. The order of frames is in ``client/wire.py``.

The rules:

- A request is received, waits for its turn (``queued``), is ``accepted``, and is worked on. It ends with ``exited``, ``done``
  or ``error``, the last frame. ``status`` and ``stop`` need no turn and no session, and end with ``done``.
- Two threads serve a request. The thread ``worker`` receives the first frame, does the work, and sends. The thread ``input``
  begins with the session and receives every later frame. Both send through one ``FrameStream``, whose lock orders frames.
- Input is only valid for a command that was started. ``_process`` is None before and after the command. ``_has_run`` tells the two apart, and
  is set first, so that the other thread takes input that comes late for what it is.
- When the worker's socket ends, ``input`` cancels the session: what is under way ends with an error, and nothing more begins.
- Frames that are only shown (``note``, ``remark``, ``warn``, ``waiting``) and ``error`` need no worker, as other tasks may wait for the same
  connection. All other frames end the request with PeerClosed if the worker has left.
- ``committed`` is sent before the target can act on anything, and may come more than once. A worker without it may repeat the
  request; here nothing is repeated, and ``pool/session.py`` says what is repeated below.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Iterator
from typing import Any, BinaryIO, Protocol, cast

from ..client.interface import Exited, Output, Process, Report
from ..client.local_files import LocalFile
from ..client.wire import BODY_LIMIT, Frame, FrameStream, PeerClosed, ProtocolError
from ..errors import CONTROLLER, CommandError, JumpError, to_wire
from ..patched_paramiko.violation import where
from ..pool.session import PooledSession, is_thread_limit, thread_limit_error
from ..pool.transports import TransportPool
from ..settings import SessionConfig
from ..ssh.backoff import longest_pause
from .admission import Admission

log = logging.getLogger("bastion.ssh.broker")

_REQUEST_SECONDS = 10.0
_REPLY_SLACK = 15.0
_LOG_SAYS = "Its log says more: broker.log, beside its socket."


class Broker(Protocol):
    """Define what a request handler needs of the broker."""

    transports: TransportPool
    admission: Admission

    def settings(self, options: dict[str, Any]) -> SessionConfig:
        """Return the settings in a request's options; raise SettingsError if one is invalid."""

    def status(self) -> dict[str, Any]:
        """Return the current state."""

    def stop(self) -> None:
        """Stop the broker."""


class RequestHandler:
    """Serve one request.

    :param connection: to a worker of the same user.
    """

    def __init__(self, connection: FrameStream, broker: Broker) -> None:
        self._connection = connection
        self._broker = broker
        self._process: Process | None = None
        self._has_run = False  # whether the command has ended; it need not have read its input

    def run(self) -> None:
        """Serve the request, and report any error to the worker if it is still connected."""
        try:
            request = self._request()
            if request is not None:
                self._answer(request)
        except JumpError as error:
            log.warning("%s", error)
            self._tell({"event": "error", **to_wire(error)})
        except PeerClosed as error:
            log.info("a worker is gone: %s", error)
        except ProtocolError as error:
            log.warning("a worker's request: %s", error)
            failed = CommandError(CONTROLLER, f"the broker cannot read the request: {error}", _LOG_SAYS)
            self._tell({"event": "error", **to_wire(failed)})
        except Exception as error:
            # Log where it was raised, but not its message, which may hold a secret.
            log.error("%s at %s", type(error).__name__, where(error))
            self._tell({"event": "error", **to_wire(_failure(error))})

    def _request(self) -> Frame | None:
        try:
            return self._connection.receive(_REQUEST_SECONDS)
        except TimeoutError:
            raise ProtocolError(f"not whole within {_REQUEST_SECONDS:g} seconds") from None

    def _answer(self, request: Frame) -> None:
        operation = str(request.header.get("op"))
        work = {
            "start": self._start,
            "put": self._put,
            "fetch": self._fetch,
            "reset": self._reset,
            "connect": self._connect,
            "survey": self._scan_host_keys,
        }
        questions = {"status": self._status, "stop": self._stop}
        if operation in work:
            with self._broker.admission.slot(self._wait):
                work[operation](request.header)
        elif operation in questions:
            questions[operation]()
        else:
            raise ProtocolError("no such request")

    def _wait(self) -> None:
        """Keep a queued worker from timing out."""
        self._connection.send({"event": "queued"})

    def _start(self, header: dict[str, Any]) -> None:
        process = self._process = self._session(header).start(_text(header, "command"), bool(header.get("pty")))
        try:
            self._connection.send({"event": "started"})
            self._pump(process)
        finally:
            self._has_run = True  # before the process is cleared, as the input thread checks both
            self._process = None  # breaks a reference cycle
            process.close()

    def _pump(self, process: Process) -> None:
        """Send the command's output to the worker, as fast as it reads."""
        while True:
            event = process.read(None)
            if isinstance(event, Output):
                for start in range(0, len(event.data), BODY_LIMIT):
                    piece = event.data[start : start + BODY_LIMIT]
                    self._connection.send({"event": "output", "stream": event.stream.value}, piece)
            elif isinstance(event, Exited):
                self._connection.send({"event": "exited", "status": event.status, "signal": event.signal})
                return

    def _receive_stdin(self, session: PooledSession) -> None:
        """Pass input from the worker to the command, as fast as it reads; cancel the session when the worker is gone."""
        try:
            while (frame := self._connection.receive()) is not None:
                process = self._process
                if process is None and self._has_run:
                    continue
                if process is None:
                    raise ProtocolError("input before there is a command")
                if frame.header.get("op") == "eof":
                    process.close_stdin()
                elif frame.body:
                    with contextlib.suppress(OSError):  # a command need not read its input
                        process.write(frame.body)
        except ProtocolError as error:
            log.warning("a worker's input: %s", error)
        session.cancel()

    def _put(self, header: dict[str, Any]) -> None:
        session = self._session(header)
        with self._file(_text(header, "source"), "rb") as file:
            session.put_file(file, _text(header, "target"))
        self._connection.send({"event": "done"})

    def _fetch(self, header: dict[str, Any]) -> None:
        session = self._session(header)
        with self._file(_text(header, "target"), "wb") as file:
            session.fetch_file(_text(header, "source"), file)
        self._connection.send({"event": "done", "mode": file.mode})

    def _reset(self, header: dict[str, Any]) -> None:
        self._session(header).reset()
        self._connection.send({"event": "done"})

    def _connect(self, header: dict[str, Any]) -> None:
        self._connection.send({"event": "done", "found": self._session(header).connect()})

    def _scan_host_keys(self, header: dict[str, Any]) -> None:
        fingerprints = header.get("fingerprints")
        wanted = [str(each) for each in fingerprints] if isinstance(fingerprints, list) else None
        found = self._session(header).scan_host_keys(bool(header.get("accept")), wanted)
        self._connection.send({"event": "done", "found": found})

    def _status(self) -> None:
        self._connection.send({"event": "done", "status": self._broker.status()})

    def _stop(self) -> None:
        try:
            self._connection.send({"event": "done", "status": self._broker.status()})
        finally:
            self._broker.stop()

    def _session(self, header: dict[str, Any]) -> PooledSession:
        """Return the session for a request, after reporting to the worker how long it may have to wait."""
        if not isinstance(header.get("options"), dict):
            raise ProtocolError("no options")
        settings = self._broker.settings(header["options"])
        chain = settings.chain
        place = chain.place(len(chain.hops) - 1)
        self._connection.send({"event": "accepted", "place": place, "seconds": _patience(settings)})
        report = Report(note=self._note, warn=self._warn, commit=self._commit, remark=self._remark, waits=self._waits)
        session = PooledSession(self._broker.transports, settings, report)
        threading.Thread(target=self._receive_stdin, args=(session,), name="input", daemon=True).start()
        return session

    @contextlib.contextmanager
    def _file(self, name: str, mode: str) -> Iterator[LocalFile]:
        """Open the file whose descriptor the worker sent, so that the worker's permissions apply, not the broker's."""
        descriptor = self._connection.take_descriptor()
        if descriptor is None:
            raise ProtocolError("no descriptor")
        file = LocalFile(name, cast(BinaryIO, os.fdopen(descriptor, mode)))
        try:
            yield file
            file.flush()
        finally:
            with contextlib.suppress(OSError):  # a failed write was reported before
                file.stream.close()

    def _waits(self) -> None:
        self._tell({"event": "waiting"})

    def _note(self, line: str) -> None:
        self._tell({"event": "note", "line": line})

    def _remark(self, line: str) -> None:
        self._tell({"event": "remark", "line": line})

    def _warn(self, line: str) -> None:
        log.warning("%s", line)
        self._tell({"event": "warn", "line": line})

    def _commit(self) -> None:
        """Report that a command or file is about to be sent. Without this frame the worker knows that none was."""
        self._connection.send({"event": "committed"})

    def _tell(self, header: dict[str, Any]) -> None:
        """Send best effort: the worker may be gone, but others wait for this connection."""
        with contextlib.suppress(PeerClosed):
            self._connection.send(header)


def _text(header: dict[str, Any], name: str) -> str:
    value = header.get(name)
    if not isinstance(value, str):
        raise ProtocolError(f"no {name}")
    return value


def _failure(error: Exception) -> JumpError:
    """Return the error to report for an unexpected exception."""
    if is_thread_limit(error):
        return thread_limit_error()
    return CommandError(CONTROLLER, f"the broker failed with {type(error).__name__}", _LOG_SAYS)


def _patience(settings: SessionConfig) -> float:
    """Return the seconds of silence after which a worker may time out.

    Frames are sent for each hop, before each pause, and every few seconds during a login.
    """
    hops = settings.chain.hops
    # Two connection attempts, another task's and ours, each after waiting for the login lock; then a session.
    longest = 5 * max(hop.timeout for hop in hops)
    # Sending on a stalled link blocks until the keepalives close it.
    silence = max(hop.transport.alive_interval * hop.transport.alive_count for hop in hops)
    return longest + silence + longest_pause(settings.retries) + _REPLY_SLACK
