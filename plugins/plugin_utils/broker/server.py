# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection.
"""Serve requests of workers on a Unix socket, each in its own thread."""

from __future__ import annotations

import contextlib
import errno
import faulthandler
import gc
import json
import logging
import math
import os
import resource
import select
import signal
import socket
import threading
import time
from dataclasses import replace
from typing import Any

from .. import clock
from ..client.address import Directory, is_lasting, peer
from ..client.confinement import SELF, differing, rights, rights_of_peer
from ..client.spawn import READY, WAITING, locked
from ..client.wire import FrameStream
from ..errors import CONTROLLER, HopUnreachable, to_wire
from ..openssh.client_config import ClientConfig
from ..openssh.user_files import set_missing_home
from ..patched_paramiko.compat import why_unusable
from ..patched_paramiko.violation import where
from ..pool.pool import PooledTransport
from ..pool.session import thread_limit_error
from ..pool.transports import TransportPool
from ..recent import Recent, digest
from ..settings import SessionConfig, read_settings
from ..ssh.core_dumps import forbid_core_dumps
from .admission import Admission
from .log import LogFile
from .requests import RequestHandler

log = logging.getLogger("bastion.ssh.broker")

_LOG_BYTES = 256 * 1024
_DESCRIPTORS = 65536
_POLL_SECONDS = 1.0
_RENAME_GRACE = 10.0
_DRAIN_TIMEOUT = 2.0
# Seconds to keep the settings of a run, which hold its secrets: _QUIET after the last request of any run, or, while other requests
# continue, at most twice _BUSY after their last use.
_QUIET = 2.0
_BUSY = 30.0
_WITHOUT_ANY = 3600.0  # seconds to stay without a connection, if connections are kept for ever (ControlPersist yes)


