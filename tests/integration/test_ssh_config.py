# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test OpenSSH's configuration and arguments in real playbooks over real servers."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from lab import TRUE, Chain3, Lab, Sshd, certify, environment, play, playbook, raw
from lab.chains import place
from lab.client import ssh_config
from lab.playbook import Run
from lab.surroundings import path_without
from sessions import opened

CONFIG = "ansible_ssh_config_file"


def on_target(lab: Lab, variables: Mapping[str, Any], command: str = "true", **options: Any) -> Run:
    """Run a play of one command on one host."""
    return playbook(lab, {"host": variables}, play(raw(command)), **options)


def stdout(run: Run) -> str:
    return str(run.check().result("host").result["stdout"]).strip()


def message(run: Run) -> str:
    assert run.result("host").status in ("failed", "unreachable"), run
    return str(run.result("host").result["msg"])


def way_of(chain3: Chain3) -> dict[str, dict[str, object]]:
    """Return ssh_config entries for three servers with one key, the target under an alias."""
    a, b, target = chain3.hosts
    users = [user.name for user in chain3.users]
    key = {"IdentityFile": chain3.keys[0].path, "IdentitiesOnly": "yes"}
    return {
        "edge": {"HostName": a.address, "Port": a.port, "User": users[0], **key},
        "core": {"HostName": b.address, "Port": b.port, "User": users[1], **key},
        "web": {"HostName": target.address, "Port": target.port, "User": users[2], "ProxyJump": "edge,core", **key},
    }


def config_of(lab: Lab, chain3: Chain3, **more: Mapping[str, object]) -> str:
    """Write an ssh_config with the route, and more keywords for some of its hosts."""
    hosts = way_of(chain3)
    return str(ssh_config(lab, {name: {**more.get(name, {}), **options} for name, options in hosts.items()}))


def host(config: str, **more: Any) -> dict[str, Any]:
    return {"ansible_connection": "bastion.ssh.jump", "ansible_host": "web", CONFIG: config, **more}


# One inventory for both plugins: Include, Match, a pattern, an alias, a certificate, and arguments.
FILE = """
Include {lab}/config.d/*.conf

Match host {a} user {jump1}
  Port {a_port}
Match originalhost core
  HostName {b}
  Port {b_port}
  User {jump2}
Match exec "test -e {lab}/home"
  IdentitiesOnly yes

Host w?b
  Port {t_port}
Host *
  UserKnownHostsFile {lab}/home/.ssh/known_hosts
  GlobalKnownHostsFile none
"""
INCLUDED = """
Host edge
  HostName {a}
  User {jump1}
Host *
  IdentityFile {key}
"""


@dataclass(frozen=True)
class Pushing:
    """Hold a server that accepts a user only after a command of Match exec has pushed a key, like EC2 Instance Connect.

    :param welcome: the file with the keys that may log in now.
    """

    host: Sshd
    welcome: Path
    variables: dict[str, Any]


@pytest.fixture
def pushing(lab: Lab) -> Pushing:
    user, key = lab.user("target"), lab.key("pushed")
    host = lab.sshd("host", users=[user])
    lab.trust(host)
    welcome, push = host.path / "authorized" / user.name, lab.path / "push"
    push.write_text(f"#!/bin/sh\ncp {key.path}.pub {welcome}\n")
    push.chmod(0o755)
    (lab.path / "pushing.conf").write_text(f'Match host {host.address} exec "{push}"\n  IdentityFile {key.path}\n')
    config = lab.path / "config"
    config.write_text(f"Include {lab.path}/pushing.conf\nHost *\n  UserKnownHostsFile {lab.home}/.ssh/known_hosts\n")
    return Pushing(host, welcome, place(host, user, ansible_ssh_config_file=str(config)))


def test_a_command_of_match_exec_makes_each_login_possible(lab: Lab, pushing: Pushing) -> None:
    taken = {"ansible.builtin.copy": {"content": "", "dest": str(pushing.welcome)}, "delegate_to": "localhost"}
    take = {"name": "Take", "connection": "local", **taken}
    reset = {"name": "Reset", "ansible.builtin.meta": "reset_connection"}
    playbook(lab, {"host": pushing.variables}, play(raw("true"), take, raw("true"), reset, raw("true"))).check()
    assert len(pushing.host.logins()) == 2  # a kept connection needs none


