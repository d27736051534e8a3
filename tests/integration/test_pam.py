# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test logins that OpenSSH leaves to PAM: codes, pushes, expired accounts and passwords, and slow modules."""

from __future__ import annotations

import os
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from lab import TRUE, Lab, Run, Sshd, User, play, playbook, wait_until
from lab.brokers import playbooks
from lab.chains import place

_SECRET = "3132333435363738393031323334353637383930"  # RFC 6238's
_CODE = f"{{{{ lookup('ansible.builtin.pipe', 'oathtool --totp {_SECRET}') }}}}"
_ACCOUNT = "account required pam_unix.so\nsession required pam_permit.so\npassword required pam_unix.so\n"
_PASSWORD = "auth required pam_unix.so\n"
_KEY_AND_PAM = "publickey,keyboard-interactive"


def connect(lab: Lab, variables: dict[str, Any], **more: Any) -> Run:
    return playbook(lab, {"host": variables}, play(TRUE), **more)


def message(run: Run) -> str:
    """Return why the login to the host failed, which is unreachable for Ansible."""
    result = run.result("host")
    assert result.status == "unreachable"
    return str(result.result["msg"])


@pytest.fixture
def user(lab: Lab) -> User:
    return lab.user("pam")


def script(lab: Lab, name: str, *lines: str) -> Path:
    """Write a program for PAM to run."""
    path = lab.path / name
    path.write_text("\n".join(["#!/bin/sh", *lines, ""]))
    path.chmod(0o755)
    return path


def asking_for_codes(lab: Lab, user: User, auth: str = _PASSWORD, **options: Any) -> Sshd:
    """Start a server that asks for the one-time code of an authenticator app, and then for the rest."""
    directory = lab.path / "oath"
    directory.mkdir(mode=0o700)
    codes = directory / "users"
    codes.write_text(f"HOTP/T30/6 {user.name} - {_SECRET}\n")
    codes.chmod(0o600)
    oath = f"auth requisite pam_oath.so usersfile={codes} window=20\n"
    host = lab.sshd("codes", users=[user], pam=oath + auth + _ACCOUNT, **options)
    lab.trust(host)
    return host


# One-time codes


def test_a_one_time_code_and_a_password_log_in(lab: Lab, user: User) -> None:
    host = asking_for_codes(lab, user)
    variables = place(host, user, ansible_password=user.password, ansible_ssh_prompts={"one-time password": _CODE})
    connect(lab, variables).check()


@pytest.mark.parametrize("password", [True, False])
def test_a_code_that_is_not_there_is_asked_for_by_name_and_no_failure(lab: Lab, user: User, password: bool) -> None:
    host = asking_for_codes(lab, user, password=password)
    variables = place(host, user, ansible_ssh_private_key_file=str(lab.key("unknown").path))
    told = message(connect(lab, variables | {"ansible_ssh_prompts": {"pin": "1"}}))
    assert "login refused" in told
    assert f'the question "One-time password (OATH) for `{user.name}\':", which no entry of prompts answers' in told
    assert told.endswith("Set ansible_ssh_prompts, such as {'one-time password': '<answer>'}.")
    host.settle()
    assert [login for login in host.failures() if login.method != "publickey"] == []


def test_an_empty_code_is_none(lab: Lab, user: User) -> None:
    host = asking_for_codes(lab, user)
    variables = place(host, user, ansible_password=user.password, ansible_ssh_prompts={"one-time password": ""})
    assert "which no entry of prompts answers" in message(connect(lab, variables))
    host.settle()
    assert host.failures() == []


def test_a_code_that_is_refused_is_not_taken_for_a_password(lab: Lab, user: User) -> None:
    host = asking_for_codes(lab, user)
    variables = place(host, user, ansible_password=user.password, ansible_ssh_prompts={"one-time password": "000000"})
    told = message(connect(lab, variables))
    assert "A one-time code works once, and for a short time: give a new one. Else check ansible_user, " in told


@pytest.mark.ways("broker")
def test_a_kept_login_needs_no_code(lab: Lab, user: User) -> None:
    host = asking_for_codes(lab, user)
    variables = place(host, user, ansible_password=user.password)
    for code in (_CODE, ""):
        connect(lab, variables | {"ansible_ssh_prompts": {"one-time password": code}}).check()
    host.settle()
    assert len(host.logins()) == 1


