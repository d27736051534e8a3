# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Logins that are refused, that nobody answers, and what they could not offer."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lab import TRUE, Prompt, Sshd, certify
from lab.hostile import Plan

from .host_keys import CHECKING, KNOWN
from .provocation import WAITING, Provocation, Stage, Variables

HOP = "target"
KEY = "ansible_ssh_private_key_file"
ARGUMENTS = "ansible_ssh_common_args"
_LATER = ({**TRUE, "name": "Later"},)
_SET = "Set ansible_ssh_prompts, such as {'code of': '<answer>'}."
_CHECK = "Check ansible_user, ansible_password and ansible_ssh_private_key_file."


# Refused, or not answered


def _refused(stage: Stage) -> Variables:
    """A login that others try again, with a key that cannot be used, either."""

    def host() -> Variables:
        arguments = "-o IdentityAgent=/nonexistent"
        return stage.host(stage.sshd(banner="hello\n"), **{KEY: str(_another(stage)), ARGUMENTS: arguments})

    return stage.once("refused", host)


def _another(stage: Stage) -> Path:
    """A key that is not the right one."""
    return stage.lab.key(stage.name("wrong")).path


def _ended(stage: Stage) -> Variables:
    return stage.host(stage.recorder(ends_at={"key": ""}))


def _ended_after_the_password(stage: Stage) -> Variables:
    server = stage.recorder(passwords={}, ends_at={"password": ""})
    return stage.host(server, ansible_password="x", **{KEY: None})


def _with_a_silent_agent(stage: Stage) -> tuple[Sshd, str]:
    """A server of its own, and arguments for an agent that is asked for its keys and says nothing."""
    silent = stage.lab.enter_context(socket.socket(socket.AF_UNIX))
    path = stage.lab.path / stage.name("agent")
    silent.bind(str(path))
    silent.listen()
    return stage.sshd(), f"-o IdentityAgent={path}"


def _unanswered(stage: Stage, **more: Any) -> Variables:
    server, arguments = _with_a_silent_agent(stage)
    return stage.host(server, **{KEY: None, ARGUMENTS: arguments, "ansible_ssh_jump_timeout": 2, **more})


def _waiting_for_another(stage: Stage) -> Variables:
    """The same login over a connection that is made otherwise, which begins when the other has begun."""
    server, arguments = _with_a_silent_agent(stage)
    first = stage.host(server, **{KEY: None, ARGUMENTS: arguments, "ansible_ssh_jump_timeout": 15})
    stage.beside[stage.name("first")] = first
    awaited = {"awaited": str(server.log_path), "words": "Connection from"}
    return first | awaited | {ARGUMENTS: f"-C {arguments}", "ansible_ssh_jump_timeout": 1}


def _matched_too_long(stage: Stage) -> Variables:
    """A question on which a pattern with one repetition in another looks for ever."""
    server = stage.recorder(rounds=[[Prompt(f"{'a' * 60}!: ", "1")]])
    return stage.host(server, **{KEY: None, "ansible_ssh_prompts": {"(a+)+$": "1"}, "ansible_ssh_jump_timeout": 4})


def _asked_too_much(stage: Stage) -> Variables:
    plan = Plan(methods="keyboard-interactive", ask=lambda: ["code"] * 101)
    server = stage.lab.hostile(stage.name("hostile"), plan)
    known = server.known_hosts_lines()
    more = {KEY: None, KNOWN: known, "ansible_ssh_prompts": {"code": "1"}}
    return stage.host((server.address, server.port), **more)