@pytest.mark.ways("own process")
def test_a_command_of_match_exec_is_run_again_for_a_login_of_the_same_session(lab: Lab, pushing: Pushing) -> None:
    with opened(lab, pushing.variables) as session:
        pushing.welcome.write_text("")
        session.session.reset()
        assert session.run("true").status == 0
    assert len(pushing.host.logins()) == 2


# trust: T05, T07
def test_an_inventory_for_ssh_works_unchanged(lab: Lab, chain3_same_key: Chain3) -> None:
    chain3 = chain3_same_key
    a, b, target = chain3.hosts
    values = {
        "lab": lab.path, "a": a.address, "a_port": a.port, "b": b.address, "b_port": b.port, "t_port": target.port,
        "jump1": chain3.users[0].name, "jump2": chain3.users[1].name, "key": chain3.keys[0].path,
    }  # fmt: skip
    (lab.path / "config.d").mkdir()
    (lab.path / "config.d/hosts.conf").write_text(INCLUDED.format(**values))
    (lab.path / "config").write_text(FILE.format(**values))
    inventory = {
        "all": {
            "hosts": {"web": {"ansible_host": "web", "ansible_user": chain3.users[2].name}},
            "vars": {
                "ansible_ssh_common_args": f"-F {lab.path}/config -J edge,core -o HostName={target.address}",
                "ansible_ssh_args": "-C -o ControlMaster=no -o ControlPath=none",
            },
        }
    }
    tasks = play(raw("id -un"), {"name": "Module", "ansible.builtin.command": "id -un"})
    for connection in ("ansible.builtin.ssh", "bastion.ssh.jump"):
        run = playbook(
            lab,
            inventory,
            tasks,
            args=["-e", f"ansible_connection={connection}"],
            env={"ANSIBLE_SSH_CONFIG_FILE": None},
        )
        run.check()
        names = [result.result["stdout"].strip() for result in run.results["web"]]
        assert names == [chain3.users[2].name] * 2
        assert [len(server.logins()) > 0 for server in chain3.hosts] == [True] * 3
        lab.end_brokers()


# trust: T01, T05
def test_the_way_and_every_hops_login_come_from_the_file(lab: Lab, chain3_same_key: Chain3) -> None:
    run = on_target(lab, host(config_of(lab, chain3_same_key)), "id -un")
    assert stdout(run) == chain3_same_key.users[2].name
    assert chain3_same_key.login_counts() == [1, 1, 1]


def test_variables_come_before_the_file(lab: Lab, chain3_same_key: Chain3) -> None:
    chain3, key = chain3_same_key, chain3_same_key.keys[0].path
    wrong = {
        "User": "nobody",
        "Port": 1,
        "ProxyJump": "edge",
        "IdentityFile": lab.key("wrong").path,
        "ConnectTimeout": 1,
    }
    config = config_of(lab, chain3, web=wrong, core={"User": "nobody"})
    jump = ["edge", {"host": "core", "user": chain3.users[1].name}]
    variables = host(
        config, ansible_user=chain3.users[2].name, ansible_port=chain3.target.port, ansible_ssh_jump=jump,
        ansible_private_key_file=str(key),
    )  # fmt: skip
    assert stdout(on_target(lab, variables, "id -un")) == chain3.users[2].name


def test_arguments_come_before_the_file_and_after_variables(lab: Lab, chain3_same_key: Chain3) -> None:
    config = config_of(lab, chain3_same_key, web={"User": "nobody"})
    user = chain3_same_key.users[2].name
    arguments = f"-F {config} -l {user}"
    variables = {"ansible_connection": "bastion.ssh.jump", "ansible_host": "web", "ansible_ssh_extra_args": arguments}
    unset = {"ANSIBLE_SSH_CONFIG_FILE": None}
    assert stdout(on_target(lab, variables, "id -un", env=unset)) == user
    run = on_target(lab, variables | {"ansible_user": "nobody"}, env=unset)
    assert "nobody@" in message(run)
    assert "login refused" in message(run)


