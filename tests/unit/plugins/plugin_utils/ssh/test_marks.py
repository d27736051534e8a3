# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a command writes, told from what its shell writes around it."""

from __future__ import annotations

import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.bastion.ssh.plugins.plugin_utils.ssh.marks import Marks


def mark_of(marks: Marks) -> bytes:
    return marks.around("x").split()[1].encode()


# trust: T45
@given(st.binary(), st.binary(), st.binary(), st.lists(st.integers(1, 60)))
def test_only_what_is_between_is_taken(before: bytes, output: bytes, after: bytes, sizes: list[int]) -> None:
    marks = Marks()
    mark = mark_of(marks) + b"\n"
    whole = before + mark + output + mark + after
    found = b""
    for size in sizes:
        found += marks.feed(whole[:size])
        whole = whole[size:]
    assert found + marks.feed(whole) == output
    assert marks.ended


@pytest.mark.parametrize("pieces", [0, 1, 2])
def test_what_has_no_end_is_not_whole(pieces: int) -> None:
    marks = Marks()
    marks.feed(b"words\n" + (mark_of(marks) + b"\nfile") * (pieces > 0))
    marks.feed(mark_of(marks)[:-1] * (pieces > 1))
    assert not marks.ended


def test_what_is_long_is_not_kept() -> None:
    marks = Marks()
    for _number in range(100):
        assert marks.feed(b"w" * 100_000) == b""
    assert len(marks._held) < 100
    marks.feed(mark_of(marks) + b"\n")
    for _number in range(100):
        assert len(marks.feed(b"w" * 100_000)) >= 99_900
    assert len(marks._held) < 100


@pytest.mark.parametrize("command", ["printf x", "true", "exit 3", "false"])
def test_a_shell_fails_where_the_command_does(command: str) -> None:
    marks = Marks()
    line = marks.around(command)
    plain, marked = (subprocess.run(["sh", "-c", each], capture_output=True, check=False) for each in (command, line))
    assert marked.returncode == plain.returncode
    assert marks.feed(marked.stdout) == plain.stdout
    assert marks.ended == (plain.returncode == 0)
