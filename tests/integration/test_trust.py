# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the playbook bastion.ssh.trust: host keys are shown, compared and added, over real bastions."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import select
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from lab import Chain3, Lab, certify, environment, play, playbook
from lab.chains import hop_name
from lab.playbook import own_playbook
from sessions import options_of

from ansible_collections.bastion.ssh.plugins.plugin_utils.client.interface import Report
from ansible_collections.bastion.ssh.plugins.plugin_utils.pool.direct import DirectSession


@pytest.fixture
def known(lab: Lab) -> Path:
    """Provide an empty known_hosts file."""
    path = lab.path / "known"
    path.touch()
    return path


def inventory(chain3: Chain3, known: Path) -> dict[str, Any]:
    return chain3.variables | {"ansible_ssh_known_hosts": str(known)}


def trust(lab: Lab, chain3: Chain3, known: Path, *args: str, expected: int = 0) -> str:
    """Run the playbook and return its output, with blanks collapsed."""
    file = lab.path / "trust.json"
    hosts = {"web": inventory(chain3, known), "here": {"ansible_connection": "local"}}
    file.write_text(json.dumps({"all": {"hosts": hosts}}))
    return re.sub(r"\s+", " ", own_playbook(lab, "bastion.ssh.trust", "-i", str(file), *args, expected=expected))


def lines_of(chain3: Chain3) -> list[str]:
    return [host.known_hosts_line() for host in chain3.hosts]


def written(known: Path) -> list[str]:
    return known.read_text().splitlines()


def test_an_unknown_bastion_is_shown_and_not_passed(lab: Lab, chain3: Chain3, known: Path) -> None:
    shown = trust(lab, chain3, known, expected=2)
    assert f"{chain3.users[0].name}@{chain3.a.endpoint}: ssh-ed25519 {chain3.a.fingerprint()}: new" in shown
    assert chain3.b.endpoint not in shown
    assert "not trusted: a host key is new, and was not confirmed" in shown
    assert "connection local: here" in shown
    assert written(known) == []
    assert [host.logins() for host in chain3.hosts] == [[], [], []]


@pytest.mark.ways("broker", "own process")
def test_what_is_accepted_is_added_without_a_login_to_the_target(lab: Lab, chain3: Chain3, known: Path) -> None:
    shown = trust(lab, chain3, known, "-e", "bastion_ssh_accept=true")
    for user, host in zip(chain3.users, chain3.hosts, strict=True):
        assert re.search(rf"{user.name}@{host.endpoint}\)?: ssh-ed25519 {re.escape(host.fingerprint())}: added", shown)
    assert written(known) == lines_of(chain3)
    assert (len(chain3.a.logins()), len(chain3.b.logins())) == (1, 1)
    assert chain3.target.userauth_requests() == []
    # Once more: all of it is known, and nothing is added.
    assert trust(lab, chain3, known).count(": known") == 3
    assert written(known) == lines_of(chain3)
    assert chain3.target.userauth_requests() == []
    playbook(lab, {"web": inventory(chain3, known)}, play({"ansible.builtin.raw": "true"})).check()


# trust: T09
@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_changed_key_is_never_added(place: int, lab: Lab, chain3: Chain3, known: Path) -> None:
    known.write_text("".join(f"{line}\n" for line in lines_of(chain3)))
    before = known.read_text()
    chain3.hosts[place].swap_keys()
    shown = trust(lab, chain3, known, "-e", "bastion_ssh_accept=true", expected=2)
    assert re.search(rf"{hop_name(place, 3)} [^\"]*: refused", shown)
    assert "the host key has changed: the server shows" in shown
    assert known.read_text() == before


# trust: T01
@pytest.mark.ways("own process")
def test_a_bastion_whose_key_another_task_adds_meanwhile_is_not_left_out(lab: Lab, chain3: Chain3, known: Path) -> None:
    """Its key is unknown at the first login, and known a moment later when it is scanned."""
    first, second, _target = lines_of(chain3)
    known.write_text(f"{first}\n")

    def add(line: str) -> None:
        if line.startswith("jump host 2 of 2") and line.endswith("looking at its host key"):
            known.write_text(f"{first}\n{second}\n")

    options = options_of(lab, chain3.variables) | {"known_hosts": [str(known)]}
    with contextlib.closing(DirectSession(options, Report(note=add, warn=add))) as session:
        found = session.scan_host_keys(False, None)
    assert [hop["status"] for hop in found] == ["known", "known", "new"], found
    assert chain3.a.count("but the request was denied") == 0
    assert len(chain3.b.logins()) == 1