def test_a_code_that_a_bastion_wants_is_asked_for_where_it_is_set(lab: Lab, user: User) -> None:
    key = lab.key("key")
    host = asking_for_codes(lab, user, "auth required pam_permit.so\n", keys=[key], AuthenticationMethods=_KEY_AND_PAM)
    hop = {"host": host.address, "port": host.port, "user": user.name, "private_key_file": str(key.path)}
    told = message(connect(lab, place(host, user, ansible_ssh_jump=[hop]) | {"ansible_host": "127.0.0.1"}))
    assert "jump host 1 of 1" in told
    assert f"{key.fingerprint}, accepted" in told
    assert told.endswith("Set ansible_ssh_jump[0].prompts, such as {'one-time password': '<answer>'}.")


def test_a_password_that_was_accepted_answers_what_the_server_wants_then(lab: Lab, user: User) -> None:
    host = lab.sshd(
        "twice",
        users=[user],
        password=True,
        pam=_PASSWORD + _ACCOUNT,
        AuthenticationMethods="password,keyboard-interactive",
    )
    lab.trust(host)
    connect(lab, place(host, user, ansible_password=user.password)).check()


def test_a_password_is_no_one_time_password(lab: Lab, user: User) -> None:  # trust: T19
    host = asking_for_codes(lab, user)
    told = message(connect(lab, place(host, user, ansible_password=user.password)))
    assert told.endswith("Set ansible_ssh_prompts, such as {'one-time password': '<answer>'}.")
    host.settle()
    assert host.failures() == []


# A push to a phone, which asks nothing


def pushing(lab: Lab, user: User, *lines: str) -> dict[str, Any]:
    """Start a host that accepts a key and then sends a push request to a phone."""
    push = script(lab, "push", "echo A login request was pushed to your phone", *lines)
    key = lab.key("key")
    service = f"auth requisite pam_exec.so stdout {push}\nauth required pam_permit.so\n{_ACCOUNT}"
    host = lab.sshd("push", users=[user], keys=[key], pam=service, AuthenticationMethods=_KEY_AND_PAM)
    lab.trust(host)
    return place(host, user, ansible_ssh_private_key_file=str(key.path))


@pytest.mark.parametrize("prompts", [None, {"passcode": "1"}])
def test_a_second_factor_that_asks_nothing_logs_in(lab: Lab, user: User, prompts: dict[str, str] | None) -> None:
    connect(lab, pushing(lab, user) | {"ansible_ssh_prompts": prompts}).check()


def test_a_second_factor_that_is_denied_is_told_with_its_words(lab: Lab, user: User) -> None:
    told = message(connect(lab, pushing(lab, user, "exit 1")))
    assert "login refused" in told
    assert "It says: A login request was pushed to your phone" in told


# Accounts and passwords that have expired


@pytest.fixture
def expired(lab: Lab) -> User:
    """Return a user whose account has expired."""
    user = lab.user("expired")
    subprocess.run(["chage", "-E", "1", user.name], check=True)
    return user


@pytest.mark.parametrize("by", ["key", "password"])
def test_an_account_that_has_expired_is_told_in_the_servers_words(lab: Lab, expired: User, by: str) -> None:
    key = lab.key("key")
    host = lab.sshd("host", users=[expired], keys=[key], pam=_PASSWORD + _ACCOUNT, banner="Authorized use only.\n")
    lab.trust(host)
    key_or_password = {
        "key": {"ansible_ssh_private_key_file": str(key.path)},
        "password": {"ansible_password": expired.password},
    }
    told = message(connect(lab, place(host, expired, **key_or_password[by], ansible_ssh_retries=1)))
    assert "Your account has expired; please contact your system administrator." in told
    host.settle()
    # What PAM says after a key may be of a moment, as that a system is booting up; no password is sent again.
    assert ("target " in told and "login refused" in told) is (by == "password")
    assert host.connections() == (1 if by == "password" else 2)