def test_a_word_for_no_jump_is_a_word_against_the_file(lab: Lab, chain3_same_key: Chain3) -> None:
    config = config_of(lab, chain3_same_key)
    for variable in ("ansible_ssh_jump", "ansible_proxy_command"):
        stdout(on_target(lab, host(config, **{variable: "none"})))
    assert chain3_same_key.login_counts()[:2] == [0, 0]
    assert len(chain3_same_key.target.logins()) >= 1


# trust: T06
def test_a_circle_is_told_at_once_and_nothing_is_connected(lab: Lab, chain3_same_key: Chain3) -> None:
    config = config_of(lab, chain3_same_key, edge={"ProxyJump": "core"}, core={"ProxyJump": "edge"})
    run = on_target(lab, host(config))
    assert run.result("host").status == "failed"
    assert "jump host loop: web -> edge -> core -> edge" in message(run)
    assert "jump host loop: web -> core -> edge -> core" in message(
        on_target(lab, host(config, ansible_ssh_jump="core"))
    )
    assert [server.connections() for server in chain3_same_key.hosts] == [0, 0, 0]


def test_both_kinds_of_way_is_an_error_wherever_they_stand(lab: Lab, chain3_same_key: Chain3) -> None:
    config = config_of(lab, chain3_same_key)
    words = message(on_target(lab, host(config, ansible_proxy_command="false")))
    assert words.startswith(
        "Task failed: ansible_proxy_command: ssh_config (or the arguments of ssh) has a ProxyJump"
    ) or ("ansible_proxy_command: ssh_config (or the arguments of ssh) has a ProxyJump for web" in words)


def test_a_proxy_command_of_the_file_carries_the_first_hop(lab: Lab, chain3_same_key: Chain3) -> None:
    config = config_of(lab, chain3_same_key, edge={"ProxyCommand": f"tee {lab.path}/up | nc %h %p"})
    text = (
        Path(config)
        .read_text()
        .replace("tee", "sh -c 'echo %n %r >" + str(lab.path / "seen") + "; exec nc %h %p' #tee")
    )
    Path(config).write_text(text)
    stdout(on_target(lab, host(config)))
    assert (lab.path / "seen").read_text().split() == ["edge", chain3_same_key.users[0].name]


def test_what_has_no_effect_is_said(lab: Lab, chain3_same_key: Chain3) -> None:
    config = config_of(lab, chain3_same_key, web={"GSSAPIAuthentication": "yes"})
    variables = host(config, ansible_ssh_extra_args="-X -i /nonexistent")
    remark = "ssh_config: gssapiauthentication: not used by this connection"
    quiet = on_target(lab, variables)
    quiet.check()
    assert "-X of ansible_ssh_extra_args has no effect on this connection" in quiet.text
    assert "Identity file /nonexistent not accessible" in quiet.text
    assert remark not in quiet.text
    lab.end_brokers()  # as it is reported for new connections only
    assert remark in on_target(lab, variables, args=["-v"]).text


@pytest.fixture
def counted(lab: Lab) -> tuple[str, Path]:
    """Return a PATH with an ssh that logs each of its runs, and the log file."""
    real, log = shutil.which("ssh"), lab.path / "ssh.log"
    (lab.path / "bin").mkdir()
    program = lab.path / "bin/ssh"
    program.write_text(f'#!/bin/sh\necho "$@" >>{log}\nexec {real} "$@"\n')
    program.chmod(0o755)
    log.touch()
    return f"{lab.path}/bin:{environment(lab)['PATH']}", log


