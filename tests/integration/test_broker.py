# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test what tasks, hosts and runs share through the broker, and what they must not share."""

from __future__ import annotations

import re
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from lab import TRUE, Chain3, Lab, Prompt, Sshd, play, playbook, processes, raw, wait_until
from lab.brokers import brokers, log, the_broker
from lab.chains import CONNECT, chain_of_three, hop_name, place, same_addresses
from sessions import opened

# Who shares


def test_runs_at_once_and_one_after_the_other_share_one_login(lab: Lab, chain3: Chain3) -> None:
    here, there = lab.path / "here", lab.path / "there"
    meet = "touch {}; i=0; while ! [ -e {} ] && [ $i -lt 300 ]; do sleep 0.1; i=$((i+1)); done; [ $i -lt 300 ]"
    lab.path.chmod(0o1777)
    with ThreadPoolExecutor(2) as pool:
        ways = [(here, there), (there, here)]
        runs = [pool.submit(playbook, lab, chain3.inventory(), play(raw(meet.format(*way)))) for way in ways]
        for run in runs:
            run.result().check()
    broker = the_broker(lab)
    playbook(lab, chain3.inventory("other"), play(TRUE)).check()
    assert brokers(lab) == [broker]
    chain3.settle()
    assert chain3.login_counts() == [1, 1, 1]


def test_20_hosts_and_20_forks_log_in_once_at_each_bastion(lab: Lab) -> None:
    chain = chain_of_three(lab, targets=20, MaxStartups=100)
    playbook(lab, chain.inventory(), play(TRUE, TRUE), args=["--forks", "20"]).check()
    chain.settle()
    assert chain.login_counts() == [1, 1, 20]


def two_targets(lab: Lab, *, own: bool) -> tuple[Sshd, dict[str, dict[str, Any]]]:
    """Start a bastion before two targets, each with its own key; the bastion accepts its own key, or that of the first target."""
    keys = [lab.key(name) for name in ("first", "second", "own")]
    user = lab.user("jump1")
    targets = [lab.sshd(f"t{number}", users=[user], keys=[keys[number]]) for number in range(2)]
    bastion = lab.sshd("bastion", users=[user], keys=keys[2:] if own else keys[:1])
    lab.trust(bastion, *targets)
    hop = {"host": bastion.address, "port": bastion.port, "user": user.name}
    if own:
        hop["private_key_file"] = str(keys[2].path)
    way = {"ansible_ssh_jump": [hop]}
    return bastion, {
        target.name: place(target, user, ansible_ssh_private_key_file=str(key.path), **way)
        for target, key in zip(targets, keys, strict=False)
    }


def test_targets_with_different_keys_share_a_bastion_that_took_its_own(lab: Lab) -> None:
    bastion, inventory = two_targets(lab, own=True)
    playbook(lab, inventory, play(TRUE)).check()
    bastion.settle()
    assert len(bastion.logins()) == 1


def test_a_bastion_that_took_the_key_of_one_target_is_not_there_for_another(lab: Lab) -> None:  # trust: T20
    _bastion, inventory = two_targets(lab, own=False)
    run = playbook(lab, inventory, play(TRUE, serial=1))
    assert run.statuses()["t0"] == ["ok"]
    run = playbook(lab, inventory, play(TRUE, hosts="t1"))
    result = run.result("t1")
    assert result.status == "unreachable"
    assert "jump host 1 of 1" in result.result["msg"]
    assert "login refused" in result.result["msg"]


@pytest.mark.parametrize("where", ["bastion", "target"])
def test_a_wrong_password_is_refused_although_the_right_one_has_a_connection(
    lab: Lab, where: str
) -> None:  # trust: T20
    edge, user = lab.user("jump1"), lab.user("target")
    bastion, target = lab.sshd("bastion", users=[edge], password=True), lab.sshd("t", users=[user], password=True)
    lab.trust(bastion, target)

    def run(passwords: dict[str, str]) -> list[str]:
        hop = {"host": bastion.address, "port": bastion.port, "user": edge.name, "password": passwords["bastion"]}
        inventory = {"t": place(target, user, ansible_password=passwords["target"], ansible_ssh_jump=[hop])}
        return playbook(lab, inventory, play(TRUE)).statuses()["t"]

    right = {"bastion": edge.password, "target": user.password}
    assert run(right) == ["ok"]
    broker = the_broker(lab)
    assert run(right | {where: "wrong"}) == ["unreachable"]
    assert run(right) == ["ok"]
    assert brokers(lab) == [broker]
    bastion.settle()
    target.settle()
    assert [len(bastion.logins()), len(target.logins())] == [1, 1]
    assert len((bastion if where == "bastion" else target).failures("password")) == 1


