# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever an escalation program prints, in whatever pieces: one answer, one start, and no byte lost or told twice."""

from __future__ import annotations

from collections.abc import Iterable

from corpora import blobs, replaying
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.bastion.ssh.plugins.plugin_utils.client.become import Action, BecomeRules, Escalation, Stream

OUT, ERR = Stream.STDOUT, Stream.STDERR
PROMPT, MARKER, REFUSAL, NEED = b"PASS:", b"MARK", b"NO", b"NEED"
FAILURES = (Action.FAIL_INCORRECT, Action.FAIL_MISSING)

Pieces = list[tuple[Stream, bytes]]

# Never what the program or its command means by a prompt, a marker or a refusal.
WORDS = st.lists(st.sampled_from([b"a", b"\n", b"\r", b" ", b"PAS", b"S:", b"MAR", b"\0", b"\xff", b"N"])).map(b"".join)
QUIET = WORDS.filter(lambda words: not any(each in words for each in (PROMPT, MARKER, REFUSAL, NEED)))
ERRORS = st.builds(bytes.__add__, st.sampled_from([b"", b" "]), QUIET)
LINES = QUIET.map(lambda words: words + b"\n")


def rules(expects_prompt: bool = True) -> BecomeRules:
    """As ansible-core's: anywhere in a line, and a prompt at its beginning."""
    return BecomeRules(
        success=MARKER,
        expects_prompt=expects_prompt,
        is_prompt=lambda line: line.strip().startswith(PROMPT),
        is_incorrect=lambda line: REFUSAL in line,
        is_missing=lambda line: NEED in line,
    )


@st.composite
def pieces(draw: st.DrawFn, said: dict[Stream, bytes]) -> Pieces:
    """What is said on two streams, cut anywhere, each stream in its order."""
    left = dict(said)
    found: Pieces = []
    while any(left.values()):
        stream = draw(st.sampled_from([each for each in Stream if left[each]]))
        length = draw(st.integers(1, len(left[stream])))
        found.append((stream, left[stream][:length]))
        left[stream] = left[stream][length:]
    return found


class Seen:
    """An escalation, all that it wants done, and the output of the command."""

    def __init__(self, expects_prompt: bool = True) -> None:
        self.escalation = Escalation(rules(expects_prompt))
        self.actions: list[Action] = []
        self.output = {OUT: b"", ERR: b""}

    def feed(self, fed: Iterable[tuple[Stream, bytes]]) -> None:
        """Up to the first failure, as after that nobody listens."""
        for stream, data in fed:
            if any(action in FAILURES for action in self.actions):
                return
            action = self.escalation.feed(stream, data)
            if action is not Action.WAIT:
                self.actions.append(action)
            for each in Stream:
                self.output[each] += self.escalation.take(each)

    def end(self) -> dict[Stream, bytes]:
        """All output, and of what never started its own words."""
        return {each: self.output[each] + self.escalation.rest(each) for each in Stream}


# trust: T51
@given(QUIET, LINES, st.sampled_from([OUT, ERR, None]), st.sampled_from([b"", b" "]), LINES, st.sampled_from([b"", b"\r"]),
       WORDS, ERRORS, st.data())  # fmt: skip
def test_however_a_program_is_cut_its_command_says_the_same(
    out: bytes, err: bytes, asks: Stream | None, blank: bytes, noise: bytes, end: bytes, told: bytes, errors: bytes,
    data: st.DataObject,
) -> None:  # fmt: skip
    if asks is ERR and not blank:
        errors = errors.lstrip(b" ")  # nobody can know whose blank that is
    seen = Seen()
    if asks is not None:  # it waits for its answer before it goes on
        before = {OUT: out + b"\n", ERR: err} | {asks: (err if asks is ERR else out + b"\n") + PROMPT + blank}
        seen.feed(data.draw(pieces(before)))
        assert seen.actions == [Action.SEND_PASSWORD]
    after = {OUT: noise + MARKER + end + b"\n" + told, ERR: errors}
    seen.feed(data.draw(pieces(after)))
    assert seen.actions == [*([Action.SEND_PASSWORD] if asks else []), Action.START]
    kept = err if asks is OUT else b""
    assert seen.end() == {OUT: told, ERR: kept + errors}


# trust: T51
@given(st.sampled_from([OUT, ERR]), LINES, QUIET, st.data())
def test_however_a_refusal_is_cut_it_is_one(stream: Stream, before: bytes, after: bytes, data: st.DataObject) -> None:
    missing, refused = Seen(expects_prompt=False), Seen()
    missing.feed(data.draw(pieces({OUT: b"", ERR: b""} | {stream: before + NEED + after})))
    assert missing.actions == [Action.FAIL_MISSING]
    refused.feed(data.draw(pieces({OUT: b"", ERR: b""} | {stream: before + PROMPT + b" "})))
    again = data.draw(st.sampled_from([REFUSAL, REFUSAL + b"\n" + PROMPT, PROMPT, b"\n" + PROMPT]))
    refused.feed(data.draw(pieces({OUT: b"", ERR: b""} | {stream: b"\n" + again + after})))
    assert refused.actions == [Action.SEND_PASSWORD, Action.FAIL_INCORRECT]


SOUP = st.lists(WORDS | st.sampled_from([PROMPT, MARKER, MARKER + b"\n", REFUSAL, NEED, b"\r\n"])).map(b"".join)


# trust: T51
@replaying({why: (said, b"", 1, True) for why, said in blobs("become").items()})
@replaying({why: (b"", said, 7, True) for why, said in blobs("become").items()})
@replaying({why: (said, said, 10**6, False) for why, said in blobs("become").items()})
@given(st.tuples(SOUP, SOUP, st.integers(1, 40), st.booleans()))
def test_whatever_is_said_there_is_one_answer_and_no_byte_is_lost(said: tuple[bytes, bytes, int, bool]) -> None:
    out, err, size, expects_prompt = said
    seen = Seen(expects_prompt)
    parts = {
        stream: [(stream, text[i : i + size]) for i in range(0, len(text), size)]
        for stream, text in ((OUT, out), (ERR, err))
    }
    for fed in [*parts[ERR][: len(parts[ERR]) // 2], *parts[OUT], *parts[ERR][len(parts[ERR]) // 2 :]]:
        was_started, before = seen.escalation.started, dict(seen.output)
        seen.feed([fed])
        if was_started:
            assert seen.output == before | {fed[0]: before[fed[0]] + fed[1]}
        if not seen.escalation.started:
            assert seen.output == {OUT: b"", ERR: b""}
    allowed = [Action.SEND_PASSWORD][:expects_prompt]
    assert seen.actions.count(Action.SEND_PASSWORD) <= len(allowed)
    assert seen.actions.count(Action.START) == seen.escalation.started
    assert sum(action in FAILURES for action in seen.actions) <= 1
    if not any(action in FAILURES for action in seen.actions):
        # Of each stream the beginning may be the program's; the rest is whole.
        end = seen.end()
        assert out.endswith(end[OUT])
        assert err.endswith(end[ERR])
        assert seen.end() == seen.output
