# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which pattern of prompts a question matches, in this process and in one of its own."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import pytest

from ansible_collections.bastion.ssh.plugins.plugin_utils.ssh.deadline import Deadline
from ansible_collections.bastion.ssh.plugins.plugin_utils.ssh.prompts import _PROGRAM, first_matches

TEXTS = ["Password: ", "One-time CODE:", "caf\udce9 \u20ac", ""]


@pytest.mark.parametrize(
    ("patterns", "found"),
    [
        ([], [None, None, None, None]),
        (["code", "pass"], [1, 0, None, None]),
        (["^code", "pass|one"], [1, 1, None, None]),
        (["no such+", "co?de", "\u20ac", "word: *$"], [3, 1, 2, None]),
        ([".*"], [0, 0, 0, 0]),
    ],
)
def test_the_first_pattern_that_is_found_counts(patterns: list[str], found: list[int | None]) -> None:
    assert first_matches(patterns, TEXTS, Deadline(60)) == found


# trust: T59
def test_a_pattern_that_takes_for_ever_is_ended() -> None:
    with pytest.raises(TimeoutError):
        first_matches(["(a+)+$"], ["a" * 1000 + "!"], Deadline(0.5))


# trust: T59
def test_a_search_ends_by_itself_if_nothing_is_there_any_more_to_end_it() -> None:
    asked = json.dumps([0.5, ["(a+)+$"], ["a" * 1000 + "!"]])
    command = [sys.executable, "-I", "-S", "-c", _PROGRAM]
    assert subprocess.run(command, input=asked, text=True, check=False).returncode == -signal.SIGPROF


def test_a_search_that_fails_is_an_error() -> None:
    with pytest.raises(OSError, match="its process ended with status 1"):
        first_matches(["(+"], ["any"], Deadline(60))
