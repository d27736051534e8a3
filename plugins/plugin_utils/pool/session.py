# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection.
"""Run sessions on a target over pooled transports of this process, with or without a broker."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

from ..client import local_files
from ..client.interface import Exited, Output, Report
from ..client.local_files import LocalFile
from ..deadline import Deadline
from ..errors import CONTROLLER, HopError, HopUnreachable, SessionLimitReached
from ..settings import SessionConfig
from ..ssh.backoff import pause
from ..ssh.process import ChannelProcess
from .scan import AcceptPolicy, HostKeyScan
from .transports import Lease, TransportPool

_T = TypeVar("_T")
_SESSION_CLOSE_LAG = 0.05
_ROOM_FOR_THREADS = "Raise the limit of its user (ulimit -u) or of its container, or take fewer forks."


class LeasedProcess:
    """Implement :class:`interface.Process`: a command that holds a lease for as long as it runs."""

    def __init__(self, process: ChannelProcess, lease: Lease) -> None:
        self.place = process.place
        self._process = process
        self._lease = lease
        self.read: Callable[[float | None], Output | Exited | None] = process.read
        self.write: Callable[[bytes], None] = process.write
        self.close_stdin: Callable[[], None] = process.close_stdin

    def close(self) -> None:
        """Close the command's channel and release the lease."""
        self._process.close()
        self._lease.release()


class PooledSession:
    """Implement :class:`interface.Session` over a pool of transports."""

    def __init__(self, transports: TransportPool, settings: SessionConfig, report: Report) -> None:
        self._transports = transports
        self._settings = settings
        self._report = report
        self._lease: Lease | None = None
        self._cancelled = threading.Event()

    def start(self, command: str, pty: bool = False) -> LeasedProcess:
        """See :class:`interface.Session`."""
        return self._leased(lambda lease: LeasedProcess(lease.session.start(command, pty), lease), kept=True)

    def put(self, source: str, target: str) -> None:
        """See :class:`interface.Session`."""
        with local_files.source(source) as file:
            Deadline(None).limit(lambda: self.put_file(file, target))

    def fetch(self, source: str, target: str) -> None:
        """See :class:`interface.Session`."""
        with local_files.complete(target) as file:
            Deadline(None).limit(lambda: self.fetch_file(source, file))

    def put_file(self, source: LocalFile, target: str) -> None:
        """Copy an open file to the target; see :meth:`put`."""
        self._leased(lambda lease: lease.session.put(source, target, self._settings.transfer_method))

    def fetch_file(self, source: str, target: LocalFile) -> None:
        """Copy a file of the target to an open file; see :meth:`fetch`."""
        self._leased(lambda lease: lease.session.fetch(source, target, self._settings.transfer_method))

    def reset(self) -> None:
        """See :class:`interface.Session`."""
        self._transports.reset(self._settings, self._report)

    def connect(self) -> list[dict[str, Any]]:
        """See :class:`interface.Session`."""
        return self._leased(lambda lease: lease.hops())

    def scan_host_keys(self, accept: bool, fingerprints: list[str] | None) -> list[dict[str, Any]]:
        """See :class:`interface.Session`."""
        return HostKeyScan(self._transports, self._settings, self._report, AcceptPolicy(accept, fingerprints)).run()

    def close(self) -> None:
        """See :class:`interface.Session`. The transports stay open."""

    def cancel(self) -> None:
        """End the operation in progress with an error, and start no other."""
        self._cancelled.set()
        if self._lease is not None:
            self._lease.session.cancel()

    def _leased(self, use: Callable[[Lease], _T], kept: bool = False) -> _T:
        """Call a function with a lease, and again with another lease where nothing can have taken effect.

        :param kept: whether what the function returns releases the lease.
        """
        failures = 0
        busy = Deadline(self._settings.chain.target.timeout)
        while True:
            try:
                return self._once(use, kept, busy, ignore_recent_failure=failures > 0)
            except _RetryLease:
                continue
            except HopError as error:
                problem = error
            except RuntimeError as error:
                if not is_thread_limit(error):
                    raise
                problem = thread_limit_error()
            failures += 1
            if not problem.retry or failures > self._settings.retries:
                raise problem
            seconds = pause(failures, random.random())
            self._report.note(f"{problem} Trying again in {seconds:.1f} s.")
            if self._cancelled.wait(seconds):
                raise problem

    def _once(self, use: Callable[[Lease], _T], kept: bool, busy: Deadline, ignore_recent_failure: bool) -> _T:
        lease = self._transports.lease(self._settings, self._report, ignore_recent_failure, self._cancelled)
        with contextlib.ExitStack() as stack:
            stack.callback(lease.release)
            self._lease = lease
            if self._cancelled.is_set():
                lease.session.cancel()
            try:
                made = use(lease)
            except HopError as error:
                if _another_may_do(lease, error, busy):
                    raise _RetryLease from error
                raise
            if kept:
                stack.pop_all()
            return made


def is_thread_limit(error: Exception) -> bool:
    """Return whether an error says that no thread can be started; Python has no class for it."""
    return isinstance(error, RuntimeError) and "start new thread" in str(error)


def thread_limit_error() -> HopUnreachable:
    """Return the error for a task for which no thread can be started."""
    return HopUnreachable(CONTROLLER, "no thread can be started", _ROOM_FOR_THREADS)


class _RetryLease(Exception):
    """Signal that another lease is to be tried: nothing was done, and no connection attempt has failed."""


def _another_may_do(lease: Lease, error: HopError, busy: Deadline) -> bool:
    """Record what a failure says about the leased transport. Return whether to try another lease at once."""
    if isinstance(error, SessionLimitReached):
        if lease.note_session_limit():
            return True
        if lease.fresh or busy.expired:
            return False
        time.sleep(_SESSION_CLOSE_LAG)  # the server may not have noticed yet that the previous session ended
        return True
    if error.retry:
        lease.retire()
    # A reused transport may have died meanwhile, which is not a failure to connect.
    return error.retry and not lease.fresh