def test_only_named_fingerprints_are_added(lab: Lab, chain3: Chain3, known: Path) -> None:
    task = {"name": "Trust", "bastion.ssh.trust": {"accept": True, "fingerprints": [chain3.a.fingerprint()]}}
    result = playbook(lab, {"web": inventory(chain3, known)}, play(task)).check().result("web").result
    assert [hop["status"] for hop in result["hops"]] == ["added", "new"]
    assert (result["new"], result["trusted"], result["changed"]) == ([chain3.b.fingerprint()], False, True)
    assert written(known) == lines_of(chain3)[:1]


def test_check_mode_adds_nothing(lab: Lab, chain3: Chain3, known: Path) -> None:
    task = {"name": "Trust", "bastion.ssh.trust": {"accept": True}, "check_mode": True}
    result = playbook(lab, {"web": inventory(chain3, known)}, play(task)).check().result("web").result
    assert [hop["status"] for hop in result["hops"]] == ["new"]
    assert written(known) == []


def test_a_host_of_an_authority_is_known(lab: Lab, chain3: Chain3, known: Path) -> None:
    ca, target = lab.key("host-ca"), chain3.target
    certify(ca, target.keys["ed25519"], [target.address], host=True)
    target.options["HostCertificate"] = str(target.keys["ed25519"].certificate)
    target.restart()
    known.write_text("\n".join([*lines_of(chain3)[:2], f"@cert-authority * {ca.public}", ""]))
    assert "with a certificate: known" in trust(lab, chain3, known)


def test_a_hop_that_is_not_reached_is_an_error(lab: Lab, chain3: Chain3, known: Path) -> None:
    chain3.b.stop()
    shown = trust(lab, chain3, known, "-e", "bastion_ssh_accept=true", expected=2)
    assert re.search(r"jump host 2 of 2 [^\"]*: unreachable", shown)
    assert "the hop before it cannot connect to" in shown
    assert written(known) == lines_of(chain3)[:1]


@pytest.mark.parametrize(("answer", "asked", "status"), [("yes", 3, 0), ("no", 1, 2)])
def test_a_user_with_a_terminal_is_asked_once_about_each_key(
    answer: str, asked: int, status: int, lab: Lab, chain3: Chain3, known: Path
) -> None:
    """In one run, hop by hop, for two hosts with the same jump hosts and one key; however long the user compares it, no jump
    host is logged in to twice, as a one-time code would not do that.
    """
    file = lab.path / "trust.json"
    hosts = dict.fromkeys(("web", "twin"), inventory(chain3, known) | {"ansible_ssh_persist": 0.01})
    file.write_text(json.dumps({"all": {"hosts": hosts}}))
    run = [str(Path(sys.executable).parent / "ansible-playbook"), "bastion.ssh.trust", "-i", str(file)]
    command = ["setsid", "--ctty", "--wait", *run]
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        command, cwd=lab.path, env=environment(lab), stdin=theirs, stdout=theirs, stderr=theirs
    ) as process:
        os.close(theirs)
        said = _talk(ours, answer)
        assert process.wait(60) == status, said
    assert said.count("New host key: ") == asked, said
    assert said.count(", before web, twin") == min(asked, 2)
    assert ("fatal:" in said) is (status != 0), said
    assert written(known) == lines_of(chain3)[: 0 if status else asked]
    assert [len(host.logins()) for host in (chain3.a, chain3.b)] == ([0, 0] if status else [1, 1])
    assert chain3.target.userauth_requests() == []


def _talk(terminal: int, answer: str) -> str:
    """Answer the question, and return all output; input typed before the question is discarded, so the answer is repeated."""
    said = b""
    with open(terminal, "r+b", buffering=0) as stream:
        while True:
            if b"Type yes" in said and not select.select([stream], [], [], 1)[0]:
                stream.write(answer.encode() + b"\r")
                continue
            try:
                said += stream.read(4096)
            except OSError:  # all that had it open have ended
                return said.decode()
