# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection.
"""Handle the prompts of privilege escalation as a state machine: bytes in, action out.

What an escalation program prints before the command starts is not the command's output. The success marker arrives on the command's
stdout, so everything before it there is the program's. On the other stream only the prompt and what precedes it are known to be the
program's, and only that is removed.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum


class Stream(Enum):
    """Name the output streams of a command."""

    STDOUT = "stdout"
    STDERR = "stderr"


class Action(Enum):
    """Name what the caller must do next."""

    WAIT = "wait"
    SEND_PASSWORD = "send password"
    START = "start"
    FAIL_INCORRECT = "incorrect password"
    FAIL_MISSING = "missing password"


class BecomeRules:
    """Describe how to read one escalation program. The predicates take one line, of which the last may be incomplete.

    :param success: the marker that is printed on its own line just before the command runs.
    :param expects_prompt: whether there is a password to answer a prompt with.
    """

    def __init__(
        self,
        success: bytes,
        expects_prompt: bool,
        is_prompt: Callable[[bytes], bool],
        is_incorrect: Callable[[bytes], bool],
        is_missing: Callable[[bytes], bool],
    ) -> None:
        self.success = success
        self.expects_prompt = expects_prompt
        self.is_prompt = is_prompt
        self.is_incorrect = is_incorrect
        self.is_missing = is_missing


class Escalation:
    """Track one command through its escalation program.

    :param rules: None if the command runs as the login user; then everything is output at once.
    """

    def __init__(self, rules: BecomeRules | None) -> None:
        self._rules = rules
        self._held = {Stream.STDOUT: bytearray(), Stream.STDERR: bytearray()}
        self._line = {Stream.STDOUT: 0, Stream.STDERR: 0}  # start of the first incomplete line
        self._prompted: Stream | None = None
        self._blank_may_come = False
        self.started = rules is None

    def feed(self, stream: Stream, data: bytes) -> Action:
        """Process bytes of a stream.

        :returns: START exactly once, when the command runs; SEND_PASSWORD at most once.
        """
        held = self._held[stream]
        held += data
        rules = self._rules
        if self.started or rules is None:
            return Action.WAIT
        if self._find_success(rules, stream):
            self.started = True
            return Action.START
        # A lone carriage return ends a line, too: doas(1) begins its prompt with one.
        lines = bytes(held[self._line[stream] :]).splitlines(keepends=True)
        self._line[stream] = held.rfind(b"\n") + 1
        if any(map(rules.is_missing, lines)):
            return Action.FAIL_MISSING
        prompted = rules.expects_prompt and any(map(rules.is_prompt, lines))
        if self._prompted and (prompted or any(map(rules.is_incorrect, lines))):
            return Action.FAIL_INCORRECT
        if prompted:
            self._blank_may_come = not held.endswith(b" ")
            held.clear()
            self._line[stream] = 0
            self._prompted = stream
            return Action.SEND_PASSWORD
        return Action.WAIT

    def take(self, stream: Stream) -> bytes:
        """Return the command's own output since the last call; nothing before the command has started."""
        return self._drain(stream) if self.started else b""

    def rest(self, stream: Stream) -> bytes:
        """Return what is left at the end, including the escalation program's output if the command never ran."""
        return self._drain(stream)

    def _drain(self, stream: Stream) -> bytes:
        data = bytes(self._held[stream])
        self._held[stream].clear()
        return data

    def _find_success(self, rules: BecomeRules, stream: Stream) -> bool:
        held = self._held[stream]
        marker = held.find(rules.success, self._line[stream])
        end = held.find(b"\n", marker) if marker >= 0 else -1
        if end < 0:
            return False
        del held[: end + 1]
        if self._prompted and self._prompted is not stream and self._blank_may_come:
            # The space that ends a prompt may arrive after the text that was recognized.
            other = self._held[self._prompted]
            if other.startswith(b" "):
                del other[:1]
        return True
