# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test logins at every hop: each with its own credentials, once, and no credential sent to a hop that it is not for."""

from __future__ import annotations

import re
import socket
import subprocess
import threading
from typing import Any

import asyncssh
import pytest
from lab import (
    Chain3,
    Lab,
    Prompt,
    Run,
    User,
    Watch,
    certify,
    grep_tree,
    play,
    playbook,
)
from lab.chains import CONNECT, place
from lab.playbook import PING, TRUE
from sessions import opened

from ansible_collections.bastion.ssh.plugins.plugin_utils.errors import HopUnreachable, LoginRefused
from ansible_collections.bastion.ssh.plugins.plugin_utils.patched_paramiko.transport import HopTransport


def connect(lab: Lab, variables: dict[str, Any], **more: Any) -> Run:
    return playbook(lab, {"host": variables}, play(TRUE), **more)


@pytest.fixture
def user(lab: Lab) -> User:
    return lab.user("jump1")


# Own credentials, sent only to the hop that they are for


@pytest.mark.ways("broker", "own process")
def test_no_hop_learns_the_secret_of_another(lab: Lab) -> None:  # trust: T17, T18
    a = lab.recorder("a", passwords={"edge": "sentinel-a"})
    b = lab.recorder("b", passwords={"core": "sentinel-b"})
    target = lab.recorder("target", passwords={"deploy": "sentinel-target"})
    lab.trust(a, b, target)
    jump = [
        {"host": a.address, "port": a.port, "user": "edge", "password": "sentinel-a"},
        {"host": b.address, "port": b.port, "user": "core", "password": "sentinel-b"},
    ]
    agent = lab.agent(lab.key("held"))
    connect(
        lab, place(target, "deploy", ansible_password="sentinel-target", ansible_ssh_jump=jump), agent=agent
    ).check()
    assert [server.values("password") for server in (a, b, target)] == [
        ["sentinel-a"],
        ["sentinel-b"],
        ["sentinel-target"],
    ]
    assert [server.values("agent") for server in (a, b, target)] == [[], [], []]


def test_a_bastion_without_a_password_never_gets_the_targets(lab: Lab) -> None:  # trust: T17
    bastion = lab.recorder("bastion", passwords={}, rounds=[[Prompt("Password: ", "x")]])
    target = lab.recorder("target", passwords={"deploy": "sentinel"})
    lab.trust(bastion, target)
    variables = place(target, "deploy", ansible_password="sentinel", ansible_ssh_jump=f"edge@{bastion.endpoint}")
    result = connect(lab, variables).result("host")
    assert result.status == "unreachable"
    assert "jump host 1 of 1" in result.result["msg"]
    assert bastion.values("password") == bastion.values("response") == []
    assert target.seen == []


def test_the_variables_for_all_jump_hosts_serve_those_that_set_none(lab: Lab, chain3: Chain3) -> None:
    first, second = chain3.jump_list
    jump = [{key: first[key] for key in ("host", "port")}, second]
    common = {"ansible_ssh_jump_user": chain3.users[0].name, "ansible_ssh_jump_password": chain3.users[0].password}
    playbook(lab, chain3.inventory(ansible_ssh_jump=jump, **common), play(TRUE)).check()
    jump = [first, {key: second[key] for key in ("host", "port", "user")}]
    common = {"ansible_ssh_jump_private_key_file": str(chain3.keys[1].path)}
    playbook(lab, chain3.inventory(ansible_ssh_jump=jump, **common), play(TRUE)).check()


def test_no_agent_is_forwarded(lab: Lab, chain3: Chain3) -> None:  # trust: T18
    playbook(lab, chain3.inventory(), play(TRUE), agent=lab.agent(lab.key("held"))).check()
    chain3.settle()
    assert [host.agent_requests() for host in chain3.hosts] == [0, 0, 0]


# Ways to log in


