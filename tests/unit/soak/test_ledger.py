# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is a violation, and what is not."""

from __future__ import annotations

import pytest

from soak.ledger import Count, Expected, Seen, late, seen, tokens, violations
from soak.plan import Kind

HERE = "127.1.2.3"
COMMAND = Expected(4, 2, Kind.RAW, "web", address=HERE)
FAILING = Expected(4, 2, Kind.SHELL, "web", rc=3, address=HERE)
ASYNC = Expected(4, 2, Kind.ASYNC, "web", address=HERE)
OUTPUT = Expected(4, 2, Kind.OUTPUT, "web", address=HERE, digest="d1")
COPY = Expected(4, 2, Kind.COPY, "web", digest="d1")
FETCH = Expected(4, 2, Kind.FETCH, "web", digest="d1")
WAIT = Expected(4, 2, Kind.WAIT, "web")
RESET = Expected(4, 2, Kind.RESET, "web")

ONCE = (HERE,)

GOOD = {
    "ok and ran once": (COMMAND, Seen("ok", 0, ran=ONCE)),
    "failed as it should": (FAILING, Seen("failed", 3, "non-zero return code", ONCE)),
    "unreachable before it ran": (COMMAND, Seen("unreachable", words="the connection was lost")),
    "unreachable after it ran": (COMMAND, Seen("unreachable", words="the connection was lost", ran=ONCE)),
    "its output is whole": (OUTPUT, Seen("ok", 0, ran=ONCE, digest="d1")),
    "no output where it is unreachable": (OUTPUT, Seen("unreachable", ran=ONCE)),
    "copied": (COPY, Seen("ok", digest="d1")),
    "fetched": (FETCH, Seen("ok", digest="d1")),
    "whole, although it is unreachable": (COPY, Seen("unreachable", digest="d1")),
    "nothing is left": (FETCH, Seen("unreachable")),
    "not come back in time": (WAIT, Seen("failed", words="timed out waiting for ping module test")),
    "not done in time": (ASYNC, Seen("failed", words="async task did not complete within the requested time - 30s")),
    "a reset has no result": (RESET, Seen("")),
}

BAD = {
    "ran twice": (COMMAND, Seen("ok", 0, ran=(HERE, HERE)), "its command ran 2 times"),
    "ran twice and is unreachable": (COMMAND, Seen("unreachable", ran=(HERE, HERE)), "its command ran 2 times"),
    "ran twice without a result": (COMMAND, Seen("", ran=(HERE, HERE)), "its command ran 2 times"),
    "ran elsewhere": (COMMAND, Seen("ok", 0, ran=("127.9.9.9",)), "ran at 127.9.9.9 in place of 127.1.2.3"),
    "ok and never ran": (COMMAND, Seen("ok", 0), "its command never ran"),
    "failed and never ran": (FAILING, Seen("failed", 3), "its command never ran"),
    "failed for no reason": (COMMAND, Seen("failed", 1, "non-zero return code", ONCE), "ends with 0"),
    "failed with another status": (FAILING, Seen("failed", -1, "non-zero return code", ONCE), "ends with 3"),
    "ok in place of failed": (FAILING, Seen("ok", 0, ran=ONCE), "it is ok, and its command ends with 3"),
    "a file cannot fail": (COPY, Seen("failed", words="cannot write"), "it failed"),
    "a job is lost": (ASYNC, Seen("failed", 0, "could not find job", ONCE), "it failed"),
    "the words of a defect": (COMMAND, Seen("unreachable", words="the broker failed with KeyError"), "of a defect"),
    "a traceback": (WAIT, Seen("failed", words="Traceback (most recent call last): ..."), "of a defect"),
    "output is torn": (OUTPUT, Seen("ok", 0, ran=ONCE, digest="d2"), "not whole"),
    "output is missing": (OUTPUT, Seen("ok", 0, ran=ONCE), "not whole"),
    "the copy is torn": (COPY, Seen("ok", digest="d2"), "what it brought is not whole"),
    "the copy is missing": (COPY, Seen("ok"), "what it brought is not whole"),
    "a torn copy is left": (COPY, Seen("unreachable", digest="d2"), "left something that is not whole"),
    "a torn fetch is left": (FETCH, Seen("failed", words="it broke", digest="d2"), "left something"),
}  # fmt: skip


@pytest.mark.parametrize(("expected", "found"), GOOD.values(), ids=list(GOOD))
def test_what_is_promised_is_no_violation(expected: Expected, found: Seen) -> None:
    assert list(violations(expected, found)) == []


@pytest.mark.parametrize(("expected", "found", "words"), BAD.values(), ids=list(BAD))
def test_what_is_not_as_promised_is_a_violation(expected: Expected, found: Seen, words: str) -> None:
    told = [str(violation) for violation in violations(expected, found)]
    assert any(words in line for line in told), told
    assert all(line.startswith(f"play 4, web, task 2 ({expected.kind.value}): ") for line in told)


def test_a_result_may_be_missing_only_where_a_worker_was_killed() -> None:
    assert [violation.what for violation in violations(COMMAND, Seen(""))] == ["it has no result; without result"]
    assert list(violations(COMMAND, Seen("", ran=ONCE), complete=False)) == []


@pytest.mark.parametrize(
    ("then", "in_the_end", "wrong"),
    [((), (), 0), ((), ONCE, 0), (ONCE, ONCE, 0), ((), ONCE * 2, 1), (ONCE, ONCE * 2, 1), (ONCE * 2, ONCE * 2, 0)],
)
def test_a_command_that_runs_again_after_its_play_is_a_violation(
    then: tuple[str, ...], in_the_end: tuple[str, ...], wrong: int
) -> None:
    assert len(list(late(COMMAND, Seen("unreachable", ran=then), in_the_end))) == wrong


def test_the_ledger_tells_how_often_and_where_a_command_ran() -> None:
    text = "1.2.web 127.0.0.1\n1.3.web 127.0.0.1\n1.2.web 127.0.0.2\n"
    assert tokens(text) == {"1.2.web": ("127.0.0.1", "127.0.0.2"), "1.3.web": ("127.0.0.1",)}
    assert COMMAND.token == "4.2.web"


def test_a_result_says_its_words_and_its_status() -> None:
    result = {"rc": 1, "msg": "MODULE FAILURE", "module_stderr": "Killed", "stdout": "no word of it"}
    assert seen("failed", result) == Seen("failed", 1, "MODULE FAILURE Killed")
    assert seen("ok", {}) == Seen("ok")


def test_tasks_are_counted_by_what_became_of_them() -> None:
    count = Count()
    for expected, found in [*GOOD.values(), (COMMAND, Seen(""))]:
        count = count.with_one(expected, found)
    assert count == Count(tasks=13, once=5, never=3, ok=4, failed=3, unreachable=5, lost=1, whole=4)
