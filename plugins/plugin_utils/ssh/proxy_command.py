# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection.
"""Run a ProxyCommand, a local process whose standard input and output carry the connection.

It runs as in OpenSSH (sshconnect.c), ``$SHELL -c "exec ..."``, so that published recipes work. One socket pair serves both
directions; its end of file ends the connection. The process gets its own session, so that its children can be ended with it and
none of them can prompt on a terminal.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import threading
import time
from collections import deque
from typing import IO

from ..chain.model import ExecContext
from ..errors import sanitize
from .core_dumps import allow_core_dumps

_STDERR_KEPT = 4096
_SHOWN = 300
_GRACE = 1.0
_POLL = 0.005


class ProxyProcess:
    """Represent a running ProxyCommand.

    :param command: the command line, tokens already expanded.
    :param exec_context: the directory and environment to run it in; None for those of this process.
    :raises OSError: the shell cannot be started.
    """

    def __init__(self, command: str, exec_context: ExecContext | None = None) -> None:
        given = exec_context.environment if exec_context else None
        environment = os.environ if given is None else dict(given)
        self.sock, theirs = socket.socketpair()
        try:
            self._process = subprocess.Popen(
                [environment.get("SHELL") or "/bin/sh", "-c", f"exec {command}"],
                stdin=theirs.fileno(),
                stdout=theirs.fileno(),
                stderr=subprocess.PIPE,
                cwd=exec_context.directory if exec_context else None,
                env=environment,
                start_new_session=True,
            )
        except BaseException:
            self.sock.close()
            raise
        finally:
            theirs.close()
        allow_core_dumps(self._process.pid)
        self._stderr: deque[bytes] = deque()
        self._reader = threading.Thread(
            target=self._read_stderr, args=(self._process.stderr,), name="proxy-stderr", daemon=True
        )
        try:
            self._reader.start()
        except RuntimeError:  # no thread can be started
            self.close()
            if self._process.stderr is not None:
                self._process.stderr.close()
            raise

    def _read_stderr(self, stream: IO[bytes]) -> None:
        """Read stderr to its end, so that the command never blocks on it. Keep the last bytes."""
        kept = 0
        with stream:
            for data in iter(lambda: os.read(stream.fileno(), _STDERR_KEPT), b""):
                self._stderr.append(data)
                kept += len(data)
                while kept - len(self._stderr[0]) >= _STDERR_KEPT:
                    kept -= len(self._stderr.popleft())

    def explain(self) -> str:
        """Return how it ended and what it printed, for an error: ``the ProxyCommand exited with status 1: no route``."""
        status = self._status(_GRACE)
        if status is not None:
            self._reader.join(_GRACE)
        if status is None:
            ending = "the ProxyCommand is still running"
        elif status < 0:
            ending = f"the ProxyCommand was ended by signal {_signal_name(-status)}"
        else:
            ending = f"the ProxyCommand exited with status {status}"
        words = sanitize(b"".join(self._stderr)[-_STDERR_KEPT:], _STDERR_KEPT)
        if len(words) > _SHOWN:  # the reason comes last
            words = f"...{words[-_SHOWN:]}"
        return f"{ending}: {words}" if words else ending

    def _status(self, seconds: float) -> int | None:
        """Return the status as Popen does; None if the process has not ended within ``seconds``.

        Do not reap it, so that its process ID is not reused before its process group has been signalled.
        """
        if not hasattr(os, "waitid"):  # macOS before Python 3.13: reap it, and leave the rest of its group alone
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(seconds)
            reaped: int | None = self._process.returncode
            return reaped
        end = time.monotonic() + seconds
        while self._process.returncode is None and time.monotonic() < end:
            ended = os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG)
            if ended is not None:
                return ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status
            time.sleep(_POLL)
        status: int | None = self._process.returncode
        return status

    def close(self) -> None:
        """End the process and its group (SIGHUP, as ssh(1) does), and reap it. Harmless when repeated.

        Commands under nohup(1) ignore SIGHUP, so the rest of the group is killed.
        """
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)
        self.sock.close()
        self._signal(signal.SIGHUP)
        self._status(_GRACE)
        self._signal(signal.SIGKILL)
        self._process.wait()
        if self._reader.is_alive():
            self._reader.join(_GRACE)

    def _signal(self, number: int) -> None:
        # Once the process is reaped, its ID may be reused.
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, number)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return str(number)