@pytest.mark.parametrize("passphrase", ["", "sentinel"])
def test_keys_of_all_types_log_in(lab: Lab, user: User, passphrase: str) -> None:
    keys = [lab.key(type, type, passphrase) for type in ("ed25519", "ecdsa", "rsa")]
    host = lab.sshd("host", users=[user], keys=keys)
    lab.trust(host)
    inventory = {}
    for key in keys:
        told = place(host, user, ansible_ssh_private_key_passphrase=passphrase)
        inventory[f"{key.path.name}-file"] = told | {"ansible_ssh_private_key_file": str(key.path)}
        inventory[f"{key.path.name}-variable"] = told | {"ansible_ssh_private_key": key.private}
    run = playbook(lab, inventory, play(TRUE)).check()
    assert run.statuses() == {name: ["ok"] for name in inventory}
    for key in keys:
        host.wait_log(rf"^Accepted publickey .* {re.escape(key.fingerprint)}", times=2)


def test_certificates_log_in_from_a_file_and_from_the_agent(lab: Lab, user: User) -> None:
    ca, keys = lab.key("ca"), [lab.key(type, type) for type in ("ed25519", "rsa")]
    host = lab.sshd("host", users=[user], ca=ca)
    lab.trust(host)
    inventory = {}
    for key in keys:
        elsewhere = certify(ca, key, [user.name], out=lab.path / f"elsewhere-{key.path.name}.pub")
        alone = place(host, user, ansible_ssh_private_key_file=str(key.path))
        inventory[f"{key.path.name}-alone"] = alone
        inventory[f"{key.path.name}-told"] = alone | {"ansible_ssh_certificate_file": str(elsewhere)}
    run = playbook(lab, inventory, play(TRUE))
    assert run.statuses() == {name: ["ok" if name.endswith("told") else "unreachable"] for name in inventory}
    for key in keys:
        certify(ca, key, [user.name])
    inventory = {name: variables for name, variables in inventory.items() if name.endswith("alone")}
    playbook(lab, inventory, play(TRUE)).check()
    for key in keys:
        connect(lab, place(host, user), agent=lab.agent(key)).check()


def test_a_certificate_that_is_named_as_a_key_or_given_as_text_logs_in(lab: Lab, user: User) -> None:
    """As in HashiCorp Vault's documentation, and as its lookup returns it."""
    ca, keys = lab.key("ca", "rsa"), [lab.key(type, type) for type in ("ed25519", "rsa")]
    bastion = lab.sshd("bastion", users=[user], ca=ca)
    host = lab.sshd("host", users=[user], ca=ca)
    lab.trust(bastion, host)
    inventory: dict[str, dict[str, Any]] = {}
    for key in keys:
        signed = certify(ca, key, [user.name], out=lab.path / f"signed-{key.path.name}.pub")
        alone = {"ansible_ssh_args": "-o IdentityAgent=none"}
        by_file, by_text = {"private_key_file": str(key.path)}, {"private_key": key.private}
        hop = {"host": bastion.address, "port": bastion.port, "user": user.name, "certificate": signed.read_text()}
        twice = f"-i {signed} -i {key.path}"
        kinds: dict[str, dict[str, Any]] = {
            "twice": {"ansible_ssh_common_args": twice},
            "turned": {"ansible_ssh_common_args": f"-i {key.path} -i {signed}"},
            "text": {"ansible_ssh_certificate": signed.read_text(), "ansible_ssh_private_key_file": str(key.path)},
            "texts": {"ansible_ssh_certificate": signed.read_text(), "ansible_ssh_private_key": key.private},
            "elsewhere": {"ansible_ssh_certificate": signed.read_text(), "ansible_ssh_common_args": f"-i {key.path}"},
            "file": {"ansible_ssh_certificate_file": str(signed), "ansible_ssh_common_args": f"-i {key.path}"},
            "hop": {"ansible_ssh_jump": [hop | by_file], "ansible_ssh_common_args": twice},
            "hops": {"ansible_ssh_jump": [hop | by_text], "ansible_ssh_common_args": twice},
        }
        inventory |= {f"{key.path.name}-{kind}": place(host, user, **alone | told) for kind, told in kinds.items()}
    playbook(lab, inventory, play(TRUE)).check()


