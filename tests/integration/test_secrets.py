# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test which secrets of a run are left when it is over: in the broker's memory, and in the run's directory."""

from __future__ import annotations

import hashlib
import hmac
import os
import resource
import signal
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_ssh_private_key
from lab import Key, Lab, Prompt, Run, grep_tree, play, playbook, processes, raw, wait_until
from lab.brokers import playbooks, status, the_broker
from lab.chains import CONNECT, place
from lab.playbook import PING
from sessions import options_of

from ansible_collections.bastion.ssh.plugins.plugin_utils.chain.identity import login_of
from ansible_collections.bastion.ssh.plugins.plugin_utils.chain.model import canonical
from ansible_collections.bastion.ssh.plugins.plugin_utils.settings import read_settings

#: Seconds after which nothing may be left; a look at all of the memory takes some of them.
_LEFT_NO_LONGER_THAN = 15


def copies(pid: int, secrets: Mapping[str, bytes]) -> dict[str, int]:
    """Return how often each secret occurs in the memory of a process."""
    found = dict.fromkeys(secrets, 0)
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            ends, rights, *_rest = line.split()
            if "w" not in rights:
                continue
            start, end = (int(number, 16) for number in ends.split("-"))
            try:
                memory.seek(start)
                data = memory.read(end - start)
            except OSError:  # given back meanwhile
                continue
            for name, secret in secrets.items():
                found[name] += data.count(secret)
    return {name: count for name, count in found.items() if count}


def until_forgotten(lab: Lab, secrets: Mapping[str, bytes]) -> None:
    """Wait until the only broker has no secret in its memory."""
    broker, left = the_broker(lab), {}

    def is_left() -> bool:
        nonlocal left
        left = copies(broker, secrets)
        return bool(left)

    try:
        wait_until(lambda: not is_left(), _LEFT_NO_LONGER_THAN, "no secret in its memory")
    except TimeoutError:
        raise AssertionError(f"in the memory of the broker: {left}") from None


def private_parts(key: Key) -> dict[str, bytes]:
    """Return the secret parts of an Ed25519 key: lines of its text, and its seed."""
    text = key.private
    private = load_ssh_private_key(text.encode(), key.passphrase.encode() if key.passphrase else None)
    plain = private.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode()
    seed = private.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
    # Of four lines, the first has the public key and what all keys have in common.
    return {"seed": seed} | {
        f"{kind}, line {number}": line.encode()
        for kind, lines in (("text", text), ("plain text", plain))
        for number, line in enumerate(lines.splitlines()[3:-1])
        if len(line) > 10
    }


class Secrets:
    """Run servers that ask for a secret of each kind, with the variables that hold them, and all secrets by name."""

    def __init__(self, lab: Lab) -> None:
        rounds = [[Prompt("Password: ", "SENTINEL-first-password")], [Prompt("Verification code: ", "83551294")]]
        first = lab.recorder("first", rounds=rounds, passwords=None)
        keys = {"text": lab.key("as-text"), "locked": lab.key("locked", passphrase="SENTINEL-passphrase")}
        user = lab.user("secretive", sudo="password")
        second = lab.sshd("second", users=[user], keys=[keys["text"]])
        target = lab.sshd(
            "target",
            users=[user],
            keys=[keys["locked"]],
            pam=True,
            AuthenticationMethods="publickey,keyboard-interactive",
        )
        lab.trust(first, second, target)
        jump = [
            {
                "host": first.address, "port": first.port, "user": "edge", "password": "SENTINEL-first-password",
                "prompts": {"verification": "83551294", "pin": "SENTINEL-answer"}, "proxy_command": f"{CONNECT} %h %p",
            },
            {"host": second.address, "port": second.port, "user": user.name, "private_key": keys["text"].private},
        ]  # fmt: skip
        self.variables = place(
            target, user, ansible_password=user.password, ansible_ssh_jump=jump,
            ansible_ssh_private_key_file=str(keys["locked"].path), ansible_ssh_private_key_passphrase="SENTINEL-passphrase",
            ansible_become=True, ansible_become_password=user.password, ansible_ssh_persist=300,
        )  # fmt: skip
        self.environment = {"DEPLOY_TOKEN": "SENTINEL-of-the-environment"}
        texts = {
            "password of a jump host": "SENTINEL-first-password",
            "answer": "SENTINEL-answer",
            "one-time code": "83551294",
            "password of the target, and for become": user.password,
            "passphrase": "SENTINEL-passphrase",
            "environment": "SENTINEL-of-the-environment",
        }
        self.all = {name: text.encode() for name, text in texts.items()}
        for name, key in keys.items():
            self.all |= {f"key {name}: {part}": secret for part, secret in private_parts(key).items()}

    def run(self, lab: Lab, **variables: Any) -> Run:
        return playbook(lab, {"host": self.variables | variables}, play(PING), env=self.environment)


