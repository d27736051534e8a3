# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbook bastion.ssh.trust: host keys are shown, compared and added, over real bastions."""

from __future__ import annotations

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
from lab.playbook import own_playbook


@pytest.fixture
def known(lab: Lab) -> Path:
    """A known_hosts file with nothing in it."""
    path = lab.path / "known"
    path.touch()
    return path


def inventory(chain3: Chain3, known: Path) -> dict[str, Any]:
    return chain3.variables | {"ansible_ssh_known_hosts": str(known)}


def trust(lab: Lab, chain3: Chain3, known: Path, *args: str, expected: int = 0) -> str:
    """What the playbook prints."""
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
    assert f"hop 1 of 3, {chain3.users[0].name}@{chain3.a.endpoint}: ssh-ed25519 {chain3.a.fingerprint()}: new" in shown
    assert "hop 2 of 3" not in shown
    assert "not trusted yet: run it once more for the hops behind" in shown
    assert "its connection is local" in shown
    assert written(known) == []
    assert [host.logins() for host in chain3.hosts] == [[], [], []]


@pytest.mark.ways("broker", "own process")
def test_what_is_accepted_is_added_without_a_login_to_the_target(lab: Lab, chain3: Chain3, known: Path) -> None:
    shown = trust(lab, chain3, known, "-e", "bastion_ssh_accept=true")
    for number, host in enumerate(chain3.hosts, 1):
        assert re.search(rf"hop {number} of 3, [^\"]*: ssh-ed25519 {re.escape(host.fingerprint())}: added", shown)
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
    assert re.search(rf"hop {place + 1} of 3, [^\"]*: refused", shown)
    assert "the host key has changed: the server shows" in shown
    assert known.read_text() == before


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
    assert re.search(r"hop 2 of 3, [^\"]*: unreachable", shown)
    assert "the hop before it cannot connect to" in shown
    assert written(known) == lines_of(chain3)[:1]


@pytest.mark.parametrize(("answer", "added"), [("yes", 1), ("no", 0)])
def test_whoever_has_a_terminal_is_asked(answer: str, added: int, lab: Lab, chain3: Chain3, known: Path) -> None:
    file = lab.path / "trust.json"
    file.write_text(json.dumps({"all": {"hosts": {"web": inventory(chain3, known)}}}))
    run = [str(Path(sys.executable).parent / "ansible-playbook"), "bastion.ssh.trust", "-i", str(file)]
    command = ["setsid", "--ctty", "--wait", *run]
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        command, cwd=lab.path, env=environment(lab), stdin=theirs, stdout=theirs, stderr=theirs
    ) as process:
        os.close(theirs)
        said = _talk(ours, answer)
        assert process.wait(60) == 2, said  # the hops behind are not trusted yet
    assert written(known) == lines_of(chain3)[:added]


def _talk(terminal: int, answer: str) -> str:
    """Answers what is asked, and returns all that was said; what is typed before the question is thrown away, so it is repeated."""
    said = b""
    with open(terminal, "r+b", buffering=0) as stream:
        while True:
            if b"Type yes" in said and not select.select([stream], [], [], 1)[0]:
                stream.write(answer.encode() + b"\r")
                continue
            try:
                said += stream.read(4096)
            except OSError:  # nobody is there any more
                return said.decode()