@pytest.mark.parametrize("listed", [False, True])
def test_a_certificate_goes_with_the_key_of_an_agent(lab: Lab, user: User, listed: bool) -> None:
    ca, key = lab.key("ca"), lab.key("key")
    host = lab.sshd("host", users=[user], ca=ca)
    lab.trust(host)
    signed = certify(ca, key, [user.name], out=lab.path / "signed.pub")
    agent = lab.agent(key)
    only = " -o IdentitiesOnly=yes" if listed else ""
    text = {"ansible_ssh_certificate": signed.read_text()}
    inventory = {
        "named": place(host, user, ansible_ssh_args=f"-i {signed}{only}"),
        "text": place(host, user, **text, ansible_ssh_args=f"-i {key.path}.pub{only}"),
    }
    playbook(lab, inventory, play(TRUE), agent=agent).check()


def test_the_agent_logs_in_and_a_named_key_goes_before_it(lab: Lab, user: User) -> None:
    keys = [lab.key(f"agent{number}") for number in range(7)]
    named = lab.key("named")
    host = lab.sshd("host", users=[user], keys=[keys[3], named], MaxAuthTries=6)
    lab.trust(host)
    agent = lab.agent(*keys)
    connect(lab, place(host, user), agent=agent).check()
    host.settle()
    failures = len(host.failures("publickey"))
    connect(lab, place(host, user, ansible_ssh_private_key_file=str(named.path)), agent=agent).check()
    host.settle()
    assert len(host.failures("publickey")) == failures


def test_an_agent_full_of_keys_leaves_a_try_for_the_password(lab: Lab, user: User) -> None:
    host = lab.sshd("host", users=[user], password=True, MaxAuthTries=6)
    lab.trust(host)
    agent = lab.agent(*(lab.key(f"agent{number}") for number in range(7)))
    connect(lab, place(host, user, ansible_password=user.password), agent=agent).check()


def test_agent_keys_that_cannot_sign_are_skipped(lab: Lab, user: User) -> None:
    key, refused = lab.key("key"), lab.key("refused", "rsa")
    host = lab.sshd("host", users=[user], keys=[key, refused])
    lab.trust(host)
    # A key whose use the agent must confirm with a user who is absent.
    agent = lab.agent()
    agent.add(refused, confirm=True)
    agent.add(key)
    connect(lab, place(host, user), agent=agent).check()


def test_an_agent_that_never_answers_ends_within_the_timeout(lab: Lab, user: User) -> None:  # trust: T25
    host = lab.sshd("host", users=[user])
    lab.trust(host)
    silent = lab.path / "agent"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(silent))
        listening.listen()
        variables = place(host, user, ansible_ssh_jump_timeout=1)
        message = connect(lab, variables, env={"SSH_AUTH_SOCK": str(silent)}).result("host").result["msg"]
    assert "no answer to the login within 1 seconds" in message


def test_too_many_keys_are_told_in_words_that_help(lab: Lab, user: User) -> None:
    host = lab.sshd("host", users=[user], MaxAuthTries=3)
    lab.trust(host)
    agent = lab.agent(*(lab.key(f"agent{number}") for number in range(7)))
    result = connect(lab, place(host, user), agent=agent).result("host")
    assert result.status == "unreachable"
    assert "MaxAuthTries" in result.result["msg"]
    assert "agent key" in result.result["msg"]


def test_pam_asks_for_the_password_and_gets_it_once(lab: Lab, user: User) -> None:
    host = lab.sshd("host", users=[user], pam=True)
    lab.trust(host)
    connect(lab, place(host, user, ansible_password=user.password)).check()
    assert connect(lab, place(host, user, ansible_password="wrong")).result("host").status == "unreachable"
    host.settle()
    assert len(host.failures("keyboard-interactive/pam")) == 1


def test_prompts_answer_one_time_codes(lab: Lab) -> None:
    rounds = [[Prompt("Password: ", "sentinel")], [Prompt("Verification code: ", "123456", echo=True)]]
    bastion = lab.recorder("bastion", rounds=rounds)
    target = lab.recorder("target", passwords={"deploy": "x"})
    lab.trust(bastion, target)
    hop = {"host": bastion.address, "port": bastion.port, "user": "edge", "password": "sentinel"}
    prompts = {"verification.code": "{{ lookup('ansible.builtin.pipe', 'echo 123456') }}"}
    variables = place(target, "deploy", ansible_password="x", ansible_ssh_jump=[hop | {"prompts": prompts}])
    connect(lab, variables).check()
    assert bastion.values("response") == ["sentinel", "123456"]
    result = connect(lab, variables | {"ansible_ssh_jump": [hop]}).result("host")
    assert result.status == "unreachable"
    assert "'Verification code:'" in result.result["msg"]
    assert "prompts" in result.result["msg"]