@pytest.fixture
def core_limit() -> Iterator[tuple[int, int]]:
    """Set the size limit of core dumps of the commands that a test runs."""
    before = resource.getrlimit(resource.RLIMIT_CORE)
    wanted = (4096 if before[1] == resource.RLIM_INFINITY else before[1], before[1])
    resource.setrlimit(resource.RLIMIT_CORE, wanted)
    yield wanted
    resource.setrlimit(resource.RLIMIT_CORE, before)


# trust: T57
def test_nothing_secret_is_left_in_the_broker_while_its_connections_are_kept(
    lab: Lab, core_limit: tuple[int, int]
) -> None:
    secrets = Secrets(lab)
    secrets.run(lab).check()
    until_forgotten(lab, secrets.all)
    # What the broker's own memory is looked after with is nothing to the commands that it runs.
    command = next(
        pid
        for pid in processes.descendants(the_broker(lab))
        if CONNECT.split()[1].encode() in processes.command_line(pid)
    )
    told = processes.environment(command)
    assert b"SENTINEL-of-the-environment" in told
    assert b"GLIBC_TUNABLES" not in told
    assert b"PYTHONMALLOC" not in told
    # Nor are its limits: neither it nor its dump is to be read by others.
    assert resource.prlimit(the_broker(lab), resource.RLIMIT_CORE) == (0, core_limit[1])
    assert resource.prlimit(command, resource.RLIMIT_CORE) == core_limit
    assert [transport["state"] for transport in status(lab)["transports"]] == ["open"] * 3


# trust: T57
@pytest.mark.parametrize(
    ("variables", "refused"),
    [
        ({"ansible_password": "SENTINEL-wrong"}, "target "),
        ({"ansible_ssh_private_key_passphrase": "SENTINEL-wrong"}, "target "),
        ({"ansible_become_password": "SENTINEL-wrong"}, "Incorrect sudo password"),
    ],
    ids=["password", "passphrase", "become password"],
)
def test_nothing_secret_is_left_in_the_broker_after_a_refusal(
    lab: Lab, variables: dict[str, str], refused: str
) -> None:
    secrets = Secrets(lab)
    result = secrets.run(lab, **variables).result("host")
    assert result.status != "ok"
    assert refused in result.result["msg"]
    until_forgotten(lab, secrets.all | {"wrong": b"SENTINEL-wrong"})


# trust: T57
@pytest.mark.ways("broker", "own process")
def test_nothing_that_a_killed_run_leaves_tells_a_right_guess_from_a_wrong_one(lab: Lab, marker: Path) -> None:
    user, temporary = lab.user("guessed"), lab.path / "temporary"
    host = lab.sshd("host", users=[user], password=True)
    known = {"ansible_ssh_known_hosts": [str(lab.trust(host))], "ansible_ssh_look_for_keys": False}
    variables = place(host, user, ansible_password=user.password, ansible_ssh_config_file="none", **known)
    wait = raw(f"echo begun >> {marker}; exec sleep 60")
    with ThreadPoolExecutor(1) as pool:
        run = pool.submit(playbook, lab, {"host": variables}, play(wait), env={"ANSIBLE_LOCAL_TEMP": str(temporary)})
        wait_until(lambda: marker.read_text() or run.done(), 60, "the command has started")
        for pid in playbooks(lab):
            os.killpg(pid, signal.SIGKILL)  # its workers, too
        assert run.result().rc != 0
    left = list(temporary.glob("*/bastion-ssh-logins/*"))
    assert b"proven" in [path.read_bytes() for path in left]
    assert grep_tree(temporary, [user.password]) == []
    # An attacker who has the whole directory and knows everything else about the login tries passwords, including the right one.
    options = options_of(lab, variables) | {"login_name": "root"}
    identity = repr([canonical(login_of(hop)) for hop in read_settings(options).chain.hops]).encode()
    assert repr(user.password).encode() in identity
    keys = [b"", *(path.read_bytes() for path in left), *(path.name.encode() for path in temporary.rglob("*"))]
    names = {hmac.new(key, identity, hashlib.sha256).hexdigest() for key in keys}
    assert not names & {path.name for path in left}
