# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test that host keys are verified at every hop before any credential is sent to it."""

from __future__ import annotations

import os
from typing import Any

import pytest
from lab import TRUE, Chain3, Lab, Run, Sshd, User, known_hosts_name, play, playbook, raw
from lab.chains import hop_name, place
from lab.client import ssh, ssh_config
from lab.recording import Prompt


def connect(lab: Lab, chain3: Chain3, **variables: Any) -> Run:
    return playbook(lab, chain3.inventory(**variables), play(TRUE))


@pytest.mark.parametrize("index", [0, 1, 2])
def test_a_swapped_key_is_refused_at_each_hop(lab: Lab, chain3: Chain3, index: int) -> None:  # trust: T09
    host = chain3.hosts[index]
    old = host.swap_keys()["ed25519"]
    result = connect(lab, chain3).result("target")
    chain3.settle()
    assert result.status == "unreachable"
    message = result.result["msg"]
    assert f"{hop_name(index, 3)} {chain3.users[index].name}@{host.endpoint}" in message
    assert old.fingerprint in message
    assert host.fingerprint() in message
    assert host.userauth_requests() == []
    for later in chain3.hosts[index + 1 :]:
        assert later.connections() == 0


def test_an_unknown_key_is_refused_and_the_message_says_how_to_accept_it(lab: Lab, chain3: Chain3) -> None:
    lab.trust(chain3.a, chain3.target)
    result = connect(lab, chain3).result("target")
    assert result.status == "unreachable"
    assert f"the host key ssh-ed25519 {chain3.b.fingerprint()} is not known" in result.result["msg"]
    assert chain3.b.known_hosts_line() in result.result["msg"]
    assert chain3.b.userauth_requests() == []


def test_hashed_names_are_found(lab: Lab, chain3: Chain3) -> None:
    lab.trust(*chain3.hosts, hashed=True)
    connect(lab, chain3).check()


@pytest.mark.ways("broker", "own process")
def test_accept_new_records_each_hop_once_and_then_refuses_another_key(lab: Lab, chain3: Chain3) -> None:
    known = lab.trust()
    known.write_text("# mine, without a final newline")
    connect(lab, chain3, ansible_ssh_host_key_checking="accept-new").check()
    lines = [f"[{host.address}]:{host.port} {host.key().public}" for host in chain3.hosts]
    assert known.read_text().splitlines() == ["# mine, without a final newline", *lines]
    connect(lab, chain3).check()
    chain3.b.swap_keys()
    lab.end_brokers()
    assert connect(lab, chain3, ansible_ssh_host_key_checking="accept-new").result("target").status == "unreachable"
    assert known.read_text().splitlines() == ["# mine, without a final newline", *lines]


@pytest.mark.parametrize("index", [0, 1, 2])
def test_another_key_type_than_the_known_one_is_no_new_host(lab: Lab, chain3: Chain3, index: int) -> None:  # trust: T12
    chain3.hosts[index].swap_keys("rsa")
    result = connect(lab, chain3, ansible_ssh_host_key_checking="accept-new").result("target")
    assert result.status == "unreachable"
    assert "the host key has changed" in result.result["msg"]


def test_a_host_that_is_known_by_its_rsa_key_is_asked_for_that_one(lab: Lab) -> None:
    user, key = lab.user("jump1"), lab.key("key")
    host = lab.sshd("host", users=[user], keys=[key], key_types=["ed25519", "ecdsa", "rsa"])
    lab.trust(host.known_hosts_line(type="rsa"))
    playbook(lab, {"host": direct(host, user, ansible_ssh_private_key_file=str(key.path))}, play(TRUE)).check()


def direct(host: Sshd, user: User, **more: Any) -> dict[str, Any]:
    return {
        "ansible_connection": "bastion.ssh.jump",
        "ansible_host": host.address,
        "ansible_port": host.port,
        "ansible_user": user.name,
        **more,
    }


