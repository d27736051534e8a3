# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab itself, proved with the OpenSSH client."""

from __future__ import annotations

import subprocess
from pathlib import Path

from lab import Key, Lab, Login, Sshd, User, play, playbook


def ssh(
    lab: Lab, host: Sshd, user: User | str, command: str, *, key: Key | None = None, options: tuple[str, ...] = ()
) -> subprocess.CompletedProcess[str]:
    """Run a command on a server with the OpenSSH client, which trusts what lab.trust() wrote."""
    words = ["ssh", "-F", "none", "-o", f"UserKnownHostsFile={lab.home}/.ssh/known_hosts", "-o", "BatchMode=yes"]
    words += ["-o", f"IdentityFile={key.path}"] if key else []
    words += [word for option in options for word in ("-o", option)]
    name = user if isinstance(user, str) else user.name
    return subprocess.run(
        [*words, "-p", str(host.port), f"{name}@{host.address}", command],
        env=lab.environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_a_user_logs_in_with_a_key(lab: Lab) -> None:
    key, user = lab.key("key"), lab.user("jump1")
    host = lab.sshd("host", users=[user], keys=[key])
    lab.trust(host)
    result = ssh(lab, host, user, "echo $USER; echo $HOME >&2; exit 3", key=key)
    assert (result.returncode, result.stdout, result.stderr) == (3, f"{user.name}\n", f"{user.home}\n")
    host.settle()
    assert host.logins() == [Login(user.name, "publickey")]
    assert host.connections() == 1


def test_root_logs_in_and_sees_only_the_output_of_its_command(lab: Lab) -> None:
    key = lab.key("key")
    host = lab.sshd("host", keys=[key])
    lab.trust(host)
    result = ssh(lab, host, "root", "id -u", key=key)
    assert (result.returncode, result.stdout, result.stderr) == (0, "0\n", "")


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
