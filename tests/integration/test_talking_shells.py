# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test shells whose startup files print, which breaks SFTP and dd: files are complete all the same, and the reason is reported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from lab import Lab, Sshd, User, play, playbook
from lab.chains import place
from sessions import opened

from ansible_collections.bastion.ssh.plugins.plugin_utils.chain.model import TransferMethod
from ansible_collections.bastion.ssh.plugins.plugin_utils.errors import CommandError

QUIET = "Let no startup file of its shell, such as .bashrc, print where there is no terminal."
CONTENT = bytes(range(256)) * 1024

#: What a startup file does, and the words of it that are shown; None where SFTP works.
STARTUP = {
    "a line": ("echo Welcome to this machine", "Welcome to this machine"),
    "one byte": ("printf x", "x"),
    "a blank line": ("echo", "a blank line"),
    "no UTF-8": (r"printf 'f\374r {{ all }}\n'", "f\ufffdr { { all } }"),
    "very much": ("head -c 3000000 /dev/zero | tr '\\0' x", f"{'x' * 100}"),
    "as it ends": ("trap 'echo Good bye' EXIT", None),
    "to standard error": ("head -c 3000000 /dev/zero >&2", None),
    "to both, at both ends": ("echo Hello; echo Hello >&2; trap 'echo Good bye; echo Good bye >&2' EXIT", "Hello"),
}


class Target:
    """Run a server whose user has a shell that prints."""

    def __init__(self, lab: Lab) -> None:
        self.key = lab.key("key")
        self.user: User = lab.user("target")
        # Not sshd's own, which no shell starts.
        self.server: Sshd = lab.sshd("target", users=[self.user], keys=[self.key], sftp="external")
        lab.trust(self.server)

    @property
    def variables(self) -> dict[str, Any]:
        return place(self.server, self.user, ansible_ssh_private_key_file=str(self.key.path))

    def starts_with(self, line: str) -> None:
        """Make bash run a line before each command of ssh."""
        (self.user.home / ".bashrc").write_text(f"{line}\n")


@pytest.fixture
def target(lab: Lab) -> Target:
    return Target(lab)


@pytest.fixture
def file(lab: Lab) -> Path:
    path = lab.path / "file"
    path.write_bytes(CONTENT)
    return path


# trust: T45
@pytest.mark.ways("own process")
@pytest.mark.parametrize("what", STARTUP)
@pytest.mark.parametrize("method", [TransferMethod.SMART, TransferMethod.PIPED])
def test_a_file_is_whole_whatever_the_shell_prints(
    lab: Lab, target: Target, file: Path, method: TransferMethod, what: str
) -> None:
    line, words = STARTUP[what]
    target.starts_with(line)
    there, back = target.user.home / "there", lab.path / "back"
    said: list[str] = []
    with opened(lab, target.variables, method, said, first=None) as session:
        session.session.put(str(file), str(there))
        session.session.fetch(str(there), str(back))
    assert there.read_bytes() == back.read_bytes() == CONTENT
    warnings = [each for each in said if "prints" in each]
    if words is None or method is TransferMethod.PIPED:
        assert warnings == []
    else:
        assert len(warnings) == 2  # the second transfer is over a connection of which that is known
        assert warnings[0].startswith("target ")
        assert f": the shell prints before SFTP begins: {words}" in warnings[0]
        assert warnings[0].endswith(f", so files go through dd. {QUIET}")


@pytest.mark.ways("own process")
def test_with_sftp_alone_it_is_an_error(lab: Lab, target: Target, file: Path) -> None:
    target.starts_with("echo Welcome")
    with opened(lab, target.variables, TransferMethod.SFTP, first=None) as session:
        with pytest.raises(CommandError) as caught:
            session.session.put(str(file), "there")
        assert caught.value.problem == "the shell prints before SFTP begins: Welcome"
        assert caught.value.advice == QUIET
        target.starts_with("")
        session.session.put(str(file), "there")


@pytest.mark.ways("own process")
def test_a_shell_that_ends_as_if_all_was_well_is_an_error(lab: Lab, target: Target, file: Path) -> None:
    target.starts_with("echo This account is not available; exit 0")
    with (
        opened(lab, target.variables, TransferMethod.PIPED, first=None) as session,
        pytest.raises(CommandError, match="cannot read there: its shell lost the begin or the end of it"),
    ):
        session.session.fetch("there", str(lab.path / "back"))
    assert not (lab.path / "back").exists()


def test_each_run_is_warned_once(lab: Lab, target: Target) -> None:
    target.starts_with("echo Welcome to {{ this }} machine")
    copy = {
        "name": "Copy",
        "ansible.builtin.copy": {"content": "{{ item }}", "dest": "~/file-{{ item }}"},
        "loop": [1, 2],
    }
    for _run in range(2):  # over one connection
        run = playbook(lab, {"target": target.variables}, play(copy)).check()
        assert (
            " ".join(run.text.split()).count("the shell prints before SFTP begins: Welcome to { { this } } machine")
            == 1
        )
    assert len(target.server.logins()) == 1
