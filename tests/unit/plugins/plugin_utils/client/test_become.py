# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The prompt state machine of privilege escalation: bytes in, action out."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ansible_collections.bastion.ssh.plugins.plugin_utils.client.become import Action, BecomeRules, Escalation, Stream

OUT, ERR = Stream.STDOUT, Stream.STDERR
WAIT, SEND, START = Action.WAIT, Action.SEND_PASSWORD, Action.START
INCORRECT, MISSING = Action.FAIL_INCORRECT, Action.FAIL_MISSING

PROMPT = b"[sudo via ansible, key=abc] password:"
MARKER = b"BECOME-SUCCESS-abc"
LECTURE = b"\nWe trust you have received the usual lecture from the local System\nAdministrator.\n\n"

Feed = tuple[Stream, bytes]
Seen = tuple[list[Action], bytes, bytes]


def rules(expects_prompt: bool = True) -> BecomeRules:
    """What sudo prints."""
    return BecomeRules(
        success=MARKER,
        expects_prompt=expects_prompt,
        is_prompt=lambda line: line.startswith(PROMPT),
        is_incorrect=lambda line: line.startswith(b"Sorry, try again."),
        is_missing=lambda line: line.startswith(b"Sorry, a password is required to run sudo"),
    )


def seen(feeds: list[Feed], escalation: Escalation | None = None) -> Seen:
    """All actions but WAIT, up to the first failure, and the output of each stream."""
    escalation = escalation or Escalation(rules())
    actions, output = [], {OUT: b"", ERR: b""}
    for stream, data in feeds:
        action = escalation.feed(stream, data)
        if action is not WAIT:
            actions.append(action)
        if action in (INCORRECT, MISSING):
            return actions, output[OUT], output[ERR]
        for each in Stream:
            output[each] += escalation.take(each)
    for each in Stream:
        output[each] += escalation.rest(each)
    return actions, output[OUT], output[ERR]


def bytewise(feeds: list[Feed]) -> list[Feed]:
    return [(stream, data[i : i + 1]) for stream, data in feeds for i in range(len(data))]


def halved(feeds: list[Feed]) -> Iterator[list[Feed]]:
    """Every way to cut one of the feeds in two."""
    for number, (stream, data) in enumerate(feeds):
        for cut in range(1, len(data)):
            yield [*feeds[:number], (stream, data[:cut]), (stream, data[cut:]), *feeds[number + 1 :]]


