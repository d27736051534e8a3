# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection.
"""Run one started command to its end: feed stdin, answer privilege escalation, collect both streams."""

from __future__ import annotations

import contextlib
import threading

from ..deadline import Deadline
from ..errors import CommandError, EscalationTimeout
from .become import Action, BecomeRules, Escalation, Stream
from .interface import Exited, Output, Process


class Request:
    """Describe a command and how to run it.

    :param line: command line for the login shell of the target's user.
    :param stdin: bytes for the command; None for none.
    :param pty: whether the command has a terminal.
    :param rules: how to read the escalation program; None without one.
    :param become_name: name of the escalation program, for messages.
    :param become_password: answer to its prompt.
    :param become_timeout: seconds that it may take to start the command.
    """

    def __init__(
        self,
        line: str,
        stdin: bytes | None = None,
        pty: bool = False,
        rules: BecomeRules | None = None,
        become_name: str = "",
        become_password: str | None = None,
        become_timeout: float = 12.0,
    ) -> None:
        self.line = line
        self.stdin = stdin
        self.pty = pty
        self.rules = rules
        self.become_name = become_name
        self.become_password = become_password
        self.become_timeout = become_timeout


class Result:
    """Hold the result of a command: ``status`` is from 0 to 255, and 0 only if the server reported 0.

    For a signal it is 128 plus its number, as in a shell, or 255 if that is unknown. A larger status is reduced to its low eight bits,
    as by ssh(1), or to 255 where these are all zero, which would mean success.
    """

    def __init__(self, status: int, stdout: bytes, stderr: bytes) -> None:
        self.status = status
        self.stdout = stdout
        self.stderr = stderr


# POSIX numbers of the signals that RFC 4254 section 6.10 names.
_SIGNALS = {
    "HUP": 1, "INT": 2, "QUIT": 3, "ILL": 4, "ABRT": 6, "FPE": 8, "KILL": 9, "SEGV": 11, "PIPE": 13, "ALRM": 14, "TERM": 15,
}  # fmt: skip


_PASSWORD = "Check ansible_become_password."
_LARGEST = 255
_LARGE = "A status has eight bits, so it counts as {status}."
_SIGNALLED = "If nobody did that, look at the limits of the target, of memory for one."


def run(process: Process, request: Request) -> Result:
    """Run a command to its end, and close it.

    :raises CommandError: the escalation password is wrong or missing.
    :raises EscalationTimeout: the escalation program did not answer in time.
    :raises HopError: the connection ended before the command did.
    """
    try:
        return _Run(process, request).to_the_end()
    finally:
        process.close()


class _Run:
    def __init__(self, process: Process, request: Request) -> None:
        self._process = process
        self._request = request
        self._escalation = Escalation(request.rules)
        self._deadline = Deadline(request.become_timeout)
        self._output = {Stream.STDOUT: bytearray(), Stream.STDERR: bytearray()}

    def to_the_end(self) -> Result:
        if self._escalation.started:
            self._feed_stdin()
        while True:
            event = self._process.read(None if self._escalation.started else self._deadline.remaining())
            if isinstance(event, Exited):
                return self._result(event)
            if isinstance(event, Output):
                self._take(event)
            if not self._escalation.started and self._deadline.expired:  # also if its output never pauses
                raise self._stuck()

    def _take(self, output: Output) -> None:
        action = self._escalation.feed(output.stream, output.data)
        if action is Action.START:
            self._feed_stdin()
        elif action is Action.SEND_PASSWORD:
            self._send_password()
        elif action in (Action.FAIL_INCORRECT, Action.FAIL_MISSING):
            kind = "Incorrect" if action is Action.FAIL_INCORRECT else "Missing"
            raise CommandError(self._process.place, f"{kind} {self._request.become_name} password", _PASSWORD)
        for stream, taken in self._output.items():
            taken.extend(self._escalation.take(stream))

    def _send_password(self) -> None:
        # Restart the timeout; ansible.builtin.ssh restarts it at any output.
        self._deadline = Deadline(self._request.become_timeout)
        with contextlib.suppress(OSError):  # if it has ended, its exit status is the answer
            self._process.write((self._request.become_password or "").encode() + b"\n")

    def _feed_stdin(self) -> None:
        """Write stdin in a thread, as a command that writes before it has read everything would deadlock."""
        if self._request.stdin is None:
            if not self._request.pty:
                self._process.close_stdin()
            return
        threading.Thread(target=self._write_stdin, args=(self._request.stdin,), name="stdin", daemon=True).start()

    def _write_stdin(self, data: bytes) -> None:
        with contextlib.suppress(OSError):  # a command need not read its input
            self._process.write(data)
        self._process.close_stdin()

    def _result(self, ending: Exited) -> Result:
        for stream, taken in self._output.items():
            taken.extend(self._escalation.rest(stream))
        stdout, stderr = (bytes(self._output[stream]) for stream in (Stream.STDOUT, Stream.STDERR))
        if self._request.pty:
            stdout = stdout.replace(b"\r\n", b"\n")  # undoes the terminal's ONLCR (RFC 4254 section 8)
        status, why = self._status(ending)
        return Result(status, stdout, stderr + f"bastion.ssh.jump: {why}\n".encode() if why else stderr)

    def _status(self, ending: Exited) -> tuple[int, CommandError | None]:
        """Return the exit status, and an error that explains it where it needs that."""
        place, status = self._process.place, ending.status
        if status is None:
            name = ending.signal or "unknown"
            number = _SIGNALS.get(name)
            why = CommandError(place, f"the command was ended by signal {name}", _SIGNALLED)
            return _LARGEST if number is None else 128 + number, why
        if 0 <= status <= _LARGEST:
            return status, None
        low = status & _LARGEST or _LARGEST
        return low, CommandError(place, f"the command ended with status {status}", _LARGE.format(status=low))

    def _stuck(self) -> EscalationTimeout:
        # Begins like the message of ansible-core's ssh plugin, which playbooks and its own tests search for.
        return EscalationTimeout(
            self._process.place,
            f"Timeout ({self._request.become_timeout:g}s) waiting for privilege escalation prompt: {self._request.become_name} "
            "showed neither its password prompt nor the start of the command",
            "Look at become_method, become_flags and become_exe.",
        )
