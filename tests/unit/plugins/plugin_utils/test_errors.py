# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Words of others are made safe to show, and errors are sentences."""

from __future__ import annotations

import contextlib
import json
import re
from typing import Any

import pytest
from corpora import replaying, texts
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.bastion.ssh.plugins.plugin_utils.errors import (
    CommandError,
    HopError,
    HopTemporarilyUnavailable,
    HopUnreachable,
    JumpError,
    LocatedError,
    LoginRefused,
    SessionLimitReached,
    SettingsError,
    from_wire,
    sanitize,
    to_wire,
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
    assert sanitize(words) == expected


# trust: T49
@replaying(texts("words"))
@given(st.text(st.sampled_from("{}%# \x1b\na\u202e\ud800\udcff"), max_size=30) | st.text() | st.binary())
def test_whatever_is_said_cannot_move_a_cursor_be_rendered_or_fill_a_screen(words: str | bytes) -> None:
    line = sanitize(words, 20)
    assert line.isprintable()
    assert not _DELIMITER.search(line)
    assert len(line) <= 23
    if len(line) <= 20:
        assert sanitize(line) == line


def test_an_error_of_a_hop_says_where_what_and_what_to_do() -> None:
    error = HopError("jump host 1 of 1 a@b:22", "it is down", "Start it.")
    assert str(error) == "jump host 1 of 1 a@b:22: it is down. Start it."
    assert str(HopError("p", "q.", "r")) == "p: q. r"
    assert (error.place, error.problem, error.advice) == ("jump host 1 of 1 a@b:22", "it is down", "Start it.")


def test_an_error_of_a_setting_begins_with_its_name() -> None:
    error = SettingsError("ansible_port", "no")
    assert (str(error), error.setting, error.problem) == ("ansible_port: no", "ansible_port", "no")
    assert isinstance(error, JumpError)
    assert not isinstance(error, HopError)


def family(kind: type[Any]) -> list[type[Any]]:
    return [kind, *[each for child in kind.__subclasses__() for each in family(child)]]


# trust: T19
def test_only_a_dial_that_nobody_refused_is_worth_repeating() -> None:
    assert LoginRefused in family(HopError)
    assert [kind for kind in family(HopError) if kind.retry] == [
        HopUnreachable,
        HopTemporarilyUnavailable,
        SessionLimitReached,
    ]


def words_of(kind: type[JumpError]) -> int:
    """How many words an error of a kind is made of."""
    return 3 if issubclass(kind, LocatedError) else 2 if issubclass(kind, SettingsError) else 1


# trust: T28
@given(
    st.sampled_from(family(JumpError)), st.lists(st.text(st.characters(exclude_categories=[])), min_size=3, max_size=3)
)
def test_any_error_of_any_words_is_the_same_in_another_process(kind: type[JumpError], words: list[str]) -> None:
    error = kind(*words[: words_of(kind)])
    told = from_wire(json.loads(json.dumps(to_wire(error))))
    assert (told.__class__, str(told), vars(told)) == (kind, str(error), vars(error))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from(["CommandError", "HopError"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["kind", "values", "a"]), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip


# trust: T28
@given(st.dictionaries(st.sampled_from(["kind", "values", "a"]), JSON))
def test_whatever_is_told_is_an_error_of_the_family_or_none(data: dict[str, object]) -> None:
    with contextlib.suppress(KeyError, TypeError):
        error = from_wire(data)
        assert error.__class__.__name__ == data["kind"]
        assert error.__class__ in family(JumpError)
        assert from_wire(json.loads(json.dumps(to_wire(error)))).__class__ is error.__class__


WORDS = "it's down: {'a'}; ü \u202e \udcff"


@pytest.mark.parametrize("kind", family(JumpError))
def test_an_error_is_the_same_in_another_process(kind: type[JumpError]) -> None:
    error = kind(*[f"{WORDS}{number}." for number in range(words_of(kind))])
    told = from_wire(json.loads(json.dumps(to_wire(error))))
    assert told.__class__ is kind
    assert (str(told), vars(told)) == (str(error), vars(error))


# trust: T28
@pytest.mark.parametrize(
    "kind",
    ["", "Exception", "OSError", "SystemExit", "eval", "os.system", "__import__", "jumperror", "JumpError ", "NoBroker",
     None, 1, ["JumpError"], {"JumpError": 1}],
    ids=repr,
)  # fmt: skip
def test_nothing_but_an_error_of_the_family_can_be_told(kind: object) -> None:
    with pytest.raises(KeyError):
        from_wire({"kind": kind, "values": ["x"]})


# trust: T28
@pytest.mark.parametrize("values", [None, "abc", 1, {"a": 1}, ()], ids=repr)
def test_an_error_is_told_in_a_list_of_words(values: object) -> None:
    with pytest.raises(TypeError, match=r"^no error$"):
        from_wire({"kind": "CommandError", "values": values})


# trust: T28
@pytest.mark.parametrize("data", [{}, {"kind": "CommandError"}, {"values": ["x"]}], ids=repr)
def test_half_an_error_is_none(data: dict[str, object]) -> None:
    with pytest.raises(KeyError):
        from_wire(data)


# trust: T28
@pytest.mark.parametrize(
    ("kind", "count"),
    [("SettingsError", 1), ("SettingsError", 3), ("HopError", 2), ("HopError", 4), ("CommandError", 1)],
)
def test_an_error_with_other_words_than_it_has_is_none(kind: str, count: int) -> None:
    with pytest.raises(TypeError):
        from_wire({"kind": kind, "values": ["x"] * count})


def test_whatever_is_told_is_words() -> None:
    assert str(from_wire({"kind": "JumpError", "values": [["a", 1]]})) == "['a', 1]"
    assert from_wire({"kind": "CommandError", "values": ["x", 1, []]}).__class__ is CommandError