FLOWS: dict[str, tuple[list[Feed], Seen]] = {
    "prompt, then output": (
        [(ERR, PROMPT), (OUT, MARKER + b"\n"), (OUT, b"out\n"), (ERR, b"err\n")],
        ([SEND, START], b"out\n", b"err\n"),
    ),
    "lecture before the prompt": (
        [(ERR, LECTURE + PROMPT), (OUT, MARKER + b"\nout")],
        ([SEND, START], b"out", b""),
    ),
    "output in the chunk of the marker": (
        [(ERR, PROMPT), (OUT, MARKER + b"\nout\n\nmore"), (OUT, b"\n")],
        ([SEND, START], b"out\n\nmore\n", b""),
    ),
    "stdout before the marker is the program's": (
        [(OUT, b"Last login: today\n"), (ERR, PROMPT), (OUT, b"\n" + MARKER + b"\nout\n")],
        ([SEND, START], b"out\n", b""),
    ),
    "stderr of the command before the marker was seen": (
        [(ERR, PROMPT), (ERR, b"err\n"), (OUT, MARKER + b"\n")],
        ([SEND, START], b"", b"err\n"),
    ),
    "one terminal for all": (
        [(OUT, LECTURE.replace(b"\n", b"\r\n") + PROMPT), (OUT, b"\r\n" + MARKER + b"\r\n"), (OUT, b"out\r\n")],
        ([SEND, START], b"out\r\n", b""),
    ),
    "a carriage return before the prompt": (
        [(OUT, b"\r" + PROMPT), (OUT, b"\r\n" + MARKER + b"\r\nout")],
        ([SEND, START], b"out", b""),
    ),
    "a line before the prompt on the same stream": (
        [(ERR, b"warning\n" + PROMPT), (OUT, MARKER + b"\n"), (ERR, b"err")],
        ([SEND, START], b"", b"err"),
    ),
    "no prompt was needed": (
        [(OUT, MARKER + b"\n"), (OUT, b"out"), (ERR, b"err")],
        ([START], b"out", b"err"),
    ),
    "what looks like the program's own is output once the command runs": (
        [
            (ERR, PROMPT),
            (OUT, MARKER + b"\n"),
            (ERR, PROMPT + b"\nSorry, try again.\n"),
            (OUT, MARKER + b"\n" + PROMPT),
        ],
        ([SEND, START], MARKER + b"\n" + PROMPT, PROMPT + b"\nSorry, try again.\n"),
    ),
    "wrong password": (
        [(ERR, PROMPT), (ERR, b"Sorry, try again.\n" + PROMPT)],
        ([SEND, INCORRECT], b"", b""),
    ),
    "wrong password, and it only asks again": (
        [(ERR, PROMPT), (ERR, b"\n" + PROMPT)],
        ([SEND, INCORRECT], b"", b""),
    ),
    "missing password": (
        [(ERR, b"Sorry, a password is required to run sudo")],
        ([MISSING], b"", b""),
    ),
    "the program fails in its own words": (
        [(ERR, PROMPT), (ERR, b"user is not in the sudoers file.\n"), (OUT, b"bye\n")],
        ([SEND], b"bye\n", b"user is not in the sudoers file.\n"),
    ),
}


# trust: T51
@pytest.mark.parametrize(("feeds", "expected"), FLOWS.values(), ids=FLOWS)
def test_a_flow_is_read_the_same_however_its_bytes_are_split(feeds: list[Feed], expected: Seen) -> None:
    assert seen(feeds) == expected
    assert seen(bytewise(feeds)) == expected
    for split in halved(feeds):
        assert seen(split) == expected


# trust: T51
def test_the_blank_that_ends_a_prompt_is_not_output_even_if_it_comes_late() -> None:
    assert seen([(ERR, PROMPT), (ERR, b" "), (OUT, MARKER + b"\n"), (ERR, b" err")]) == ([SEND, START], b"", b" err")


# trust: T51
def test_without_escalation_everything_is_output_at_once() -> None:
    escalation = Escalation(None)
    assert escalation.started
    assert escalation.feed(OUT, PROMPT + MARKER + b"\n") is WAIT
    assert escalation.take(OUT) == PROMPT + MARKER + b"\n"
    assert escalation.take(OUT) == escalation.rest(OUT) == b""


# trust: T51
def test_a_prompt_that_nothing_answers_waits() -> None:
    assert seen([(ERR, PROMPT)], Escalation(rules(expects_prompt=False))) == ([], b"", PROMPT)


# trust: T51
def test_nothing_is_output_before_the_start_and_everything_once_after_it() -> None:
    escalation = Escalation(rules())
    assert escalation.feed(ERR, b"err1") is WAIT
    assert escalation.feed(OUT, b"noise" + MARKER) is WAIT
    assert not escalation.started
    assert escalation.take(OUT) == escalation.take(ERR) == b""
    assert escalation.feed(OUT, b"\r\nout1") is START
    assert escalation.feed(OUT, b"out2") is WAIT
    assert (escalation.take(OUT), escalation.take(ERR)) == (b"out1out2", b"err1")
    assert (escalation.rest(OUT), escalation.rest(ERR)) == (b"", b"")


# trust: T51
def test_much_output_before_the_marker_on_the_other_stream_is_kept_whole() -> None:
    data = bytes(range(256)) * 4096
    feeds = [
        (ERR, PROMPT),
        *[(ERR, data[i : i + 65536]) for i in range(0, len(data), 65536)],
        (OUT, MARKER + b"\n"),
        (OUT, data),
    ]
    assert seen(feeds) == ([SEND, START], data, data)