_LOGINS = [
    Provocation(
        "login refused. Tried: …; not offered: …. The server takes: …. It says: …", HOP,
        _refused, _CHECK,
    ),
    Provocation(
        "not tried again, since this login was refused before in this run: …", HOP, _refused, _CHECK, tasks=_LATER
    ),
    Provocation("no answer to the login within … seconds", HOP, _unanswered, "a second factor wait for an answer?"),
    Provocation(
        "the question … took more than … seconds of the patterns of prompts", HOP, _matched_too_long,
        "Write a simpler expression",
    ),
    Provocation("the login failed: …", HOP, _asked_too_much, "Its log may say why."),
    Provocation("the server ended the connection during the login", HOP, _ended, "Its log says why"),
    Provocation("…, after a secret was sent", HOP, _ended_after_the_password, "Its log says why"),
    Provocation(
        "another worker is logging in to it and got no answer within … seconds", HOP, _waiting_for_another,
        "See the error of that worker's host", tasks=WAITING,
    ),
]  # fmt: skip


# Not offered


def _locked(stage: Stage, **more: Any) -> Variables:
    key = stage.once("locked", lambda: stage.lab.key("locked", passphrase="secret"))
    return stage.host(stage.server, **{KEY: str(key.path), **more})


def _of_no_type(stage: Stage) -> Variables:
    return stage.host(stage.server, **{KEY: str(stage.file("nothing\n"))})


def _with_anothers_certificate(stage: Stage) -> Variables:
    certificate = f"{stage.key.path}.pub"
    return stage.host(stage.server, **{KEY: str(_another(stage)), "ansible_ssh_certificate_file": certificate})


def _certificate_alone(stage: Stage) -> Variables:
    signed = certify(stage.key, stage.lab.key(stage.name("signed")), [stage.user.name])
    return stage.host(stage.server, **{KEY: str(_another(stage)), ARGUMENTS: f"-i {signed}"})


def _many_keys(stage: Stage, count: int) -> str:
    return " ".join(f"-i {_another(stage)}" for _number in range(count))


def _keys_and_a_password(stage: Stage) -> Variables:
    server = stage.sshd(password=True, MaxAuthTries=20)
    return stage.host(server, ansible_password="x", **{KEY: None, ARGUMENTS: _many_keys(stage, 5)})


def _too_many_keys(stage: Stage) -> Variables:
    return stage.host(stage.sshd(MaxAuthTries=2), **{KEY: None, ARGUMENTS: _many_keys(stage, 3)})


def _sha1_signatures(stage: Stage) -> Variables:
    server = stage.recorder(signature_algs=["ssh-rsa"])
    return stage.host(server, **{KEY: str(stage.lab.key(stage.name("rsa"), "rsa").path)})


def _asking(stage: Stage) -> Variables:
    server = stage.recorder(rounds=[[Prompt("Code of the day: ", "1")]])
    return stage.host(server, ansible_password="x", **{KEY: None})


def _changed(stage: Stage) -> Variables:
    server = stage.sshd(password=True)
    known = f"[{server.address}]:{server.port} {stage.key.public}"
    return stage.host(server, ansible_password="x", **{KEY: None, KNOWN: known, CHECKING: False})


def _not_offered(words: str, host: Callable[[Stage], Variables], then: str = _CHECK) -> Provocation:
    return Provocation(words, HOP, host, then, before=r"login refused\. Tried: .+?; not offered: (?:.+: |.+; )?")


_NOT_OFFERED = [
    _not_offered("it needs a passphrase and none is set", _locked),
    _not_offered(
        "it cannot be decrypted with the passphrase that is set",
        lambda stage: _locked(stage, ansible_ssh_private_key_passphrase="another"),
    ),
    _not_offered("not a private key of a type that can be used (ed25519, ecdsa, rsa)", _of_no_type),
    _not_offered("not a certificate of …", _with_anothers_certificate),
    _not_offered("a certificate of none of the keys", _certificate_alone),
    _not_offered("the agent cannot be used: …", _refused),
    _not_offered("keys after the first …, to leave tries for the password", _keys_and_a_password),
    _not_offered("anything else: the server ended the login at its MaxAuthTries", _too_many_keys),
    _not_offered("the server takes no RSA signature but SHA-1's, which is refused here", _sha1_signatures),
    _not_offered("the question …, which no entry of prompts answers", _asking, _SET),
    _not_offered("the password, since the host key has changed", _changed),
]

PROVOCATIONS = [*_LOGINS, *_NOT_OFFERED]
