# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which pattern of prompts a question matches, in this process and in one of its own."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ansible_collections.bastion.ssh.plugins.plugin_utils.deadline import Deadline
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
    command = [sys.executable, "-S", "-c", _PROGRAM]
    assert subprocess.run(command, input=asked, text=True, check=False).returncode == -signal.SIGPROF


# trust: T59
def test_a_search_has_what_its_python_needs_to_start_and_nothing_else_of_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python, seen = tmp_path / "python", tmp_path / "seen"
    python.write_text(f"""#!{sys.executable} -IS
import os, sys
with open({str(seen)!r}, "w") as file:
    print(os.getcwd(), *sorted(os.environ), file=file)
os.execv({sys.executable!r}, [{sys.executable!r}, *sys.argv[1:]])
""")
    python.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(python))
    for name in ("PYTHONPATH", "PYTHONSTARTUP", "PYTHONINSPECT", "PYTHONMALLOC", "GLIBC_TUNABLES", "SECRET"):
        monkeypatch.setenv(name, "malloc")
    for name, value in {"PYTHONHOME": sys.base_prefix, "LD_LIBRARY_PATH": "/nonexistent", "PATH": "/bin"}.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "json.py").write_text("raise SystemExit(7)")
    monkeypatch.chdir(tmp_path)
    assert first_matches(["co?de"], TEXTS, Deadline(60)) == [None, 0, None, None]
    names = set(seen.read_text().split())
    assert names - {"LC_CTYPE"} == {"/", "LD_LIBRARY_PATH", "PATH", "PYTHONHOME"}  # that one is Python's own (PEP 538)
    monkeypatch.setenv("PYTHONHOME", "/nonexistent")
    with pytest.raises(OSError, match="its process ended with status 1"):
        first_matches(["co?de"], TEXTS, Deadline(60))


def test_a_search_that_fails_is_an_error() -> None:
    with pytest.raises(OSError, match="its process ended with status 1"):
        first_matches(["(+"], ["any"], Deadline(60))
