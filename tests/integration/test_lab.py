# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the lab's runs of Ansible, users and watchers, and that it leaves nothing behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from lab import Chain3, Lab, LabError, Watch, grep_tree, machine, play, playbook, processes
from lab.client import ssh
from lab.playbook import run_command


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("SSHD", Path("/nonexistent/sshd"), "OpenSSH server: /nonexistent/sshd is missing"),
        ("geteuid", lambda: 1000, "need root"),
    ],
)
def test_a_machine_that_cannot_carry_the_lab_is_told_once_and_clearly(
    monkeypatch: pytest.MonkeyPatch, name: str, value: object, message: str
) -> None:
    monkeypatch.setattr(os if name == "geteuid" else machine, name, value)
    with pytest.raises(LabError, match=message):
        machine.require()


def test_a_playbook_tells_the_result_of_every_task(lab: Lab) -> None:
    key, user = lab.key("key"), lab.user("jump1")
    host = lab.sshd("host", users=[user], keys=[key])
    variables = {
        "ansible_connection": "ansible.builtin.ssh",
        "ansible_host": host.address,
        "ansible_port": host.port,
        "ansible_user": user.name,
        "ansible_ssh_private_key_file": str(key.path),
        "ansible_ssh_common_args": f"-F none -o UserKnownHostsFile={lab.trust(host)}",
    }
    lost = variables | {"ansible_port": lab.port()}
    tasks: list[dict[str, object]] = [
        {"name": "Good", "ansible.builtin.command": "id -un"},
        {"name": "Bad", "ansible.builtin.command": "false", "ignore_errors": True},
        {"name": "Never", "ansible.builtin.command": "true", "when": False},
    ]
    run = playbook(lab, {"host": variables, "lost": lost}, play(*tasks))
    assert run.rc == 4
    assert run.statuses() == {"host": ["ok", "failed", "skipped"], "lost": ["unreachable"]}
    assert run.result("host", "Good").result["stdout"] == user.name
    assert run.recap["lost"]["unreachable"] == 1


def test_nothing_is_left_behind() -> None:
    with Lab() as lab:
        key, user = lab.key("key"), lab.user("jump1")
        host = lab.sshd("host", users=[user], keys=[key], password=True)
        lab.agent(key)
        pids = lab.running()
        assert host.pid in pids
        root = lab.machine.root
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
    assert not root.exists()
    assert user.name not in Path("/etc/passwd").read_text()


def test_a_killed_session_is_cleaned_up_by_the_next_one() -> None:
    code = """
import os, signal, sys
sys.path.insert(0, sys.argv[1])
from lab import Lab
lab = Lab()
user = lab.user("op", sudo="password", doas="password")
host = lab.sshd("host", users=[user], password=True)
print(lab.machine.root, user.name, host.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    here = str(Path(__file__).parent)
    output = subprocess.run([sys.executable, "-c", code, here], capture_output=True, text=True, check=False).stdout
    root, user, pid = output.split()
    assert processes.is_alive(int(pid))
    with Lab():
        assert not processes.is_alive(int(pid))
        assert not Path(root).exists()
        assert user not in Path("/etc/passwd").read_text()
        assert not Path("/etc/sudoers.d", user).exists()
        assert not Path("/etc/doas.conf").exists() or user not in Path("/etc/doas.conf").read_text()


@pytest.mark.parametrize(
    ("role", "tool", "rule", "secret"),
    [
        ("sudopw", "sudo", "password", True),
        ("sudofree", "sudo", "nopasswd", False),
        ("doaspw", "doas", "password", True),
        ("doasfree", "doas", "nopasswd", False),
    ],
)
def test_users_become_root(lab: Lab, role: str, tool: str, rule: str, secret: bool) -> None:
    key = lab.key("key")
    user = lab.user(role, **{tool: rule})  # type: ignore[arg-type]
    host = lab.sshd("host", users=[user], keys=[key])
    lab.trust(host)
    assert (ssh(lab, host, user, f"{tool} -n id -u", key=key).stdout == "0\n") is not secret
    if tool == "sudo" and secret:
        result = ssh(lab, host, user, f"echo {user.password} | sudo -S id -u", key=key)
        assert result.stdout == "0\n", result.stderr


def test_sudo_lectures(lab: Lab) -> None:
    key, user = lab.key("key"), lab.user("lectured", sudo="password", lecture=True)
    host = lab.sshd("host", users=[user], keys=[key])
    lab.trust(host)
    for _twice in range(2):
        result = ssh(lab, host, user, f"echo {user.password} | sudo -S id -u", key=key)
        assert result.stdout == "0\n"
        assert "lecture" in result.stderr


def test_a_disk_gets_full(lab: Lab) -> None:
    disk = lab.disk("64k")
    with pytest.raises(OSError, match="No space left"):
        (disk / "file").write_bytes(bytes(100_000))


def test_a_watch_sees_arguments_and_environments(lab: Lab) -> None:
    with Watch(lab) as watch:
        code = "import time; time.sleep(0.2)"
        env = lab.environment() | {"TOKEN": "in-environment"}
        subprocess.run([sys.executable, "-c", code, "in-argument"], env=env, check=True)
    assert watch.found(["in-argument", "in-environment", "nowhere"]) == [
        f"secret 0 in the arguments of {sys.executable}",
        "secret 1 in an environment",
    ]


def test_a_watch_follows_a_playbook_to_the_target(chain3: Chain3, lab: Lab) -> None:
    host = {"ansible_connection": "local", "secret": "in-inventory"}
    with Watch(lab) as watch:
        playbook(lab, {"host": host}, play({"ansible.builtin.shell": "sleep 0.2; : in-{{ 'task' }}"})).check()
    found = watch.found(["in-inventory", "in-task"])
    assert found
    assert all(place.startswith("secret 1") for place in found)


def test_files_are_searched_for_secrets(lab: Lab) -> None:
    run = playbook(lab, {"host": {"ansible_connection": "local", "secret": "se-cret"}}, play({"meta": "noop"})).check()
    assert grep_tree(lab.path, ["se-cret"]) == [run.path / "inventory.yml"]
    assert grep_tree(lab.path, ["se-cret"], skip=[run.path / "inventory.yml"]) == []


def test_a_playbook_that_does_not_end_is_killed(lab: Lab) -> None:
    forever = play({"ansible.builtin.command": "sleep 1000"})
    with pytest.raises(AssertionError, match="did not end within 3 s"):
        playbook(lab, {"host": {"ansible_connection": "local"}}, forever, timeout=3)
    assert lab.running() == []
    assert processes.zombies() == []


def test_a_command_that_leaves_a_holder_of_its_output_is_found(lab: Lab) -> None:
    command = ["sh", "-c", "setsid sleep 1000 &"]
    with pytest.raises(AssertionError, match=r"left a process that holds its output within 1 s"):
        run_command(command, lab.path, lab.environment(), 1)
    assert lab.running() == []