class Broker:
    """Keep transports, and serve workers until idle or stopped.

    :param directory: the directory of its socket.
    :param name: name of the socket, without its suffix.
    :param listening: the socket.
    """

    def __init__(self, directory: Directory, name: str, listening: socket.socket) -> None:
        self.transports = TransportPool()
        self.admission = Admission(self.transports, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
        self._directory = directory
        self._name = name
        self._listening = listening
        self._rights = rights(SELF)
        listening.listen(WAITING)  # again, so that SO_PEERCRED names this process, not the starter
        self._inode = directory.inode(f"{name}.new")  # the starter renames it to .sock
        self._started = time.time()
        self._idle_since = clock.lifetime()
        self._persist = 60.0
        self._stopped = False
        self._waker, self._woken = socket.socketpair()
        self._spare = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        self._config = ClientConfig()
        self._settings: Recent[SessionConfig] = Recent()
        self._served_at, self._forgot_at = -math.inf, clock.lifetime()
        self._has_read = False  # whether settings were read since the last gc.collect()

    def settings(self, options: dict[str, Any]) -> SessionConfig:
        """Return the settings in a request's options, read once and cached; raise SettingsError if one is invalid."""
        options = dict(options)
        others = {
            name: options.pop(name, None) for name in ("run_directory", "run_key", "task")
        }  # for each run and task
        self._served_at, self._has_read = clock.lifetime(), True
        key = digest((json.dumps(options, sort_keys=True), self._config.version()))
        settings = self._settings.get(key)
        if settings is None:
            settings = self._settings[key] = read_settings(options, self._config.config_lookup, self._config.ask_anew)
        self._persist = settings.persist
        return replace(settings, **others)

    def status(self) -> dict[str, Any]:
        """Return the current state, without secrets. Times are seconds since 1970, durations are seconds."""
        now = clock.lifetime()
        return {
            "pid": os.getpid(),
            "since": self._started,
            "workers": self.admission.workers - 1,  # without the one that asks
            "transports": [_described(shared, now) for shared in self.transports.shared()],
            "hops": self.transports.statistics(),
        }

    def stop(self) -> None:
        """Close all connections soon, and serve no further worker."""
        self._stopped = True
        self._wake()

    def run(self) -> None:
        """Serve until idle or stopped."""
        self._woken.setblocking(False)
        signal.set_wakeup_fd(self._woken.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._on_signal)
        self._listening.setblocking(False)
        self._waker.setblocking(False)
        poll = select.poll()
        poll.register(self._waker, select.POLLIN)
        while not self._stopped:
            clock.beat()
            self.transports.look()
            self._forget_runs()
            if self._is_unused() and self._is_over() and self._try_shutdown():
                break
            # Without room, new workers wait in the socket's queue; one that leaves wakes this loop.
            poll.register(self._listening, select.POLLIN if self.admission.admits() else 0)
            ready = [number for number, event in poll.poll(1000 * _POLL_SECONDS) if event & select.POLLIN]
            if self._listening.fileno() in ready:
                self._accept()
            if self._waker.fileno() in ready:
                self._waker.recv(4096)
        clock.rest()
        self.transports.close()
        self.admission.all_gone(_DRAIN_TIMEOUT)  # so that each worker receives its error
        if self._stopped:
            with contextlib.suppress(OSError), locked(self._directory, self._name):
                self._remove_socket()

    def _on_signal(self, number: int, _frame: object) -> None:
        log.info("ended by signal %d", number)
        self._stopped = True

    def _accept(self) -> None:
        try:
            sock, _address = self._listening.accept()
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                self._refuse(error)
            else:
                log.error("accept: %s", error)
            return
        refusal = self._refusal(sock)
        if refusal is not None:
            _turn_away(sock, refusal)
            return
        self.admission.enter()
        try:
            threading.Thread(target=self._serve, args=(sock,), name="worker", daemon=True).start()
        except RuntimeError:
            _turn_away(sock, _failed(thread_limit_error()))
            self._gone()

    def _refusal(self, sock: socket.socket) -> dict[str, Any] | None:
        """Return the only answer to a process whose request is not read, empty for none; None if the request is served.

        Called before a thread is started, so that one further descriptor is enough for all that connect at once.
        """
        who = peer(sock)
        if who.uid != os.geteuid():
            log.error("refused user %d", who.uid)
            return {}
        try:
            others = differing(self._rights, rights_of_peer(sock, who.pid))
        except ProcessLookupError as error:
            log.info("a worker is gone: %s", error.strerror)
            return {}
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                log.error("%s", error)
                return _failed(_no_descriptor(error))
            why = f"the broker cannot see the rights of this process: {error.strerror}"
            lasting = is_lasting(error) and not isinstance(error, FileNotFoundError)  # it may just have ended
        else:
            if not others:
                return None
            lasting = True
            why = f"the broker serves only processes with the same rights as its own; this one differs in: {others}"
        log.warning("refused process %d: %s", who.pid, why)
        return {"event": "refused", "why": why, "lasting": lasting}

    def _refuse(self, system: OSError) -> None:
        """Report to a worker that it cannot be served; the spare descriptor is for its socket."""
        error = _no_descriptor(system)
        log.error("%s", error)
        if self._spare >= 0:
            os.close(self._spare)
            self._spare = -1
        with contextlib.suppress(OSError):
            _turn_away(self._listening.accept()[0], _failed(error))
        with contextlib.suppress(OSError):  # another thread took it
            self._spare = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)

    def _serve(self, sock: socket.socket) -> None:
        sock.setblocking(True)
        connection = FrameStream(sock)
        try:
            RequestHandler(connection, self).run()
        except Exception as error:
            log.error("%s", type(error).__name__)
        finally:
            connection.close()
            self._gone()

    def _gone(self) -> None:
        self._idle_since = self._served_at = clock.lifetime()
        self.admission.leave()
        self._wake()

    def _wake(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._woken.send(b".")

    def _is_unused(self) -> bool:
        """Return whether there is neither a worker nor a transport."""
        return not (self.admission.workers or self.transports.shared())

    def _forget_runs(self) -> None:
        """Drop the settings of runs that are over, with their secrets."""
        working = self.admission.workers > 0  # first; what one that leaves later drops is collected next time
        now = clock.lifetime()
        if self._forgot_at > self._served_at:
            return
        if now >= self._served_at + _QUIET:
            self._settings.clear()
            self._config.forget_runs(unused=False)
        elif now >= self._forgot_at + _BUSY:
            self._settings.age()
            self._config.forget_runs(unused=True)
        else:
            return
        self._forgot_at = now
        if self._has_read:
            self._has_read = working
            gc.collect()  # errors leave reference cycles, which Python collects only while it allocates

    def _is_over(self) -> bool:
        """Return whether the idle timeout has passed."""
        # Without its socket the broker cannot be found, but the starter names the socket only once the broker is ready.
        patience = min(self._persist, _WITHOUT_ANY) if self._has_socket() else min(self._persist, _RENAME_GRACE)
        return clock.lifetime() >= self._idle_since + patience

    def _try_shutdown(self) -> bool:
        """Remove the socket and return True; return False if a worker has connected meanwhile."""
        poll = select.poll()
        poll.register(self._listening, select.POLLIN)
        with contextlib.suppress(OSError), locked(self._directory, self._name):  # the directory may be gone, too
            if self._has_socket() and poll.poll(0):
                return False
            self._remove_socket()
        return True

    def _has_socket(self) -> bool:
        return self._directory.inode(f"{self._name}.sock") == self._inode

    def _remove_socket(self) -> None:
        if self._has_socket():
            self._directory.remove(f"{self._name}.sock")


def _turn_away(sock: socket.socket, last: dict[str, Any]) -> None:
    """Close the connection to a worker that is not served, after sending its only frame, if any."""
    with contextlib.suppress(OSError), contextlib.closing(FrameStream(sock)) as worker:
        if last:
            worker.send(last)


def _failed(error: HopUnreachable) -> dict[str, Any]:
    return {"event": "error", **to_wire(error)}


def _no_descriptor(error: OSError) -> HopUnreachable:
    problem = f"the broker cannot serve this task: no file descriptor is left ({error.strerror})"
    return HopUnreachable(CONTROLLER, problem, "Raise its limit (ulimit -n), or take fewer forks.")


def _described(shared: PooledTransport, now: float) -> dict[str, Any]:
    """Describe one transport, for users."""
    return {
        "hop": shared.label,
        "via": shared.parent.label if shared.parent else None,
        "state": shared.state.value,
        "leases": shared.leases,
        "served": shared.served,
        "sent": shared.link.transport.sent if shared.link else 0,
        "received": shared.link.transport.received if shared.link else 0,
        "age": round(now - shared.opened_at, 1) if shared.link else 0.0,
        "idle": 0.0 if shared.leases or not shared.link else round(now - shared.idle_since, 1),
    }


def serve(path: str, name: str) -> None:
    """Serve on the socket that is standard input, until idle or stopped.

    :param path: path of the socket's directory.
    :param name: name of the socket, without its suffix.
    """
    forbid_core_dumps()
    set_missing_home()
    _reset_signals()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    wanted = _DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _DESCRIPTORS)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    problem = why_unusable()
    if problem:
        raise SystemExit(problem)
    listening = socket.socket(fileno=os.dup(0))
    with listening, Directory(path) as directory:
        _log_to(directory)
        log.info("serves %s", name)
        try:
            broker = Broker(directory, name, listening)
            gc.freeze()  # exempts imported objects from each collection, which stalls all links
            _detach()
            broker.run()
        except BaseException as error:
            log.error("ended by %s at %s", type(error).__name__, where(error))
            raise
        log.info("ends")


def _reset_signals() -> None:
    """Reset signals that the starter ignored or blocked (nohup(1), a shell's background job), as commands inherit that."""
    for number in signal.valid_signals():
        # Python itself ignores these two, and resets them for commands.
        if signal.getsignal(number) is signal.SIG_IGN and number not in (signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _detach() -> None:
    """Report to the starter that the broker is ready, and close the standard streams inherited from it."""
    os.write(1, READY)
    null = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(null, standard)
    os.close(null)


def _log_to(directory: Directory) -> None:
    handler = LogFile(directory, "broker.log", _LOG_BYTES)
    handler.setFormatter(logging.Formatter("%(asctime)s %(process)d %(levelname)s %(message)s"))
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False
    # Stacks are lines of code, without values. The descriptor stays open, as the handler's own is closed when the file is renamed.
    faulthandler.register(signal.SIGUSR1, handler.duplicate())