def test_openssh_is_asked_once_for_each_name(lab: Lab, chain3_same_key: Chain3, counted: tuple[str, Path]) -> None:
    path, log = counted
    chain3 = chain3_same_key
    names = [f"web{number}" for number in range(20)]
    others = {f"other{number}": {"HostName": "192.0.2.1", "Port": 22} for number in range(180)}
    web = way_of(chain3)["web"]
    config = str(ssh_config(lab, {**others, **way_of(chain3), "web*": web}))
    inventory = {name: host(config) | {"ansible_host": name} for name in names}
    run = playbook(lab, inventory, play(TRUE, TRUE, TRUE), args=["-f", "20"], env={"PATH": path})
    assert run.check().statuses() == {name: ["ok"] * 3 for name in names}
    asked = [line.rpartition(" ")[2] for line in log.read_text().splitlines()]
    assert sorted(asked) == sorted([*names, "edge", "core", "nothing"])
    playbook(lab, inventory, play(TRUE), args=["-f", "20"], env={"PATH": path}).check()
    assert len(log.read_text().splitlines()) == len(asked)


def test_a_change_of_the_file_counts_at_once(lab: Lab, chain3_same_key: Chain3) -> None:
    config = config_of(lab, chain3_same_key)
    stdout(on_target(lab, host(config)))
    Path(config).write_text("User nobody\n" + Path(config).read_text())
    assert "nobody@" in message(on_target(lab, host(config)))


# What each keyword does, as the servers see it


def test_a_certificate_and_a_listed_key_of_the_agent_log_in(lab: Lab) -> None:
    ca, key, other = lab.key("ca"), lab.key("mine"), lab.key("other")
    user = lab.user("target")
    certificate = certify(ca, key, [user.name], out=lab.path / "certificate.pub")
    target = lab.sshd("t", users=[user], ca=ca, MaxAuthTries=2)
    lab.trust(target)
    agent = lab.agent(other, lab.key("another"), lab.key("third"), key)
    options = {
        "HostName": target.address, "Port": target.port, "User": user.name, "IdentitiesOnly": "yes",
        "IdentityFile": f"{key.path}.pub", "CertificateFile": certificate,
    }  # fmt: skip
    config = str(ssh_config(lab, {"web": options}))
    assert stdout(on_target(lab, host(config), "id -un", agent=agent)) == user.name
    assert agent.signatures() == 1


def test_another_agent_and_no_agent(lab: Lab) -> None:
    key, user = lab.key("mine"), lab.user("target")
    target = lab.sshd("t", users=[user], keys=[key])
    lab.trust(target)
    agent = lab.agent(key)
    options = {"HostName": target.address, "Port": target.port, "User": user.name, "IdentityFile": "none"}
    socket = agent.env["SSH_AUTH_SOCK"]
    config = str(ssh_config(lab, {"web": options | {"IdentityAgent": socket}}))
    assert stdout(on_target(lab, host(config), "id -un")) == user.name
    config = str(ssh_config(lab, {"web": options | {"IdentityAgent": "none"}}, "other"))
    assert "login refused" in message(on_target(lab, host(config), agent=agent))


def single(lab: Lab, more: Mapping[str, object], **options: Any) -> tuple[str, Any]:
    """Start a server, and write an ssh_config for it with further keywords."""
    inventory, (target,) = each_its_own(lab, [more], **options)
    return inventory["t0"][CONFIG], target


def each_its_own(
    lab: Lab, cases: Sequence[Mapping[str, object]], **options: Any
) -> tuple[dict[str, dict[str, Any]], list[Sshd]]:
    """Start a server for each case; return an inventory whose hosts have an ssh_config with further keywords, and the servers."""
    key, user = lab.key("mine"), lab.user("target")
    servers = [lab.sshd(f"t{number}", users=[user], keys=[key], **options) for number in range(len(cases))]
    lab.trust(*servers)
    inventory = {}
    for server, more in zip(servers, cases, strict=True):
        usual = {"HostName": server.address, "Port": server.port, "User": user.name, "IdentityFile": key.path}
        inventory[server.name] = host(str(ssh_config(lab, {"web": {**more, **usual}}, f"{server.name}.conf")))
    return inventory, servers


def test_the_environment_goes_with_a_command(lab: Lab) -> None:
    more = {"SetEnv": "GREETING=hello", "SendEnv": "PLACE_*"}
    config, _target = single(lab, more, AcceptEnv="GREETING PLACE_*")
    command = "echo $GREETING $PLACE_A $PLACE_B $OTHER"
    run = on_target(lab, host(config), command, env={"PLACE_A": "paris", "PLACE_B": "oslo", "OTHER": "no"})
    assert stdout(run) == "hello paris oslo"
    # Of another run, though the connection is the same.
    assert stdout(on_target(lab, host(config), command, env={"PLACE_A": "rome"})) == "hello rome"


