# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test privilege escalation on the target: exact output, and clear errors for a wrong or missing password."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from ansible.release import __version__ as core
from lab import Lab, Run, Sshd, User, play, playbook, raw
from lab.client import ssh_config

PLUGINS = Path(__file__).parent / "lab/become_plugins"
BEFORE_2_19 = core.startswith(("2.17.", "2.18."))
EXACT = "printf 'out\\n\\n no newline'; printf 'err\\n ' >&2; id -un"


def start(lab: Lab, user: User, *others: User) -> Sshd:
    """Start a target for these users."""
    key = lab.key("key")
    host = lab.sshd("host", users=[user, *others], keys=[key])
    lab.trust(host)
    return host


def variables(lab: Lab, host: Sshd, user: User, **more: Any) -> dict[str, Any]:
    return {
        "ansible_connection": "bastion.ssh.jump",
        "ansible_host": host.address,
        "ansible_port": host.port,
        "ansible_user": user.name,
        "ansible_ssh_private_key_file": str(lab.path / "keys/key"),
        "ansible_become": True,
        **more,
    }


def run_raw(lab: Lab, host: Sshd, user: User, line: str = EXACT, **more: Any) -> Run:
    task = {"name": "Raw", "ansible.builtin.raw": line}
    return playbook(lab, {"host": variables(lab, host, user, **more)}, play(task))


@pytest.fixture
def sudoer(lab: Lab) -> User:
    """Return a user that may become any user with a password, and gets sudo's lecture each time."""
    return lab.user("sudoer", sudo="password", lecture=True)


@pytest.mark.parametrize("rule", ["password", "nopasswd"])
def test_sudo_gives_back_exactly_what_the_command_wrote(lab: Lab, rule: Any) -> None:  # trust: T51
    user = lab.user(f"sudo-{rule}", sudo=rule)
    host = start(lab, user)
    result = run_raw(lab, host, user, ansible_become_password=user.password).check().result("host").result
    assert result["stdout"] == "out\n\n no newlineroot\n"
    assert result["stderr"] == "err\n "


def test_the_lecture_of_sudo_is_not_output(lab: Lab, sudoer: User) -> None:  # trust: T51
    host = start(lab, sudoer)
    result = run_raw(lab, host, sudoer, ansible_become_password=sudoer.password).check().result("host").result
    assert (result["stdout"], result["stderr"]) == ("out\n\n no newlineroot\n", "err\n ")


def test_su_gives_back_exactly_what_the_command_wrote(lab: Lab) -> None:  # trust: T51
    user, other = lab.user("jump1"), lab.user("jump2")
    host = start(lab, user)
    su = {"ansible_become_method": "su", "ansible_become_user": other.name}
    result = run_raw(lab, host, user, ansible_become_password=other.password, **su).check().result("host").result
    assert (result["stdout"], result["stderr"]) == (f"out\n\n no newline{other.name}\n", "err\n ")


@pytest.mark.skipif(not shutil.which("doas"), reason="no doas here")
def test_doas_asks_on_a_terminal_and_gets_one(lab: Lab) -> None:  # trust: T51
    user = lab.user("doas", doas="password")
    host = start(lab, user)
    task = {"name": "Raw", "ansible.builtin.raw": "id -un"}
    more = {"ansible_become_method": "lab_doas", "ansible_become_password": user.password}
    inventory = {"host": variables(lab, host, user, **more)}
    result = playbook(lab, inventory, play(task), env={"ANSIBLE_BECOME_PLUGINS": str(PLUGINS)})
    assert result.check().result("host").result["stdout"] == "root\n"


@pytest.mark.ways("broker", "own process")
@pytest.mark.parametrize("method", ["sudo", "su"])
def test_a_wrong_password_is_failed_and_says_so(lab: Lab, sudoer: User, method: str) -> None:  # trust: T51
    host = start(lab, sudoer)
    run = run_raw(lab, host, sudoer, ansible_become_password="wrong", ansible_become_method=method)
    assert run.result("host").status == "failed"
    assert f"Incorrect {method} password" in run.result("host").result["msg"]


def test_a_missing_password_is_failed_and_says_so(lab: Lab, sudoer: User) -> None:  # trust: T51
    host = start(lab, sudoer)
    run = run_raw(lab, host, sudoer)
    assert run.result("host").status == "failed"
    assert "Missing sudo password" in run.result("host").result["msg"]


def beside_core(lab: Lab, host: Sshd, user: User, **more: Any) -> dict[str, Any]:
    """Return the inventory of a host that is reached by this collection and, under another name, by ansible-core's own plugin."""
    ours = variables(lab, host, user, **more)
    arguments = f"-F {ssh_config(lab, {})} -o ControlPath=none"
    return {
        "ours": ours,
        "core": ours | {"ansible_connection": "ansible.builtin.ssh", "ansible_ssh_common_args": arguments},
    }