@pytest.mark.parametrize("question", ["OTP password: ", "Password (OTP): ", "Password of your 2FA app: "])
def test_a_password_answers_no_question_for_a_code(lab: Lab, question: str) -> None:  # trust: T19
    host = lab.recorder("host", rounds=[[Prompt(question, "123456")]])
    lab.trust(host)
    message = connect(lab, place(host, "deploy", ansible_password="sentinel")).result("host").result["msg"]
    assert f"the question {question.strip()!r}, which no entry of prompts answers" in message
    assert "Set ansible_ssh_prompts" in message
    assert host.values("response") == []


def test_a_password_is_asked_for_in_the_name_of_a_host(lab: Lab) -> None:
    host = lab.recorder("host", rounds=[[Prompt("deploy@otp.example's password: ", "sentinel")]])
    lab.trust(host)
    connect(lab, place(host, "deploy", ansible_password="sentinel")).check()


def test_a_key_and_then_a_password_where_both_are_wanted(lab: Lab, user: User) -> None:
    key = lab.key("key")
    host = lab.sshd("host", users=[user], keys=[key], password=True, AuthenticationMethods="publickey,password")
    lab.trust(host)
    variables = place(host, user, ansible_ssh_private_key_file=str(key.path), ansible_password=user.password)
    connect(lab, variables).check()
    result = connect(lab, variables | {"ansible_password": "wrong"}).result("host")
    assert f"{key.fingerprint}, accepted, password" in result.result["msg"]


def test_a_key_that_needs_a_passphrase_is_named(lab: Lab, user: User) -> None:
    key = lab.key("key", passphrase="sentinel")
    host = lab.sshd("host", users=[user], keys=[key])
    lab.trust(host)
    result = connect(lab, place(host, user, ansible_ssh_private_key_file=str(key.path))).result("host")
    assert f"{key.path}: it needs a passphrase" in result.result["msg"]


# trust: T20
def test_a_wrong_pin_does_not_use_the_login_of_the_right_one(lab: Lab) -> None:
    user = lab.user("pin")
    subprocess.run(["chpasswd"], input=f"{user.name}:48151623", text=True, check=True)
    host = lab.sshd("host", users=[user], pam=True)
    lab.trust(host)
    with opened(lab, place(host, user, ansible_ssh_prompts={"password": "48151623"})):
        pass
    with (
        pytest.raises(LoginRefused, match=r"target .*login refused"),
        opened(lab, place(host, user, ansible_ssh_prompts={"password": "11111111"})),
    ):
        pass
    with opened(lab, place(host, user, ansible_ssh_prompts={"password": "48151623"})):
        pass
    host.settle()
    assert len(host.logins()) == 1
    assert len(host.failures("keyboard-interactive/pam")) == 1


def test_the_first_line_of_a_secret_counts(lab: Lab) -> None:
    """Files and vaults end with a newline."""
    locked = lab.key("locked", passphrase="sentinel-3")
    bastion = lab.recorder("bastion", passwords={"edge": "sentinel-1"}, rounds=[[Prompt("Code: ", "sentinel-2")]])
    middle = lab.recorder("middle", keys=[locked])
    target = lab.recorder("target", passwords={"deploy": "sentinel-4"})
    lab.trust(bastion, middle, target)
    text = lab.path / "passphrase"
    text.write_text("sentinel-3\n")
    kept = f"{{{{ lookup('ansible.builtin.file', '{text}', rstrip=false) }}}}"
    jump = [
        {"host": bastion.address, "port": bastion.port, "user": "edge", "prompts": {"code": "sentinel-2\r\n"}},
        {
            "host": middle.address,
            "port": middle.port,
            "user": "core",
            "private_key": locked.private,
            "passphrase": kept,
        },
    ]
    connect(lab, place(target, "deploy", ansible_password="sentinel-4\nmore\n", ansible_ssh_jump=jump)).check()
    jump[0] = {"host": bastion.address, "port": bastion.port, "user": "edge"}
    more = {"ansible_ssh_jump_password": "sentinel-1\n", "ansible_ssh_jump": jump}
    connect(lab, place(target, "deploy", ansible_password="sentinel-4\n", **more)).check()