# trust: T18
def test_the_agent_is_forwarded_to_the_target_where_that_is_wanted(lab: Lab, chain3_same_key: Chain3) -> None:
    agent = lab.agent(chain3_same_key.keys[0])
    command = "ssh-add -l"
    for forward, expected in (("yes", True), ("no", False)):
        config = config_of(lab, chain3_same_key, web={"ForwardAgent": forward}, edge={"ForwardAgent": "yes"})
        run = on_target(lab, host(config), command, agent=agent)
        assert (run.result("host").status == "ok") is expected, run
    assert [server.agent_requests() for server in chain3_same_key.hosts] == [0, 0, 1]


# trust: T18
def test_the_agent_that_is_forwarded_is_the_one_for_that_host(lab: Lab) -> None:
    mine, theirs = lab.agent(lab.key("mine")), lab.agent(lab.key("theirs"))
    socket = theirs.env["SSH_AUTH_SOCK"]
    wanted = {"yes": mine, "other": theirs, "none": None}
    user, key = lab.user("target"), lab.key("login")
    target = lab.sshd("t", users=[user], keys=[key])
    lab.trust(target)
    usual = {"HostName": target.address, "Port": target.port, "User": user.name, "IdentityFile": key.path}
    for name, more in {
        "yes": {"ForwardAgent": "yes"},
        "other": {"ForwardAgent": "yes", "IdentityAgent": socket},
        "none": {"ForwardAgent": "yes", "IdentityAgent": "none"},
    }.items():
        config = str(ssh_config(lab, {"web": usual | more}, name))
        run = on_target(lab, host(config), "ssh-add -l", agent=mine)
        agent = wanted[name]
        if agent is None:
            assert run.result("host").status == "failed", run
        else:
            assert agent.fingerprints()[0] in stdout(run)


def test_the_agent_stays_while_other_commands_come_and_go(lab: Lab) -> None:
    agent = lab.agent(lab.key("mine"))
    config, _target = single(lab, {"ForwardAgent": "yes"})
    meeting = lab.path / "meeting"
    meeting.mkdir()
    meeting.chmod(0o777)
    commands = {
        "first": f"ssh-add -l; touch {meeting}/there; until test -e {meeting}/go; do sleep 0.1; done; ssh-add -l",
        "second": f"until test -e {meeting}/there; do sleep 0.1; done; ssh-add -l; touch {meeting}/go",
    }
    hosts = {name: host(config, command=command) for name, command in commands.items()}
    run = playbook(lab, hosts, play(raw("{{ command }}")), agent=agent).check()
    first, second = (run.result(name).result["stdout"].count("SHA256:") for name in ("first", "second"))
    assert (first, second) == (2, 1)


def test_a_byte_that_is_no_text_goes_as_it_is(lab: Lab) -> None:
    config, _target = single(lab, {"SendEnv": "LC_*"}, AcceptEnv="LC_*")
    run = on_target(lab, host(config), 'printf %s "$LC_FOO" | od -An -tx1', env={"LC_FOO": "caf\udce9"})
    assert stdout(run) == "63 61 66 e9"


ALGORITHMS: list[tuple[dict[str, object], str]] = [
    ({"Ciphers": "aes256-ctr", "MACs": "hmac-sha2-512"}, "cipher: aes256-ctr MAC: hmac-sha2-512 compression: none"),
    ({"Compression": "yes"}, "compression: zlib@openssh.com"),
    ({"KexAlgorithms": "ecdh-sha2-nistp384"}, "kex: algorithm: ecdh-sha2-nistp384"),
    ({"HostKeyAlgorithms": "rsa-sha2-256"}, "kex: host key algorithm: rsa-sha2-256"),
    ({"PubkeyAcceptedAlgorithms": "ssh-ed25519"}, "Accepted publickey"),
    ({"RekeyLimit": "64K"}, "rekeying in progress|SSH2_MSG_KEXINIT received"),
]