def slow_to_begin(user: User) -> None:
    """Make the login shell of a user take longer than any timeout."""
    (user.home / ".profile").write_text("sleep 60\n")


# ansible-core's connection_ssh/test_unreachable_become_timeout.yml
def test_a_program_that_is_too_slow_comes_to_the_same_as_with_ansible_core(lab: Lab) -> None:
    user, other = lab.user("sudo-nopasswd", sudo="nopasswd"), lab.user("jump2")
    slow_to_begin(other)
    host = start(lab, user)
    slow = {"ansible_become_user": other.name, "ansible_become_flags": "-i", "ansible_ssh_timeout": 1}
    waits = raw("true", name="Slow", loop=[1, 2], ignore_errors=True, ignore_unreachable=True)
    run = playbook(lab, beside_core(lab, host, user, **slow), play(waits))
    for name in ("ours", "core"):
        result = run.result(name)
        assert result.status == ("failed" if BEFORE_2_19 else "unreachable"), run
        # Before ansible-core 2.19, an error ends the loop.
        words = [each["msg"] for each in result.result.get("results", [result.result])]
        assert len(words) == (1 if BEFORE_2_19 else 2)
        for each in words:
            assert "Timeout (3s) waiting for privilege escalation prompt:" in each, run
            assert name == "core" or "sudo showed neither its password prompt" in each


# ansible-core's become_su: a shim that goes through another user, so that su asks for a password.
def test_su_comes_to_the_same_as_with_ansible_core(lab: Lab) -> None:
    user, between, other = lab.user("sudo-nopasswd", sudo="nopasswd"), lab.user("jump1"), lab.user("jump2")
    host = start(lab, user)
    shim = lab.path / "shim"
    shim.write_text(f'#!/bin/sh\nexec sudo -n -u {between.name} su "$@"\n')
    shim.chmod(0o755)
    su = {
        "ansible_become_method": "su", "ansible_become_exe": str(shim), "ansible_become_user": other.name,
        "ansible_become_password": other.password,
    }  # fmt: skip
    unnoticed = {"ignore_errors": True, "ignore_unreachable": True}
    run = playbook(
        lab,
        beside_core(lab, host, user, **su),
        play(
            raw("whoami", name="Right"),
            raw("exit 99", name="Wrong", vars={"ansible_become_password": "bogus"}, **unnoticed),
            raw(
                "true",
                name="Unasked",
                vars={"ansible_su_prompt_l10n": "NOT_A_VALID_PROMPT", "ansible_ssh_timeout": 1},
                **unnoticed,
            ),
        ),
    )
    assert (
        run.statuses()["ours"] == run.statuses()["core"] == ["ok", "failed", "failed" if BEFORE_2_19 else "unreachable"]
    )
    for name in ("ours", "core"):
        assert run.result(name, "Right").result["stdout_lines"][-1] == other.name
        assert "Incorrect su password" in run.result(name, "Wrong").result["msg"]
        assert "waiting for privilege escalation prompt" in run.result(name, "Unasked").result["msg"]


@pytest.mark.ways("broker", "own process")
@pytest.mark.parametrize("pipelining", [True, False])
def test_modules_run_as_the_other_user(lab: Lab, sudoer: User, pipelining: bool) -> None:  # trust: T51
    host = start(lab, sudoer)
    file = f"/root/bssh-{lab.path.name}"  # where others cannot write; parallel test runs use another
    tasks: list[dict[str, Any]] = [
        {"name": "Who", "ansible.builtin.command": "id -un"},
        {"name": "Mebibyte", "ansible.builtin.copy": {"content": "x" * 1048576, "dest": file}},
        {"name": "Gone", "ansible.builtin.file": {"path": file, "state": "absent"}},
        {
            "name": "Stdin",
            "ansible.builtin.command": {"cmd": "wc -c", "stdin": "y" * 1048576, "stdin_add_newline": False},
        },
    ]
    inventory = {
        "host": variables(lab, host, sudoer, ansible_become_password=sudoer.password, ansible_pipelining=pipelining)
    }
    run = playbook(lab, inventory, play(*tasks)).check()
    assert run.result("host", "Who").result["stdout"] == "root"
    assert run.result("host", "Stdin").result["stdout"] == "1048576"


def test_with_requiretty_a_terminal_can_be_asked_for(lab: Lab) -> None:
    user = lab.user("sudo-password", sudo="password")
    host = start(lab, user)
    run = run_raw(lab, host, user, "tty >&2; id -un", ansible_become_password=user.password, ansible_ssh_use_tty=True)
    assert run.check().result("host").result["stdout"].splitlines()[-1] == "root"
    assert "/dev/pts/" in run.result("host").result["stdout"]
