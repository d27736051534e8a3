# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection.
"""The prompt state machine of privilege escalation: bytes in, action out.

What an escalation program prints before the command starts is not the command's output. The success marker
travels on the command's own stdout, so all of stdout up to it is the program's; on the other stream
only the prompt, and what stood before it, is known to be the program's, and only that is taken away.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum


class Stream(Enum):
    """The two output streams of a command."""

    STDOUT = "stdout"
    STDERR = "stderr"


class Action(Enum):
    """What the caller does next."""

    WAIT = "wait"
    SEND_PASSWORD = "send password"
    START = "start"
    FAIL_INCORRECT = "incorrect password"
    FAIL_MISSING = "missing password"


class BecomeRules:
    """How to read one escalation program; the predicates take one line, the last of which may not be complete.

    :param success: the marker that is printed, in a line of its own, just before the command runs.
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
    """One command's way through an escalation program.

    :param rules: None where the command runs as the login user; then everything is output at once.
    """

    def __init__(self, rules: BecomeRules | None) -> None:
        self._rules = rules
        self._held = {Stream.STDOUT: bytearray(), Stream.STDERR: bytearray()}
        self._line = {Stream.STDOUT: 0, Stream.STDERR: 0}  # where the first line begins that has no end yet
        self._prompted: Stream | None = None
        self._blank_may_come = False
        self.started = rules is None

    def feed(self, stream: Stream, data: bytes) -> Action:
        """Takes bytes of a stream.

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
        """The command's own output so far, once; nothing before it has started."""
        return self._drain(stream) if self.started else b""

    def rest(self, stream: Stream) -> bytes:
        """What is left at the end, the escalation program's own words included if the command never ran."""
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
            # The blank that ends a prompt may come after the text that was recognised.
            other = self._held[self._prompted]
            if other.startswith(b" "):
                del other[:1]
        return True