def test_algorithms_are_those_that_are_wanted(lab: Lab) -> None:
    inventory, servers = each_its_own(lab, [keywords for keywords, _log in ALGORITHMS], key_types=("ed25519", "rsa"))
    run = playbook(lab, inventory, play(raw("head -c 300000 /dev/zero | tr '\\0' x"))).check()
    assert run.statuses() == {name: ["ok"] for name in inventory}
    for server, (keywords, log) in zip(servers, ALGORITHMS, strict=True):
        assert any(server.count(words) for words in log.split("|")), keywords
        if "RekeyLimit" in keywords:
            assert server.count("SSH2_MSG_KEXINIT received") > 1


IMPOSSIBLE: list[tuple[dict[str, object], str]] = [
    (
        {"Ciphers": "chacha20-poly1305@openssh.com"},
        "none of Ciphers chacha20-poly1305@openssh.com can be used here",
    ),
    (
        {"HostKeyAlgorithms": "sk-ssh-ed25519@openssh.com"},
        "none of HostKeyAlgorithms sk-ssh-ed25519@openssh.com can be used",
    ),
    ({"PubkeyAcceptedAlgorithms": "rsa-sha2-512"}, "PubkeyAcceptedAlgorithms leaves its kind out"),
    ({"PubkeyAuthentication": "no"}, "login refused. Tried: nothing that this server takes"),
    ({"BindInterface": "lo"}, "bindinterface: connections cannot be bound to an interface"),
    ({"RequiredRSASize": "4096", "HostKeyAlgorithms": "rsa-sha2-512"}, "and RequiredRSASize wants 4096"),
    ({"AddressFamily": "inet6"}, "the name cannot be resolved"),
    ({"StrictHostKeyChecking": "yes", "HostKeyAlias": "another"}, "is not known"),
]


def test_what_cannot_be_had_is_an_error(lab: Lab) -> None:
    inventory, servers = each_its_own(lab, [keywords for keywords, _words in IMPOSSIBLE], key_types=("ed25519", "rsa"))
    run = playbook(lab, inventory, play(TRUE))
    for server, (keywords, words) in zip(servers, IMPOSSIBLE, strict=True):
        result = run.result(server.name)
        assert result.status in ("failed", "unreachable"), keywords
        assert words in result.result["msg"]
        assert server.logins() == []


def test_a_connection_comes_from_the_address_that_is_wanted(lab: Lab) -> None:
    address = lab.address()
    config, _target = single(lab, {"BindAddress": address, "AddressFamily": "inet", "ConnectionAttempts": 2})
    assert stdout(on_target(lab, host(config), "echo $SSH_CONNECTION")).split()[0] == address


def test_the_preferred_way_to_log_in_comes_first(lab: Lab) -> None:
    config, target = single(lab, {"PreferredAuthentications": "password,publickey"}, password=True)
    stdout(on_target(lab, host(config, ansible_password=lab.user("target").password)))
    assert [login.method for login in target.logins()] == ["password"]


def test_host_keys_are_checked_as_the_file_says(lab: Lab) -> None:
    known = lab.path / "known"
    more = {"UserKnownHostsFile": known, "StrictHostKeyChecking": "accept-new", "HashKnownHosts": "yes"}
    config, target = single(lab, more)
    run = on_target(lab, host(config), args=["-v"])
    assert "was added to" in run.check().text
    assert known.read_text().startswith("|1|")
    assert target.address not in known.read_text()
    assert "is not known" in message(
        on_target(lab, host(config, ansible_ssh_known_hosts="/dev/null", ansible_host_key_checking=True))
    )


# trust: T10, T32
def test_an_authority_vouches_for_every_hop_until_it_is_revoked(lab: Lab, chain3_same_key: Chain3) -> None:
    ca = lab.key("host-ca")
    servers = chain3_same_key.hosts
    for server in servers:
        certify(ca, server.keys["ed25519"], [server.address], host=True)
        server.options["HostCertificate"] = str(server.keys["ed25519"].certificate)
        server.restart()
    known = lab.path / "authorities"
    known.write_text(f"@cert-authority * {ca.public}\n")
    config = config_of(lab, chain3_same_key)
    variables = host(config, ansible_ssh_known_hosts=str(known))
    stdout(on_target(lab, variables))
    inline = host(config, ansible_ssh_known_hosts=f"@cert-authority * {ca.public}")
    stdout(on_target(lab, inline))
    known.write_text(f"@cert-authority * {ca.public}\n@revoked * {ca.public}\n")
    assert "marked as revoked in" in message(on_target(lab, variables))


