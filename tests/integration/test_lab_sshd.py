# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the lab's OpenSSH servers with the OpenSSH client."""

from __future__ import annotations

import os

import pytest
from lab import Chain3, Forward, Lab, Login, certify, chain_of_three, processes, write_known_hosts
from lab.client import ssh, ssh_config, start_ssh


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


def test_the_chain_goes_one_way_only(chain3_same_key: Chain3, lab: Lab) -> None:
    chain = chain3_same_key
    names = [user.name for user in chain.users]
    good = ssh(lab, chain.target, chain.users[2], "hostname", key=chain.keys[2], jump=chain.jump_string)
    assert good.returncode == 0, good.stderr
    chain.settle()
    assert [host.logins() for host in chain.hosts] == [[Login(name, "publickey")] for name in names]
    assert chain.a.forwards() == [Forward(chain.b.address, chain.b.port)]
    assert chain.b.forwards() == [Forward(chain.target.address, chain.target.port)]

    swapped = ",".join(reversed(chain.jump_string.split(",")))
    bad = ssh(lab, chain.target, chain.users[2], "hostname", key=chain.keys[2], jump=swapped)
    assert bad.returncode == 255
    assert "administratively prohibited" in bad.stderr
    assert chain.target.connections() == 1


def test_each_hop_wants_its_own_credential(chain3: Chain3, lab: Lab) -> None:
    a, b, target = chain3.hosts
    config = ssh_config(
        lab,
        {
            "a": {"HostName": a.address, "Port": a.port, "User": chain3.users[0].name},
            "b": {"HostName": b.address, "Port": b.port, "User": chain3.users[1].name, "ProxyJump": "a",
                  "IdentityFile": chain3.keys[1].path},
            "t": {"HostName": target.address, "Port": target.port, "User": chain3.users[2].name, "ProxyJump": "b",
                  "IdentityFile": chain3.keys[2].path},
        },
    )  # fmt: skip
    result = ssh(lab, "t", None, "id -un", config=config, password=chain3.users[0].password)
    assert (result.returncode, result.stdout) == (0, f"{chain3.users[2].name}\n"), result.stderr
    chain3.settle()
    methods = ["password", "publickey", "publickey"]
    assert [host.logins() for host in chain3.hosts] == [
        [Login(user.name, method)] for user, method in zip(chain3.users, methods, strict=True)
    ]
    assert target.count("Accepted certificate ID") > 0
    assert ssh(lab, b, chain3.users[1], "true", key=chain3.keys[2]).returncode == 255
    assert set(b.failures()) == {Login(chain3.users[1].name, "publickey")}


def test_a_bastion_forwards_standard_input_and_output(lab: Lab) -> None:
    key, user = lab.key("key"), lab.user("jump1")
    host = lab.sshd("target", keys=[key])
    bastion = lab.sshd("bastion", users=[user], keys=[key], permit_open=[host.endpoint])
    lab.trust(bastion)
    good = ssh(lab, bastion, user, None, key=key, words=("-W", host.endpoint))
    assert good.stdout.startswith("SSH-2.0-OpenSSH")
    assert ssh(lab, bastion, user, None, key=key, words=("-W", f"{host.address}:22")).returncode == 255


def test_passwords_and_pam_prompts(lab: Lab) -> None:
    user = lab.user("jump1")
    plain = lab.sshd("plain", users=[user], password=True)
    pam = lab.sshd("pam", users=[user], pam=True)
    lab.trust(plain, pam)
    assert ssh(lab, plain, user, "true", password=user.password).returncode == 0
    assert ssh(lab, pam, user, "true", password=user.password).returncode == 0
    wrong = ssh(lab, plain, user, "true", password="wrong", options=("NumberOfPasswordPrompts=1",))
    assert "Permission denied" in wrong.stderr
    for host in (plain, pam):
        host.settle()
    assert plain.logins() == [Login(user.name, "password")]
    assert plain.failures() == [Login(user.name, "password")]
    assert pam.logins() == [Login(user.name, "keyboard-interactive/pam")]
    assert Login(user.name, "none") in pam.userauth_requests()


@pytest.mark.parametrize("kind", ["ed25519", "rsa", "ecdsa"])
def test_host_keys_are_swapped_under_a_running_server(lab: Lab, kind: str) -> None:
    key = lab.key("key")
    host = lab.sshd("host", keys=[key], key_types=[kind])
    lab.trust(host, hashed=True)
    assert "|1|" in (lab.home / ".ssh" / "known_hosts").read_text()
    assert ssh(lab, host, "root", "true", key=key).returncode == 0
    old = host.swap_keys()
    requests = len(host.userauth_requests())
    changed = ssh(lab, host, "root", "true", key=key)
    assert "REMOTE HOST IDENTIFICATION HAS CHANGED" in changed.stderr
    assert host.fingerprint() in changed.stderr
    assert host.fingerprint() != old[kind].fingerprint
    host.settle()
    assert len(host.userauth_requests()) == requests


def test_sha1_signatures_can_be_offered(lab: Lab) -> None:
    key = lab.key("key")
    host = lab.sshd("host", keys=[key], key_types=["rsa"], HostKeyAlgorithms="ssh-rsa")
    lab.trust(host)
    refused = ssh(lab, host, "root", "true", key=key)
    assert "no matching host key type found. Their offer: ssh-rsa" in refused.stderr
    assert ssh(lab, host, "root", "true", key=key, options=("HostKeyAlgorithms=ssh-rsa",)).returncode == 0