@pytest.mark.ways("broker", "own process")
@pytest.mark.parametrize("kind", ["password", "keyboard-interactive"])
def test_with_checking_off_a_changed_key_gets_no_secret(lab: Lab, kind: str) -> None:  # trust: T13
    user, key = lab.user("jump1"), lab.key("key")
    host = lab.sshd("host", users=[user], keys=[key], password=kind == "password", pam=kind != "password")
    lab.trust(host)
    host.swap_keys()
    off = {"ansible_ssh_host_key_checking": False}
    run = playbook(lab, {"host": direct(host, user, ansible_password=user.password, **off)}, play(TRUE))
    host.settle()
    assert run.result("host").status == "unreachable"
    assert "the password, since the host key has changed" in run.result("host").result["msg"]
    assert {login.method for login in host.userauth_requests()} == {"none"}
    assert host.agent_requests() == 0
    run = playbook(lab, {"host": direct(host, user, ansible_ssh_private_key_file=str(key.path), **off)}, play(TRUE))
    assert "host key has changed" in " ".join(run.check().text.split())


OFF = "host key checking is off, so it is used all the same"
SECRETS = {"password", "response", "agent"}


def warned(run: Run) -> list[int]:
    """Return how often a run warned that checking is off, and that the target still receives what tasks send."""
    text = " ".join(run.check().text.split())
    return [text.count(words) for words in (OFF, "a become password included")]


# trust: T13 T18
@pytest.mark.ways("broker", "own process")
def test_with_checking_off_a_changed_key_gets_what_it_gets_from_openssh(lab: Lab) -> None:
    """No agent, and a warning once in each run, over a reused connection, too; a become password all the same."""
    user, key, agent = lab.user("sudo-password", sudo="password"), lab.key("key"), lab.agent(lab.key("held"))
    host = lab.sshd("host", users=[user], keys=[key])
    known = lab.trust(host)
    host.swap_keys()
    common: dict[str, Any] = {"ansible_ssh_private_key_file": str(key.path), "ansible_become_password": user.password}
    common |= {"ansible_host_key_checking": False, "ansible_ssh_common_args": "-A"}
    common |= {"ansible_ssh_args": "-o ControlMaster=no -o ControlPath=none"}
    ours = place(host, user, **common)
    common["ansible_ssh_common_args"] += f" -F none -o UserKnownHostsFile={known} -o GlobalKnownHostsFile=none"
    openssh = ours | common | {"ansible_connection": "ansible.builtin.ssh"}
    tasks = [raw("echo agent=$SSH_AUTH_SOCK", "Agent"), raw("id -un", "Become", become=True), raw("true", "One more")]
    for _run in range(2):
        run = playbook(lab, {"ours": ours, "openssh": openssh}, play(*tasks), agent=agent)
        assert warned(run) == [1, 1]
        for name in ("ours", "openssh"):
            assert run.result(name, "Agent").result["stdout_lines"] == ["agent="]
            assert run.result(name, "Become").result["stdout_lines"][-1] == "root"
    host.settle()
    assert host.agent_requests() == 0
    # Once known by its new key, it gets the agent, over a new login.
    logins = len(host.logins())
    lab.trust(host)
    run = playbook(lab, {"ours": ours, "openssh": openssh}, play(tasks[0]), agent=agent)
    assert warned(run) == [0, 0]
    assert [run.result(name).result["stdout_lines"] != ["agent="] for name in ("ours", "openssh")] == [True, True]
    assert len(host.logins()) > logins