def beside_ssh(cases: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Return hosts with an ssh_config each, under two names: reached by this collection, and by ansible-core's own plugin."""
    ours = {f"{name}-ours": host(config) for name, config in cases.items()}
    arguments = {name: f"-F {config} -o ControlPath=none" for name, config in cases.items()}
    ssh = {"ansible_connection": "ansible.builtin.ssh", "ansible_host": "web"}
    return ours | {f"{name}-ssh": ssh | {"ansible_ssh_common_args": args} for name, args in arguments.items()}


# trust: T08
def test_a_path_of_an_agent_is_expanded_once_as_by_ssh(lab: Lab) -> None:
    key, other, user = lab.key("mine"), lab.key("forwarded"), lab.user("target")
    for name, held in (("login", key), ("forwarded", other)):
        (lab.path / f"{name}-%h.sock").symlink_to(lab.agent(held).socket)
    target = lab.sshd("t", users=[user], keys=[key])
    lab.trust(target)
    usual = {"HostName": target.address, "Port": target.port, "User": user.name, "IdentityFile": "none"}
    sockets = {"IdentityAgent": f"{lab.path}/login-%%h.sock", "ForwardAgent": f"{lab.path}/forwarded-%%h.sock"}
    config = str(ssh_config(lab, {"web": usual | sockets}))
    run = playbook(lab, beside_ssh({"web": config}), play(raw("ssh-add -l"))).check()
    for each in ("web-ours", "web-ssh"):
        assert other.fingerprint in run.result(each).result["stdout"]
    without = on_target(lab, host(config), "ssh-add -l", env={"PATH": path_without(lab, "ssh")})
    assert other.fingerprint in stdout(without)


# trust: T10
def test_known_hosts_are_found_where_ssh_finds_them(lab: Lab) -> None:
    key, user = lab.key("mine"), lab.user("target")
    server = lab.sshd("t", users=[user], keys=[key])
    usual = {"HostName": server.address, "Port": server.port, "User": user.name, "IdentityFile": key.path}
    lab.known_hosts([server], "relative.hosts")
    cases = {"relative": {"UserKnownHostsFile": "../relative.hosts"}}
    for number, alias in enumerate(("prod/Web1", "u@web", "web:22", "ssh://web")):
        file = lab.known_hosts([server.known_hosts_line(alias.lower())], f"known-{number}")
        cases[f"alias-{number}"] = {"HostKeyAlias": alias, "UserKnownHostsFile": str(file)}
    configs = {name: str(ssh_config(lab, {"web": usual | more}, name)) for name, more in cases.items()}
    run = playbook(lab, beside_ssh(configs), play(TRUE))
    assert run.statuses() == {f"{name}-{by}": ["ok"] for name in cases for by in ("ours", "ssh")}, run


# trust: T10
def test_a_new_key_is_recorded_under_an_alias_as_ssh_does(lab: Lab) -> None:
    key, user = lab.key("mine"), lab.user("target")
    target = lab.sshd("t", users=[user], keys=[key])
    usual = {"HostName": target.address, "Port": target.port, "User": user.name, "IdentityFile": key.path}
    usual |= {"StrictHostKeyChecking": "accept-new", "HostKeyAlias": "prod/Web1"}
    hosts, files = {}, {}
    for by in ("ours", "ssh"):
        files[by] = lab.path / f"new-{by}"
        config = str(ssh_config(lab, {"web": usual | {"UserKnownHostsFile": files[by]}}, by))
        hosts[by] = beside_ssh({"web": config})[f"web-{by}"]
    playbook(lab, hosts, play(TRUE)).check()
    assert files["ours"].read_text() == files["ssh"].read_text() != ""
