# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host key that was trusted once, and known_hosts files that have changed since."""

from __future__ import annotations

import base64
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from ansible_collections.bastion.ssh.plugins.plugin_utils.chain.model import (
    Credentials,
    Hop,
    HostKeyChecking,
    HostKeyPolicy,
)
from ansible_collections.bastion.ssh.plugins.plugin_utils.errors import HostKeyRefused
from ansible_collections.bastion.ssh.plugins.plugin_utils.ssh.host_keys import HostKey, HostKeyCheck, Trust

STRICT, NEW, OFF = HostKeyChecking.STRICT, HostKeyChecking.ACCEPT_NEW, HostKeyChecking.OFF


def key(number: int) -> HostKey:
    parts = [b"ssh-ed25519", bytes([number]) * 32]
    return HostKey("ssh-ed25519", b"".join(len(part).to_bytes(4, "big") + part for part in parts))


def line(name: str, shown: HostKey) -> str:
    return f"{name} {shown.key_type} {base64.b64encode(shown.blob).decode()}\n"


KEY, ANOTHER = key(1), key(2)
KNOWN, OTHER, REVOKED = line("h", KEY), line("h", ANOTHER), line("@revoked h", KEY)


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    (tmp_path / "first").write_text(KNOWN)
    return tmp_path / "first", tmp_path / "second"


def hop(files: tuple[Path, Path], checking: HostKeyChecking = STRICT) -> Hop:
    return Hop("h", 22, Credentials("u"), HostKeyPolicy(checking, tuple(map(str, files))))


def trust(files: tuple[Path, Path], checking: HostKeyChecking = STRICT) -> Trust:
    return HostKeyCheck(hop(files, checking), "the place", lambda _line: None).verify(KEY)


def silent(line: str) -> None:
    raise AssertionError(line)


# trust: T32
@pytest.mark.parametrize(("checking", "known"), [(STRICT, KNOWN), (NEW, KNOWN), (OFF, KNOWN), (OFF, OTHER)])
def test_files_that_have_not_changed_are_not_read_again(
    checking: HostKeyChecking, known: str, files: tuple[Path, Path]
) -> None:
    files[0].write_text(known)
    before = trust(files, checking)
    assert before.secrets_allowed == (known == KNOWN)
    warnings: list[str] = []
    assert before.renewed(hop(files, checking), "the place", warnings.append) is before
    assert len(warnings) == (known == OTHER), "each run that uses it hears of it"  # trust: T13


def rewrite(text: str) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        path.write_text(text)

    return change


def replaced(path: Path) -> None:
    path.with_name("new").write_text(REVOKED)
    path.with_name("new").replace(path)


def changed(path: Path) -> None:
    """Another key in a file of the same size."""
    time.sleep(0.02)  # more than a tick of the file system's clock
    path.write_text(OTHER)


def disguised(path: Path) -> None:
    """The same, and the file's time set back."""
    time.sleep(0.02)
    found = path.stat()
    path.write_text(OTHER)
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (found.st_size, found.st_mtime_ns)


def a_directory(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.mkdir()


NOT_KNOWN, CHANGED, MARKED = "is not known", "has changed", "is marked as revoked"
BROKEN = "could not be checked"

# Which file changes and how; whether STRICT, NEW and OFF let the key pass: True, False (without secrets), or the reason.
CHANGES: dict[str, tuple[int, Callable[[Path], None], tuple[bool | str, ...]]] = {
    "a line more": (0, rewrite(KNOWN + line("i", ANOTHER)), (True, True, True)),
    "another key more": (0, rewrite(KNOWN + OTHER), (True, True, True)),
    "revoked": (0, rewrite(KNOWN + REVOKED), (MARKED,) * 3),
    "revoked in another file": (1, rewrite(REVOKED), (MARKED,) * 3),
    "revoked in a new file of the same name": (0, replaced, (MARKED,) * 3),
    "changed": (0, changed, (CHANGED, CHANGED, False)),
    "changed in secret": (0, disguised, (CHANGED, CHANGED, False)),
    "forgotten": (0, rewrite("\n"), (NOT_KNOWN, True, True)),
    "removed": (0, Path.unlink, (NOT_KNOWN, True, True)),
    "not to be read": (1, a_directory, (BROKEN,) * 3),
}


# trust: T32
@pytest.mark.parametrize(("number", "change", "expected"), CHANGES.values(), ids=CHANGES)
def test_a_key_is_looked_at_once_more_when_a_file_has_changed(
    number: int, change: Callable[[Path], None], expected: tuple[bool | str, ...], files: tuple[Path, Path]
) -> None:
    for checking, outcome in zip((STRICT, NEW, OFF), expected, strict=True):
        for path in files:
            if path.is_dir():
                path.rmdir()
            path.unlink(missing_ok=True)
        files[0].write_text(KNOWN)
        before = trust(files, checking)
        change(files[number])
        warnings: list[str] = []
        if isinstance(outcome, str):
            for _time in range(2):
                with pytest.raises(HostKeyRefused, match=rf"^jump host 2 of 2: .*{outcome}"):
                    before.renewed(hop(files, checking), "jump host 2 of 2", warnings.append)
        else:
            after = before.renewed(hop(files, checking), "jump host 2 of 2", warnings.append)
            assert (after.key, after.secrets_allowed) == (KEY, outcome)
            assert after.stamp != before.stamp
        assert all(warning.startswith("jump host 2 of 2: ") for warning in warnings)
        assert bool(warnings) == (outcome is False or (checking is NEW and expected[0] == NOT_KNOWN))


# trust: T32
def test_secrets_are_allowed_as_the_files_say_now(files: tuple[Path, Path]) -> None:
    warnings: list[str] = []
    found = trust(files, OFF)
    for text, allowed in ((OTHER, False), (OTHER + KNOWN, True), ("", True), (OTHER, False)):
        files[0].write_text(text)
        found = found.renewed(hop(files, OFF), "target", warnings.append)
        assert found.secrets_allowed is allowed
        before = len(warnings)
        assert found.renewed(hop(files, OFF), "target", warnings.append) is found
        assert warnings[before:] == ([] if allowed else warnings[before - 1 : before])
    assert len(warnings) == 4


def test_a_key_that_is_recorded_is_looked_at_once_more_and_then_no_more(files: tuple[Path, Path]) -> None:
    files[0].unlink()
    found = trust(files, NEW)
    after = found.renewed(hop(files, NEW), "target", silent)
    assert after is not found
    assert after.renewed(hop(files, NEW), "target", silent) is after
    assert files[0].read_text() == KNOWN


# trust: T13
def test_a_changed_key_that_was_let_pass_for_a_target_is_refused_for_a_jump_host(files: tuple[Path, Path]) -> None:
    files[0].write_text(OTHER)
    found, warnings = trust(files, OFF), list[str]()
    assert found.renewed(hop(files, OFF), "target", warnings.append) is found
    jump_host = replace(hop(files, OFF), setting="ansible_ssh_jump[0]")
    with pytest.raises(HostKeyRefused, match=r"^jump host 1 of 1: the host key has changed: .*a jump host is refused"):
        found.renewed(jump_host, "jump host 1 of 1", silent)
    assert len(warnings) == 1
    files[0].write_text(KNOWN)
    assert found.renewed(jump_host, "jump host 1 of 1", silent).secrets_allowed
