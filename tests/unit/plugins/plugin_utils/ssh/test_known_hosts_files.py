# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Known host keys that are not in the user's files: lines of a variable, system files, KnownHostsCommand; and hashed names."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.bastion.ssh.plugins.plugin_utils.chain.model import (
    Credentials,
    ExecContext,
    Hop,
    HostKeyChecking,
    HostKeyPolicy,
)
from ansible_collections.bastion.ssh.plugins.plugin_utils.errors import HostKeyRefused
from ansible_collections.bastion.ssh.plugins.plugin_utils.ssh.host_keys import HostKeyCheck

from .test_host_keys import ANOTHER, KEY, line

STRICT, NEW, OFF = HostKeyChecking.STRICT, HostKeyChecking.ACCEPT_NEW, HostKeyChecking.OFF
HOP = Hop("bastion", 22, Credentials("u"), exec_context=ExecContext("/", (("PATH", "/usr/bin:/bin"),)))


def check(warn: Callable[[str], None] = print, address: str | None = None, hop: Hop = HOP, **policy: object) -> bool:
    known = replace(HostKeyPolicy(STRICT), **policy)  # type: ignore[arg-type]
    return HostKeyCheck(replace(hop, host_keys=known), "the place", warn).verify(KEY, address).secrets_allowed


def refused(**options: object) -> str:
    with pytest.raises(HostKeyRefused) as caught:
        check(**options)  # type: ignore[arg-type]
    return str(caught.value)


def test_lines_of_a_variable_are_known_hosts() -> None:
    assert check(lines=(line("other", ANOTHER), line("bastion", KEY)))
    assert "known is ssh-ed25519" in refused(lines=(line("bastion", ANOTHER),))
    assert "(ansible_ssh_known_hosts:1)" in refused(lines=(line("bastion", ANOTHER),))
    assert "marked as revoked in ansible_ssh_known_hosts:2" in refused(
        lines=(line("bastion", KEY), line("@revoked *", KEY))
    )


def test_the_systems_files_are_read_and_never_written(tmp_path: Path) -> None:
    own, system = tmp_path / "own", tmp_path / "system"
    system.write_text(line("bastion", ANOTHER))
    both: dict[str, Any] = {"known_hosts": (str(own),), "global_known_hosts": (str(system),)}
    assert f"{system}:1" in refused(**both, checking=NEW)
    system.write_text(line("bastion", KEY))
    assert check(**both)
    system.write_text("")
    assert check(**both, checking=NEW)
    assert (own.read_text(), system.read_text()) == (line("bastion", KEY), "")


@pytest.mark.parametrize(("port", "name"), [(22, "bastion"), (2222, "[bastion]:2222")])
def test_new_names_are_hashed_where_that_is_wanted(port: int, name: str, tmp_path: Path) -> None:
    file, hop = tmp_path / "known_hosts", replace(HOP, port=port)
    assert check(hop=hop, known_hosts=(str(file),), checking=NEW, hashed=True)
    assert "bastion" not in file.read_text()
    subprocess.run(["ssh-keygen", "-F", name, "-f", file], check=True, capture_output=True)
    assert check(hop=hop, known_hosts=(str(file),))


COMMAND = """#!/bin/sh
printf '%s|' "$@" >>{log}
echo >>{log}
echo '{line}'
"""


@pytest.fixture
def command(tmp_path: Path) -> tuple[str, Path]:
    """A program that prints the line of the bastion, and where it writes what it was told."""
    program, log = tmp_path / "keys", tmp_path / "log"
    program.write_text(COMMAND.format(log=log, line=line("bastion", KEY).strip()))
    program.chmod(0o755)
    return str(program), log


def test_a_command_says_what_is_known(command: tuple[str, Path]) -> None:
    program, log = command
    assert check(command=(program, "%I", "%H", "%t %f", "100%%"))
    kind_and_print = str(KEY).replace("|", "")
    assert log.read_text().splitlines() == ["ORDER|bastion|NONE NONE|100%|", f"HOSTNAME|bastion|{kind_and_print}|100%|"]


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (("/bin/sh", "-c", "echo no >&2; exit 3"), "KnownHostsCommand ended with status 3: no"),
        (("/nonexistent",), "KnownHostsCommand cannot be started: No such file"),
        (("/bin/sh", "-c", "kill -9 $$"), "KnownHostsCommand ended with status -9"),
        (("/bin/sleep", "60"), "KnownHostsCommand did not end within 0.5 seconds"),
    ],
)
def test_a_command_that_fails_denies(argv: tuple[str, ...], words: str) -> None:
    assert words in refused(command=argv, lines=(line("bastion", KEY),), hop=replace(HOP, timeout=0.5), checking=OFF)


ADDRESS = "192.0.2.1"


def test_an_address_that_another_key_is_known_for_is_refused() -> None:
    lines = (line("bastion", KEY), line(ADDRESS, ANOTHER))
    assert check(lines=lines, address=ADDRESS)
    words = refused(lines=lines, address=ADDRESS, check_address=True)
    assert f"is not the one that is known for its address {ADDRESS} (ansible_ssh_known_hosts:2)" in words
    assert check(lines=lines, check_address=True)  # not reached directly, so nobody knows its address
    assert check(lines=lines, address="192.0.2.2", check_address=True)
    assert check(lines=(line(f"bastion,{ADDRESS}", KEY),), address=ADDRESS, check_address=True)
    alias = (line("name", KEY), line(ADDRESS, ANOTHER))
    assert check(lines=alias, address=ADDRESS, check_address=True, alias="name")


def test_without_checking_such_an_address_gets_no_secret() -> None:  # trust: T13
    warnings: list[str] = []
    lines = (line("bastion", KEY), line(ADDRESS, ANOTHER))
    assert not check(warnings.append, lines=lines, address=ADDRESS, check_address=True, checking=OFF)
    assert "is not the one that is known for its address" in warnings[0]
    assert "password and keyboard-interactive logins and agent forwarding are disabled" in warnings[0]