# trust: T13 T18
@pytest.mark.ways("broker", "own process")
@pytest.mark.parametrize("known", ["right", "unknown", "changed"])
def test_with_checking_off_a_host_hears_no_more_than_from_openssh(lab: Lab, known: str) -> None:
    key, agent = lab.key("key"), lab.agent(lab.key("held"))
    questions = [[Prompt("Password: ", "sentinel")]]
    server = lab.recorder("server", keys=[key], passwords={"me": "sentinel"}, rounds=questions)
    changed = f"{known_hosts_name(server.address, server.port)} {key.public}"
    lines = {"right": server.known_hosts_lines(), "unknown": [], "changed": [changed]}
    lab.trust(*lines[known])
    off = ("StrictHostKeyChecking=no", f"UserKnownHostsFile={lab.home}/.ssh/known_hosts.ssh")
    lab.known_hosts(lines[known], "home/.ssh/known_hosts.ssh")  # of its own, as ssh records what is new
    ssh(lab, server, "me", "true", key=key, agent=agent, options=off, words=("-A",))
    ssh(lab, server, "me", "true", password="sentinel", agent=agent, options=off, words=("-A",))
    theirs = {seen.kind for seen in server.seen} & SECRETS
    server.seen.clear()
    common = {"ansible_host_key_checking": False, "ansible_ssh_common_args": "-A"}
    by = {
        "key": place(server, "me", **common, ansible_ssh_private_key_file=str(key.path)),
        "password": place(server, "me", **common, ansible_password="sentinel")
        | {"ansible_ssh_common_args": "-A -o KbdInteractiveAuthentication=no"},
        "answer": place(server, "me", **common, ansible_password="sentinel")
        | {"ansible_ssh_common_args": "-A -o PasswordAuthentication=no"},
    }
    run = playbook(lab, by, play(TRUE), agent=agent)
    ours = {seen.kind for seen in server.seen} & SECRETS
    assert run.statuses()["key"] == ["ok"]
    if known == "changed":
        assert (ours, theirs) == (set(), set())
        assert run.statuses()["password"] == run.statuses()["answer"] == ["unreachable"]
    else:
        assert ours == SECRETS
        assert theirs == {"response", "agent"}


# trust: T13
@pytest.mark.ways("broker", "own process")
def test_with_checking_off_a_jump_host_with_a_changed_key_is_refused_as_by_ssh(lab: Lab) -> None:
    """Even if it is also a target, for which the key is accepted."""
    user, key = lab.user("jump1"), lab.key("key")
    bastion, target = (lab.sshd(name, users=[user], keys=[key]) for name in ("bastion", "target"))
    known = lab.trust(bastion, target)
    old, new = bastion.key(), bastion.swap_keys()["ed25519"]
    hosts: dict[str, dict[str, object]] = {"*": {"IdentityFile": key.path, "StrictHostKeyChecking": "no"}}
    through = f"{user.name}@{bastion.endpoint}"
    theirs = ssh(lab, target, user, "echo here", jump=through, config=ssh_config(lab, hosts))
    assert theirs.returncode != 0
    assert "forwarding disabled due to host key check failure" in theirs.stderr
    common = {"ansible_ssh_private_key_file": str(key.path), "ansible_host_key_checking": False}
    by = {
        "bastion": place(bastion, user, **common),
        "target": place(target, user, **common, ansible_ssh_jump=through),
    }
    for _run in range(2):
        run = playbook(lab, by, play(TRUE))
        assert run.statuses() == {"bastion": ["ok"], "target": ["unreachable"]}
        message = run.result("target").result["msg"]
        assert f"jump host 1 of 1 {through}" in message
        assert new.fingerprint in message
        assert old.fingerprint in message
        assert f"ssh-keygen -f {known} -R" in message
        assert " ".join(run.text.split()).count(OFF) == 1
    target.settle()
    assert target.connections() == 0
    # Known by its new key, it carries both.
    lab.trust(bastion, target)
    assert "here" in ssh(lab, target, user, "echo here", jump=through, config=ssh_config(lab, hosts)).stdout
    playbook(lab, by, play(TRUE)).check()


# trust: T13 T32
def test_a_key_that_is_in_doubt_since_the_login_ends_its_use(lab: Lab) -> None:
    """Checking is off, and the login used a password before the file had another key for the host."""
    user, other = lab.user("jump1"), lab.key("other")
    host = lab.sshd("host", users=[user], password=True)
    lab.trust(host)
    variables = place(host, user, ansible_password=user.password, ansible_host_key_checking=False)
    line = f"{known_hosts_name(host.address, host.port)} {other.public}\n"
    change = {
        "name": "Change",
        "ansible.builtin.copy": {"content": line, "dest": str(lab.home / ".ssh/known_hosts")},
        "delegate_to": "localhost",
        "vars": {"ansible_connection": "local"},
    }
    run = playbook(lab, {"host": variables}, play(TRUE, change, raw("true", "After")))
    assert [result.status for result in run.results["host"]] == ["ok", "ok", "unreachable"]
    assert "the password, since the host key has changed" in run.result("host", "After").result["msg"]
    host.settle()
    assert [login.method for login in host.logins()] == ["password"]