def test_a_password_that_the_server_takes_as_an_answer_only(lab: Lab) -> None:  # trust: T19
    """In OpenSSH's order; each method sends the password once."""
    server = lab.recorder("server", passwords={}, rounds=[[Prompt("Password: ", "sentinel")]])
    lab.trust(server)
    connect(lab, place(server, "deploy", ansible_password="sentinel")).check()
    assert connect(lab, place(server, "deploy", ansible_password="wrong")).result("host").status == "unreachable"
    assert [server.values("response"), server.values("password")] == [["sentinel", "wrong"], ["wrong"]]


def test_a_password_goes_by_its_own_method_where_no_question_wants_it(lab: Lab) -> None:
    """As at a server that asks for a code, or for a password."""
    server = lab.recorder("server", passwords={"deploy": "sentinel"}, rounds=[[Prompt("Code: ", "1")]])
    lab.trust(server)
    connect(lab, place(server, "deploy", ansible_password="sentinel")).check()
    assert [server.values("response"), server.values("password")] == [[], ["sentinel"]]


# Refusals


@pytest.mark.ways("broker", "own process")
def test_a_wrong_password_is_one_failed_login_for_50_hosts(lab: Lab, chain3: Chain3) -> None:  # trust: T19
    first, second = chain3.jump_list
    wrong = chain3.variables | {"ansible_ssh_jump": [first | {"password": "wrong"}, second], "ansible_ssh_retries": 3}
    inventory = {f"host{number}": wrong for number in range(50)}
    run = playbook(lab, inventory, play(TRUE), args=["--forks", "20"])
    chain3.settle()
    assert {result.status for result in run.all_results} == {"unreachable"}
    assert len(run.all_results) == 50
    assert all("jump host 1 of 2" in result.result["msg"] for result in run.all_results)
    assert len(chain3.a.failures("password")) == 1
    assert chain3.a.connections() == 1
    assert chain3.target.connections() == 0


class Abrupt(asyncssh.SSHServer):
    """Disconnect on a wrong password instead of rejecting it."""

    told = 0

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._connection = conn

    def begin_auth(self, username: str) -> bool:
        return True

    def password_auth_supported(self) -> bool:
        return True

    def validate_password(self, username: str, password: str) -> bool:
        Abrupt.told += 1
        self._connection.abort()
        return False


class Dropping(Abrupt):
    """Stop offering password authentication after a wrong password."""

    def password_auth_supported(self) -> bool:
        return Dropping.told == 0

    def public_key_auth_supported(self) -> bool:
        return True

    def validate_password(self, username: str, password: str) -> bool:
        Dropping.told += 1
        return False


class Expired(asyncssh.SSHServer):
    """Require a password change (RFC 4252 section 8), which OpenSSH's server never does."""

    def begin_auth(self, username: str) -> bool:
        return True

    def password_auth_supported(self) -> bool:
        return True

    def validate_password(self, username: str, password: str) -> bool:
        raise asyncssh.PasswordChangeRequired("Your password has expired.\nPlease change it.")


def serve(lab: Lab, kind: type[asyncssh.SSHServer], **options: Any) -> dict[str, Any]:
    """Start such a server and return its inventory variables; options: of asyncssh.create_server()."""
    key, address = lab.key("host-key"), lab.address()
    Abrupt.told = Dropping.told = 0

    async def listen() -> asyncssh.SSHAcceptor:
        return await asyncssh.create_server(kind, address, 0, server_host_keys=[str(key.path)], **options)

    acceptor = lab.loop.run(listen())
    lab.callback(lab.loop.call, acceptor.close)
    lab.trust(f"[{address}]:{acceptor.get_port()} {key.public}")
    return {
        "ansible_connection": "bastion.ssh.jump",
        "ansible_host": address,
        "ansible_port": acceptor.get_port(),
        "ansible_user": "root",
        "ansible_password": "wrong",
    }