def test_a_password_that_has_expired_must_be_changed_by_hand(lab: Lab) -> None:  # trust: T19
    user = lab.user("overdue")
    subprocess.run(["chage", "-d", "0", user.name], check=True)
    host = lab.sshd("host", users=[user], pam=_PASSWORD + _ACCOUNT)
    lab.trust(host)
    told = message(connect(lab, place(host, user, ansible_password=user.password)))
    assert "login refused" in told
    assert told.endswith(f"The password of {user.name} must be changed: log in by hand, and change it.")
    host.settle()
    assert host.failures() == []


# Once


def test_a_wrong_password_is_one_failure_where_two_methods_take_it(lab: Lab, user: User) -> None:  # trust: T19
    host = lab.sshd("host", users=[user], password=True, pam=_PASSWORD + _ACCOUNT)
    lab.trust(host)
    told = message(connect(lab, place(host, user, ansible_password="wrong")))
    assert "Tried: keyboard-interactive. The server takes: publickey, password, keyboard-interactive." in told
    host.settle()
    assert [login.method for login in host.failures()] == ["keyboard-interactive/pam"]


# What takes its time


@pytest.fixture
def slow(lab: Lab) -> Path:
    """Write a program that takes longer than the connection timeout."""
    return script(lab, "slow", "sleep 2")


_HURRY = {"ansible_ssh_timeout": 1}


@pytest.mark.parametrize("phase", ["auth", "session"])
@pytest.mark.ways("broker", "own process")
def test_a_login_may_take_longer_than_to_connect(lab: Lab, user: User, slow: Path, phase: str) -> None:
    lines = {"auth": f"auth required pam_exec.so {slow}\n", "session": f"session required pam_exec.so {slow}\n"}
    host = lab.sshd("slow", users=[user], pam=lines[phase] + _PASSWORD + _ACCOUNT)
    lab.trust(host)
    connect(lab, place(host, user, ansible_password=user.password, **_HURRY)).check()


def test_keepalives_do_not_end_a_login_that_takes_longer_than_they_wait(lab: Lab, user: User, slow: Path) -> None:
    host = lab.sshd("slow", users=[user], pam=f"session required pam_exec.so {slow}\n" + _PASSWORD + _ACCOUNT)
    lab.trust(host)
    impatient = {"ansible_ssh_server_alive_interval": 1, "ansible_ssh_server_alive_count_max": 1}
    connect(lab, place(host, user, ansible_password=user.password, **impatient)).check()


@pytest.mark.parametrize("phase", ["auth", "session"])
@pytest.mark.ways("broker", "own process")
def test_all_hosts_wait_for_a_bastion_that_takes_its_time(lab: Lab, user: User, slow: Path, phase: str) -> None:
    lines = {"auth": f"auth required pam_exec.so {slow}\n", "session": f"session required pam_exec.so {slow}\n"}
    bastion = lab.sshd("slow", users=[user], pam=lines[phase] + _PASSWORD + _ACCOUNT)
    key = lab.key("key")
    target = lab.sshd("target", users=[user], keys=[key], count=3)
    lab.trust(bastion, target)
    hop = {"host": bastion.address, "port": bastion.port, "user": user.name, "password": user.password}
    common = {"ansible_ssh_jump": [hop], "ansible_ssh_private_key_file": str(key.path), **_HURRY}
    inventory = {address: place(target, user, **common) | {"ansible_host": address} for address in target.addresses}
    playbook(lab, inventory, play(TRUE)).check()


@pytest.mark.ways("broker")
def test_a_login_of_a_run_that_was_interrupted_holds_up_no_other(lab: Lab, user: User, marker: Path) -> None:
    """As if a user has missed the question on the phone and starts again."""
    push = f"[ -s {marker} ] || {{ echo asked >{marker}; exec sleep 60; }}"
    variables = pushing(lab, user, push)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(connect, lab, variables)
        wait_until(marker.read_text, 60, "the first question")
        (main,) = playbooks(lab)
        os.killpg(main, signal.SIGINT)
        assert first.result().rc not in (0, 4)
        second = pool.submit(connect, lab, variables)
        second.result(40).check()


def test_a_login_that_hangs_ends_with_the_time_for_all_hops(lab: Lab, user: User) -> None:  # trust: T25
    """Otherwise with that of OpenSSH's server, two minutes."""
    variables = pushing(lab, user, "exec sleep 60") | {"ansible_ssh_jump_timeout": 2}
    told = message(connect(lab, variables))
    assert "no answer to the login within 2 seconds" in told