def test_with_checking_off_an_unknown_host_is_let_in(lab: Lab, chain3: Chain3) -> None:
    known = lab.trust()
    connect(lab, chain3, ansible_ssh_host_key_checking=False).check()
    assert known.read_text() == ""


def test_a_file_that_cannot_be_read_denies(lab: Lab, chain3: Chain3) -> None:  # trust: T14
    known = lab.trust(*chain3.hosts)
    known.unlink()
    known.mkdir()  # root may read anything, but no directory as a file
    result = connect(lab, chain3, ansible_ssh_host_key_checking=False).result("target")
    assert result.status == "unreachable"
    assert "the host key could not be checked" in result.result["msg"]
    assert str(known) in result.result["msg"]
    assert [host.userauth_requests() for host in chain3.hosts] == [[], [], []]


def test_a_broken_line_that_names_the_host_denies_and_others_still_load(lab: Lab, chain3: Chain3) -> None:  # trust: T14
    lines = [host.known_hosts_line() for host in chain3.hosts]
    lab.trust("!!! not a line", "@unknown x y", *lines)
    connect(lab, chain3).check()
    before = chain3.b.userauth_requests()
    lab.trust(lines[0], lines[1][:-10], lines[2])
    result = connect(lab, chain3, ansible_ssh_host_key_checking="accept-new").result("target")
    assert result.status == "unreachable"
    assert "jump host 2 of 2" in result.result["msg"]
    assert chain3.b.userauth_requests() == before


def test_a_fault_in_the_check_itself_denies(lab: Lab, chain3: Chain3) -> None:  # trust: T14
    # Memory cannot be made short for one call only, so the fault is put into the plugin's copy of hashlib.
    site = lab.path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(
        "import hashlib, sys\n"
        "real = hashlib.sha1\n"
        "def broken(*arguments, **keywords):\n"
        "    if sys._getframe(1).f_code.co_filename.endswith('known_hosts.py'): raise MemoryError('injected')\n"
        "    return real(*arguments, **keywords)\n"
        "hashlib.sha1 = broken\n"
    )
    lab.trust(*chain3.hosts, hashed=True)
    path = os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")])
    run = playbook(lab, chain3.inventory(), play(TRUE), env={"PYTHONPATH": path})
    assert run.result("target").status == "unreachable"
    assert "the host key could not be checked" in run.result("target").result["msg"]
    assert chain3.a.userauth_requests() == []


@pytest.mark.parametrize("index", [0, 2])
def test_a_server_that_signs_with_sha1_only_is_refused(lab: Lab, chain3: Chain3, index: int) -> None:  # trust: T16
    host = chain3.hosts[index]
    host.options["HostKeyAlgorithms"] = "ssh-rsa"
    host.swap_keys("rsa")
    lab.trust(*chain3.hosts)
    result = connect(lab, chain3).result("target")
    assert result.status == "unreachable"
    assert f"{hop_name(index, 3)}" in result.result["msg"]
    assert "ssh-rsa" in result.result["msg"]
    assert "SHA-1" in result.result["msg"]
    assert host.userauth_requests() == []


def test_key_exchange_is_strict_at_every_hop(lab: Lab, chain3: Chain3) -> None:  # trust: T16
    connect(lab, chain3).check()
    for host in chain3.hosts:
        host.wait_log("resetting read seqnr")  # which sshd does in a strict key exchange only


def test_each_hop_may_have_a_name_and_a_file_of_its_own(lab: Lab, chain3: Chain3) -> None:  # trust: T05
    lab.trust(chain3.target.known_hosts_line("the-target"))
    files = [
        str(lab.known_hosts([host.known_hosts_line(name)], name))
        for host, name in ((chain3.a, "first"), (chain3.b, "second"))
    ]
    first, second = chain3.jump_list
    jump = [
        first | {"host_key_alias": "first", "known_hosts": files[0]},
        second | {"host_key_alias": "second", "known_hosts": [files[0], files[1]]},
    ]
    connect(lab, chain3, ansible_ssh_jump=jump, ansible_ssh_host_key_alias="the-target").check()
    assert connect(lab, chain3, ansible_ssh_jump=jump).result("target").status == "unreachable"