def test_a_one_time_code_that_is_another_next_time_is_the_same_login(lab: Lab) -> None:
    rounds = [[Prompt("Password: ", "sentinel")], [Prompt("Verification code: ", "123456")]]
    target = lab.recorder("target", rounds=rounds)
    lab.trust(target)

    def run(password: str, code: str) -> str:
        prompts = {"password": password, "code": code}
        return playbook(lab, {"t": place(target, "root", ansible_ssh_prompts=prompts)}, play(TRUE)).result("t").status

    assert [run("sentinel", "123456"), run("sentinel", "654321"), run("wrong", "654321")] == ["ok", "ok", "unreachable"]
    assert target.values("response") == ["sentinel", "123456", "wrong"]


def test_a_proxy_command_runs_in_the_surroundings_of_its_play(lab: Lab) -> None:
    user, key, told = lab.user("jump1"), lab.key("key"), lab.path / "told"
    host = lab.sshd("host", users=[user], keys=[key])
    lab.trust(host)
    command = f"sh -c 'echo $WHICH $PWD >> {told}; exec {CONNECT} %h %p'"
    variables = place(host, user, ansible_ssh_private_key_file=str(key.path), ansible_proxy_command=command)
    inventory = {"one": variables, "another": variables}
    runs = [playbook(lab, inventory, play(TRUE), env={"WHICH": which}).check() for which in ("x", "y")]
    assert told.read_text() == f"x {runs[0].path}\ny {runs[1].path}\n"
    assert len(brokers(lab)) == 1


# The right host


def test_each_of_many_hosts_with_the_same_address_answers_for_itself(lab: Lab) -> None:  # trust: T29
    """The same private address behind two bastions, and two ports of one address, for 20 forks at once."""
    same = same_addresses(lab)
    tasks = [raw("echo $ANSWERS", f"Who {number}", loop=list(range(5))) for number in range(2)]
    run = playbook(lab, same.inventory(5), play(*tasks, strategy="free"), args=["--forks", "20"]).check()
    answers = [
        (result.host.partition("-")[0], item["stdout"].strip())
        for result in run.all_results
        for item in result.result["results"]
    ]
    assert len(answers) == 200
    assert [pair for pair in answers if pair[0] != pair[1]] == []
    assert [len(bastion.values("login")) for bastion in same.bastions] == [1, 1]


@pytest.mark.parametrize("how", ["revoked", "removed"])
@pytest.mark.parametrize("index", [0, 2])
def test_a_host_key_that_is_not_trusted_any_more_ends_the_sharing(
    lab: Lab, chain3: Chain3, how: str, index: int
) -> None:  # trust: T32
    known_hosts, line = chain3.known_hosts, chain3.hosts[index].known_hosts_line()
    lines = known_hosts.read_text().splitlines()
    lines = [*lines, f"@revoked {line}"] if how == "revoked" else [kept for kept in lines if kept != line]
    edit = {
        "name": "Edit",
        "ansible.builtin.copy": {"content": "\n".join(lines) + "\n", "dest": str(known_hosts), "mode": "0600"},
        "delegate_to": "localhost",
        "vars": {"ansible_connection": "local"},
    }
    run = playbook(lab, chain3.inventory(), play(raw("true", "Before"), edit, raw("true", "After")))
    assert run.result("target", "Before").status == "ok"
    assert run.result("target", "Edit").result["changed"]
    result = run.result("target", "After")
    assert result.status == "unreachable"
    assert f"{hop_name(index, 3)}" in result.result["msg"]
    assert "host key" in result.result["msg"]
    chain3.settle()
    assert len(chain3.target.logins()) == 1


