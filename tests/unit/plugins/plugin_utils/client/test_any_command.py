# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever a command says, and in whatever order, it is brought to its end. The process is a list of events: none can be had
that says what it likes at the moment that it likes."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.bastion.ssh.plugins.plugin_utils.client.become import BecomeRules, Stream
from ansible_collections.bastion.ssh.plugins.plugin_utils.client.command import Request, run
from ansible_collections.bastion.ssh.plugins.plugin_utils.client.interface import Exited, Output
from ansible_collections.bastion.ssh.plugins.plugin_utils.errors import CommandError, EscalationTimeout

PROMPT, MARKER = b"PASS:", b"MARK"
RULES = BecomeRules(
    success=MARKER,
    expects_prompt=True,
    is_prompt=lambda line: line.startswith(PROMPT),
    is_incorrect=lambda line: b"NO" in line,
    is_missing=lambda line: b"NEED" in line,
)


PLACE = "target u@h:22"
CHECK = "Check ansible_become_password."


class Scripted:
    """A process that says what was written down for it."""

    place = PLACE

    def __init__(self, events: Iterable[Output | Exited | None]) -> None:
        self.events = iter(events)
        self.written = b""
        self.ended = threading.Event()
        self.closed = 0

    def read(self, _timeout: float | None) -> Output | Exited | None:
        return next(self.events)

    def write(self, data: bytes) -> None:
        self.written += data

    def close_stdin(self) -> None:
        self.ended.set()

    def close(self) -> None:
        self.closed += 1


def request(stdin: bytes | None = b"stdin", seconds: float = 60.0) -> Request:
    return Request("line", stdin, rules=RULES, become_name="sudo", become_password="secret", become_timeout=seconds)


OUTPUTS = st.builds(
    Output,
    st.sampled_from(Stream),
    st.sampled_from([PROMPT, MARKER, MARKER + b"\n", b"NO", b"NEED", b"\n", b" ", b"x"]),
)


# trust: T51
@given(st.lists(OUTPUTS | st.none()), st.integers(0, 255))
def test_whatever_is_said_the_password_is_told_once_and_stdin_after_the_start(
    events: list[Output | None], status: int
) -> None:
    process = Scripted([*events, Exited(status, None)])
    try:
        ending = str(run(process, request()).status)
    except CommandError as error:
        ending = str(error)
    assert ending in (
        str(status),
        f"{PLACE}: Incorrect sudo password. {CHECK}",
        f"{PLACE}: Missing sudo password. {CHECK}",
    )
    said = b"".join(event.data for event in events if event is not None)
    started = process.written.endswith(b"stdin") or process.ended.wait(0)
    assert process.written in (b"", b"secret\n") or (MARKER in said and process.ended.wait(10))
    assert process.written in (b"", b"secret\n", b"stdin", b"secret\nstdin")
    assert not started or MARKER in said
    assert process.closed == 1


# trust: T51
@pytest.mark.parametrize("event", [Output(Stream.STDERR, b"x" * 1000), None], ids=["talk", "silence"])
def test_a_program_that_never_lets_the_command_start_is_given_up_in_time(event: Output | None) -> None:
    process = Scripted(itertools.repeat(event))
    with pytest.raises(
        EscalationTimeout, match=r"u@h:22: Timeout \(0\.05s\) waiting for privilege escalation prompt: sudo"
    ):
        run(process, request(seconds=0.05))
    assert process.closed == 1


# trust: T51
def test_a_program_has_the_time_anew_once_its_password_was_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])

    class Slow(Scripted):
        def read(self, timeout: float | None) -> Output | Exited | None:
            clock[0] += min(9.0, 9.0 if timeout is None else timeout)
            return super().read(timeout) if timeout is None or timeout >= 9.0 else None

    process = Slow([Output(Stream.STDOUT, PROMPT), Output(Stream.STDOUT, MARKER + b"\n"), Exited(0, None)])
    assert run(process, request(seconds=10)).status == 0
