# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Words of others are made safe to show, and errors are sentences."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.bastion.ssh.plugins.plugin_utils.errors import (
    HopError,
    HopUnreachable,
    JumpError,
    LoginRefused,
    SessionRefused,
    SettingsError,
    said,
)

_DELIMITER = re.compile(r"\{\{|\}\}|\{%|%\}|\{#|#\}")


# trust: T49
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (None, ""),
        ("", ""),
        ("plain words", "plain words"),
        (b"bytes", "bytes"),
        (b"\xff\xc3\xa9", "\ufffdé"),
        ("  several\r\n  lines\t", "several lines"),
        ("\x1b[2J\x1b]0;title\x07x", "[2J ]0;title x"),
        ("a\u202eb\u2066c\u200bd\x7fe\0f", "a b c d e f"),
        ("\ud800", ""),
        ("{{ x }}", "{ { x } }"),
        ("{% x %}", "{ % x % }"),
        ("{# x #}", "{ # x # }"),
        ("{{{x}}}", "{ { {x} } }"),
        ("{%}", "{ % }"),
        ("{x} 5% # {", "{x} 5% # {"),
        ("{\x00{", "{ {"),
        ("ü 你好", "ü 你好"),
        ("x" * 300, "x" * 300),
        ("x" * 301, "x" * 300 + "..."),
    ],
)
def test_words_of_others_are_one_safe_line(words: str | bytes | None, expected: str) -> None:
    assert said(words) == expected


# trust: T49
@settings(deadline=None, derandomize=True, database=None)
@given(st.text(st.sampled_from("{}%# \x1b\na\u202e"), max_size=30) | st.text() | st.binary())
def test_whatever_is_said_cannot_move_a_cursor_be_rendered_or_fill_a_screen(words: str | bytes) -> None:
    line = said(words, 20)
    assert line.isprintable()
    assert not _DELIMITER.search(line)
    assert len(line) <= 23
    if len(line) <= 20:
        assert said(line) == line


def test_an_error_of_a_hop_says_where_what_and_what_to_do() -> None:
    error = HopError("hop 1 of 2, a@b:22", "it is down", "Start it.")
    assert str(error) == "hop 1 of 2, a@b:22: it is down. Start it."
    assert str(HopError("p", "q")) == "p: q."
    assert (error.place, error.problem, error.advice) == ("hop 1 of 2, a@b:22", "it is down", "Start it.")


def test_an_error_of_a_setting_begins_with_its_name() -> None:
    error = SettingsError("ansible_port", "no")
    assert (str(error), error.setting, error.problem) == ("ansible_port: no", "ansible_port", "no")
    assert isinstance(error, JumpError)
    assert not isinstance(error, HopError)


# trust: T19
def test_only_a_dial_that_nobody_refused_is_worth_repeating() -> None:
    def family(kind: type[HopError]) -> list[type[HopError]]:
        return [kind, *[each for child in kind.__subclasses__() for each in family(child)]]

    assert LoginRefused in family(HopError)
    assert [kind for kind in family(HopError) if kind.retry] == [HopUnreachable, SessionRefused]