# A new one where it is wanted


def test_a_reset_logs_in_anew_at_that_target_only(lab: Lab) -> None:  # trust: T50
    chain = chain_of_three(lab, targets=2)
    tasks = [
        raw("true", "Before"),
        raw("true", "Other before", delegate_to="target2"),
        {"name": "Reset", "ansible.builtin.meta": "reset_connection"},
        raw("true", "After"),
        {"name": "Wait", "ansible.builtin.wait_for_connection": {"timeout": 20}},
        {"name": "Async", "ansible.builtin.command": "sleep 1", "async": 5, "poll": 1},
        raw("id -un", "Delegate", delegate_to="again"),
        raw("true", "Other after", delegate_to="target2"),
    ]
    inventory = chain.inventory()
    inventory["again"] = inventory["target1"]
    run = playbook(lab, inventory, play(*tasks, hosts="target1")).check()
    assert run.result("target1", "Async").result["finished"]
    assert run.result("target1", "Delegate").result["stdout"] == f"{chain.users[2].name}\n"
    chain.settle()
    assert chain.login_counts() == [1, 1, 3 + 1]  # wait_for_connection resets as well
    assert [chain.target.connections(address) for address in chain.target.addresses] == [3, 1]


def test_a_connection_that_is_too_old_gets_nothing_new(lab: Lab, chain3: Chain3) -> None:
    variables = chain3.variables | {"ansible_ssh_persist_max": 2}
    started = time.monotonic()
    with opened(lab, variables) as session:
        busy = session.session.start("cat")  # so that it is in use all the time
        wait_until(lambda: session.run("true").status == 0 and len(chain3.target.logins()) == 2, 20, "a new login")
        assert time.monotonic() - started >= 2
        busy.write(b"still here")
        output = busy.read(10)
        assert getattr(output, "data", None) == b"still here"
        busy.close()
    chain3.settle()
    assert chain3.login_counts() == [2, 2, 2]


# What it says


def test_it_tells_who_logged_in_and_who_reuses_but_no_secret(lab: Lab) -> None:  # trust: T21
    secrets = [f"sentinel-{number}" for number in range(6)]
    rounds = [[Prompt("Code: ", secrets[1])]]
    bastion = lab.recorder("bastion", passwords={"edge": secrets[0]}, rounds=rounds)
    target = lab.recorder("target", passwords={"root": secrets[2]})
    lab.trust(bastion, target)
    locked = lab.key("locked", passphrase=secrets[3])
    hop = {
        "host": bastion.address, "port": bastion.port, "user": "edge", "password": secrets[0],
        "private_key_file": str(locked.path), "passphrase": secrets[3], "prompts": {"code": secrets[1]},
    }  # fmt: skip
    right = place(target, "root", ansible_password=secrets[2], ansible_ssh_jump=[hop])
    wrong = right | {"ansible_password": secrets[4]}
    task = {"name": "Pipe", "ansible.builtin.command": {"cmd": "cat", "stdin": secrets[5]}}
    env = {"ANSIBLE_PIPELINING": "1", "SECRET": secrets[5]}
    run = playbook(
        lab, {"right": right}, play(task, *(raw("true", name) for name in ("Next", "Last"))), args=["-vvv"], env=env
    ).check()
    for label in (f"jump host 1 of 1 edge@{bastion.endpoint}", f"target root@{target.endpoint}"):
        assert len(re.findall(rf"{re.escape(label)}.*: logged in after \d", run.stdout)) == 1
    told = {name: run.stdout.partition(f"TASK [{name}]")[2].partition("TASK [")[0] for name in ("Next", "Last")}
    assert {name: text.count(": reused, connected for ") for name, text in told.items()} == {"Next": 1, "Last": 1}
    assert playbook(lab, {"wrong": wrong}, play(raw("true"))).result("wrong").status == "unreachable"
    assert "login refused" in log(lab)
    broker = the_broker(lab)
    kept = log(lab).encode() + processes.environment(broker) + processes.command_line(broker)
    assert [secret for secret in secrets if secret.encode() in kept] == []