def test_certificates_of_users_and_hosts(lab: Lab) -> None:
    ca, key, user = lab.key("ca", "ecdsa"), lab.key("key"), lab.user("target")
    host = lab.sshd("host", users=[user], ca=ca)
    certificate = certify(ca, host.key(), [host.address], host=True)
    host.options["HostCertificate"] = str(certificate)
    host.reload()
    trusted = f"@cert-authority * {ca.public}"
    lab.trust(trusted)
    certify(ca, key, ["somebody else"])
    assert ssh(lab, host, user, "true", key=key).returncode == 255
    certify(ca, key, [user.name], validity="-2h:-1h")
    assert ssh(lab, host, user, "true", key=key).returncode == 255
    certify(ca, key, [user.name])
    assert ssh(lab, host, user, "true", key=key).returncode == 0
    host.settle()
    assert host.count("Certificate invalid: expired") >= 1


def test_an_agent_signs_and_is_forwarded_only_on_request(lab: Lab) -> None:
    key = lab.key("key", passphrase="secret words")
    agent = lab.agent(key)
    host = lab.sshd("host", keys=[key])
    lab.trust(host)
    assert agent.fingerprints() == [key.fingerprint]
    assert ssh(lab, host, "root", "echo -n $SSH_AUTH_SOCK", agent=agent).stdout == ""
    host.settle()
    assert (agent.signatures(), host.agent_requests()) == (1, 0)
    assert ssh(lab, host, "root", "ssh-add -l", agent=agent, words=("-A",)).stdout.count(key.fingerprint) == 1
    host.settle()
    assert host.agent_requests() == 1


@pytest.mark.parametrize(("sftp", "works"), [("internal", True), ("external", True), (None, False)])
def test_sftp_is_there_or_not(lab: Lab, sftp: str | None, works: bool) -> None:
    key = lab.key("key")
    host = lab.sshd("host", keys=[key], sftp=sftp)
    lab.trust(host)
    result = ssh(lab, host, "root", "sftp", key=key, words=("-s",))
    assert (result.returncode == 0) is works


def test_limits_and_banner(lab: Lab) -> None:
    key, user = lab.key("key"), lab.user("jump1")
    host = lab.sshd(
        "host", users=[user], password=True, MaxStartups="1:100:1", MaxAuthTries=1, banner="No {{ 1 + 1 }}\n"
    )
    lab.trust(host)
    result = ssh(lab, host, user, "true", key=key)
    assert "No {{ 1 + 1 }}" in result.stderr
    assert "Too many authentication failures" in result.stderr


def test_one_server_serves_many_hosts(lab: Lab) -> None:
    key = lab.key("key")
    few, many = lab.sshd("few", keys=[key], count=3), lab.sshd("many", keys=[key], count=40)
    lab.trust(few, many)
    for host in (few, many):
        address = host.addresses[-1]
        assert ssh(lab, host, "root", f"echo $SSH_CONNECTION | grep -q {address}", key=key, to=address).returncode == 0
    assert f"[{many.addresses[-1]}]:{many.port}" in many.known_hosts_line()


def test_many_targets_behind_one_chain(lab: Lab) -> None:
    chain = chain_of_three(lab, same_key=True, targets=20)
    assert list(chain.inventory())[0:20:19] == ["target1", "target20"]
    last = chain.inventory()["target20"]["ansible_host"]
    jump, key = chain.jump_string, chain.keys[2]
    assert ssh(lab, chain.target, chain.users[2], "true", key=key, jump=jump, to=last).returncode == 0


@pytest.mark.parametrize(("address", "port"), [("::1", None), (None, 22)])
def test_addresses_and_ports_of_choice(lab: Lab, address: str | None, port: int | None) -> None:
    key, user = lab.key("key"), lab.user("jump1")
    host = lab.sshd("host", users=[user], keys=[key], address=address, port=port)
    lab.trust(host)
    assert ssh(lab, host, user, "true", key=key).returncode == 0


def test_a_server_stops_under_its_sessions(lab: Lab) -> None:
    key = lab.key("key")
    host = lab.sshd("host", keys=[key])
    lab.trust(host)
    with start_ssh(lab, host, "root", "echo ready; exec sleep 60", key=key) as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        sessions = host.sessions()
        assert sessions
        host.stop()
        assert process.wait(10) == 255
    assert not any(processes.is_alive(pid) for pid in sessions)
    host.start()
    assert ssh(lab, host, "root", "true", key=key).returncode == 0
    assert len(host.logins()) == 2


def test_a_server_that_cannot_start_says_why(lab: Lab) -> None:
    with pytest.raises(RuntimeError, match="Bad configuration option: NoSuchOption"):
        lab.sshd("host", NoSuchOption=True)


def test_known_hosts_of_other_names(lab: Lab) -> None:
    host = lab.sshd("host", key_types=["ed25519", "ecdsa"])
    path = write_known_hosts(lab.path / "known", host.known_hosts_lines("alias"))
    assert [line.split()[:2] for line in path.read_text().splitlines()] == [
        ["alias", "ssh-ed25519"],
        ["alias", "ecdsa-sha2-nistp256"],
    ]
    assert os.stat(path).st_mode & 0o777 == 0o600