def test_a_server_that_hangs_up_on_a_password_gets_it_once(lab: Lab) -> None:  # trust: T19
    variables = serve(lab, Abrupt, kbdint_auth=False) | {"ansible_ssh_retries": 2}
    run = playbook(lab, {f"host{number}": variables for number in range(3)}, play(TRUE))
    assert {result.status for result in run.all_results} == {"unreachable"}
    assert Abrupt.told == 1


@pytest.mark.parametrize("questions", [True, False])
def test_a_password_that_must_be_changed_is_told_in_the_servers_words(lab: Lab, questions: bool) -> None:
    message = connect(lab, serve(lab, Expired, kbdint_auth=questions)).result("host").result["msg"]
    assert "login refused" in message
    assert "password, expired. The server takes: " in message
    assert "It says: Your password has expired. Please change it." in message
    assert message.endswith("The password of root must be changed: log in by hand, and change it.")


def test_a_method_that_is_withdrawn_was_tried_all_the_same(lab: Lab) -> None:
    message = connect(lab, serve(lab, Dropping, kbdint_auth=False)).result("host").result["msg"]
    assert "Tried: password" in message


def test_a_wrong_answer_is_given_once_whatever_keys_the_targets_have(lab: Lab) -> None:  # trust: T19
    bastion = lab.recorder("bastion", rounds=[[Prompt("Code: ", "right")]])
    lab.trust(bastion)
    hop = {"host": bastion.address, "port": bastion.port, "user": "edge", "prompts": {"code": "wrong"}}
    inventory = {
        f"host{number}": place(
            bastion, "x", ansible_ssh_jump=[hop], ansible_ssh_private_key_file=str(lab.key(f"own{number}").path)
        )
        for number in range(4)
    }
    playbook(lab, inventory, play(TRUE))
    assert bastion.values("response") == ["wrong"]


@pytest.mark.ways("own process")
def test_a_connection_that_ends_as_the_login_begins_is_told(
    lab: Lab, chain3: Chain3, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sender may notice before paramiko's thread has read the reason; the test simulates that moment."""

    def read_on(transport: HopTransport) -> None:
        transport.disconnect_reason = "closed for today"
        transport.close()

    def ended(transport: HopTransport) -> None:
        threading.Timer(0.2, read_on, [transport]).start()
        raise EOFError

    monkeypatch.setattr(HopTransport, "ensure_session", ended)
    words = r"^jump host 1 of 2 .*: the server ended the connection during the login and said: closed for today"
    with pytest.raises(HopUnreachable, match=words), opened(lab, chain3.variables):
        pass


def test_where_only_keys_are_taken_a_password_does_not_limit_them(lab: Lab, user: User) -> None:
    keys = [lab.key(f"agent{number}") for number in range(7)]
    host = lab.sshd("host", users=[user], keys=[keys[6]], MaxAuthTries=20)
    lab.trust(host)
    connect(lab, place(host, user, ansible_password="for sudo"), agent=lab.agent(*keys)).check()


def test_an_rsa_key_never_signs_with_sha1(lab: Lab) -> None:  # trust: T16
    key = lab.key("key", "rsa")
    server = lab.recorder("old", keys=[key], signature_algs=["ssh-rsa"])
    lab.trust(server)
    message = (
        connect(lab, place(server, "root", ansible_ssh_private_key_file=str(key.path))).result("host").result["msg"]
    )
    assert "the server takes no RSA signature but SHA-1's" in message
    assert server.values("key") == []


def test_the_refusal_names_what_was_tried_and_what_the_server_takes(lab: Lab, chain3: Chain3) -> None:
    first, second = chain3.jump_list
    inventory = chain3.inventory(ansible_ssh_jump=[first | {"password": "wrong"}, second])
    message = playbook(lab, inventory, play(TRUE)).result("target").result["msg"]
    assert f"jump host 1 of 2 {chain3.users[0].name}@{chain3.a.endpoint}: login refused" in message
    assert f"Tried: password, publickey {chain3.keys[2].path} {chain3.keys[2].fingerprint}" in message
    assert "The server takes: publickey, password" in message
    assert "ansible_ssh_jump[0]" in message


@pytest.mark.ways("broker", "own process")
def test_a_reset_forgets_the_refusal_of_the_target_only(lab: Lab, chain3: Chain3) -> None:
    tasks: list[dict[str, Any]] = [
        TRUE | {"ignore_unreachable": True},
        {"name": "Again", "ansible.builtin.ping": {}, "ignore_unreachable": True},
        {"name": "Reset", "ansible.builtin.meta": "reset_connection"},
        {"name": "Anew", "ansible.builtin.ping": {}, "ignore_unreachable": True},
    ]
    inventory = chain3.inventory(ansible_ssh_private_key_file=str(lab.key("unknown").path))
    run = playbook(lab, inventory, play(*tasks))
    chain3.settle()
    assert run.statuses() == {"target": ["unreachable"] * 3}
    assert "refused before in this run" in run.result("target", "Again").result["msg"]
    assert "refused before" not in run.result("target", "Anew").result["msg"]
    assert len(chain3.target.failures("publickey")) == 2


def test_a_reset_does_not_forget_what_a_bastion_refused(lab: Lab, chain3: Chain3) -> None:  # trust: T19
    first, second = chain3.jump_list
    tasks: list[dict[str, Any]] = [
        TRUE | {"ignore_unreachable": True},
        {"name": "Reset", "ansible.builtin.meta": "reset_connection"},
        {"name": "Anew", "ansible.builtin.ping": {}, "ignore_unreachable": True},
    ]
    run = playbook(lab, chain3.inventory(ansible_ssh_jump=[first | {"password": "wrong"}, second]), play(*tasks))
    chain3.settle()
    assert "refused before in this run" in run.result("target", "Anew").result["msg"]
    assert len(chain3.a.failures("password")) == 1


@pytest.mark.ways("broker", "own process")
@pytest.mark.parametrize("inodes", [2, 3])
def test_a_disk_without_an_inode_more_is_no_reason_to_fail(lab: Lab, user: User, inodes: int) -> None:  # trust: T19
    host = lab.sshd("host", users=[user], password=True)
    lab.trust(host)
    disk = lab.disk(f"200k,nr_inodes={inodes}")  # for itself, the directory of the run, and that of its logins
    run = connect(lab, place(host, user, ansible_password=user.password), env={"ANSIBLE_LOCAL_TEMP": str(disk)})
    assert run.statuses() == {"host": ["ok"]}, run.text


# Nothing leaks


@pytest.mark.ways("broker", "own process")
def test_no_secret_is_seen_anywhere(lab: Lab) -> None:  # trust: T21
    secrets = [f"sentinel-{number}" for number in range(8)]
    bastion = lab.recorder("bastion", passwords={"edge": secrets[0]}, rounds=[[Prompt("Code: ", secrets[1])]])
    target = lab.recorder("target", passwords={"root": secrets[2]})
    lab.trust(bastion, target)
    locked = lab.key("locked", passphrase=secrets[3])
    hop = {
        "host": bastion.address, "port": bastion.port, "user": "edge", "password": secrets[0],
        "private_key_file": str(locked.path), "passphrase": secrets[4], "prompts": {"code": secrets[1]},
    }  # fmt: skip
    variables = place(
        target, "root", ansible_password=secrets[2], ansible_ssh_jump=[hop], ansible_become=True,
        ansible_become_method="su", ansible_become_password=secrets[7],
    )  # fmt: skip
    inventory = {
        "right": variables,
        "wrong": variables | {"ansible_password": secrets[5]},
        "proxied": place(
            target, "root", ansible_password=secrets[2], ansible_proxy_command=f"sh -c '{CONNECT} %h %p; true'"
        ),
        "invalid": variables | {"ansible_ssh_private_key": secrets[6], "ansible_ssh_known_hosts": {}},
    }
    with Watch(lab) as watch:
        run = playbook(
            lab,
            inventory,
            play(PING),
            args=["-vvvvv"],
            env={"ANSIBLE_LOG_PATH": "log"},
        )
    assert run.statuses() == {
        "right": ["ok"],
        "wrong": ["unreachable"],
        "proxied": ["ok"],
        "invalid": ["failed"],
    }
    assert watch.found(secrets) == []
    assert [secret for secret in secrets if secret in run.text] == []
    assert grep_tree(lab.path, secrets, skip=[run.path / "inventory.yml"]) == []
