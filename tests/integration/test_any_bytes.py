# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test bytes that are not UTF-8 in texts of servers, agents and files: RFC 4251 requires UTF-8, but older servers send Latin-1."""

from __future__ import annotations

import base64
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from fuzzing.case import Case
from fuzzing.channels import FILE
from fuzzing.packets import HostKey
from fuzzing.server import ADDRESS, AnyServer
from fuzzing.talk import QUESTIONS
from lab import Key, Lab
from sessions import OpenSession, opened

from ansible_collections.bastion.ssh.plugins.plugin_utils.chain.model import TransferMethod
from ansible_collections.bastion.ssh.plugins.plugin_utils.errors import HopError, JumpError

HOP = rf"^target root@{ADDRESS}:\d+: "
ODD = "f\xfcr \xff\xfe"
# RFC 4250 section 4.1.2, RFC 4252
DISCONNECT, IGNORE, DEBUG, BANNER, GLOBAL_REQUEST = 1, 2, 4, 53, 80
CHANNEL_OPEN, OPEN_FAILURE, CHANNEL_REQUEST = 90, 92, 98
STATUS = 101  # draft-ietf-secsh-filexfer-02 section 3
LISTS = {"key exchanges": 2, "host keys": 3, "ciphers": 4, "ciphers back": 5, "MACs": 6, "MACs back": 7}
USUAL = ["curve25519-sha256@libssh.org", "ssh-ed25519", *["aes128-ctr"] * 2, *["hmac-sha2-256"] * 2, *["none"] * 2]


def text(words: str) -> str:
    """Return a string as it is encoded in a message."""
    return len(words).to_bytes(4, "big").decode("latin-1") + words


def u32(number: int) -> str:
    return number.to_bytes(4, "big").decode("latin-1")


def runs(session: OpenSession, _path: Path) -> None:
    assert session.run("true").stdout == b"out\n"


def ends_by_signal(session: OpenSession, _path: Path) -> None:
    result = session.run("true")
    assert result.status == 255
    assert b"the command was ended by signal f" in result.stderr


def puts(session: OpenSession, path: Path) -> None:
    (path / "file").write_bytes(FILE)
    session.session.put(str(path / "file"), "there")


def fetches(session: OpenSession, path: Path) -> None:
    session.session.fetch("there", str(path / "fetched"))
    assert (path / "fetched").read_bytes() == FILE


@dataclass(frozen=True)
class Place:
    """Describe where the bytes occur.

    :param plan: what the server says, as of a :class:`Case`.
    :param error: what an error has to say, where there has to be one.
    """

    plan: dict[str, list[list[Any]]]
    act: Callable[[OpenSession, Path], None] = runs
    error: str = ""
    login: str = "key"
    key_type: str = "ed25519"
    variables: dict[str, Any] = field(default_factory=dict)


def before(step: str, kind: int, body: str, **more: Any) -> Place:
    """Return a case in which another message comes before that of a step."""
    return Place({step: [["before", kind, body]]}, **more)


def with_field(step: str, index: int, value: str, **more: Any) -> Place:
    """Return a case in which one field of a step's message is replaced."""
    return Place({step: [["set", index, value]]}, **more)


def status(step: str, number: int, **more: Any) -> Place:
    """Return a case in which SFTP ends in an error with such a message."""
    body = u32(number) + u32(4) + text(ODD) + text(ODD)
    return Place({step: [["before", STATUS, body], ["drop"]]}, **more)


PLACES = {
    "a line before the version": before("version", ord("Z"), f"ugriff {ODD}\r\n"),
    "as many lines before the version as ssh takes": Place({"version": [["before", 10, [[f"{ODD}\n", 1022]]]]}),
    "a line more": Place(
        {"version": [["before", 10, [[f"{ODD}\n", 1023]]]]}, error="the key exchange failed: it sent 1024 lines and no version"
    ),
    "the version": with_field("version", 0, f"SSH-2.0-odd {ODD}\r\n"),
    "languages": Place({"kexinit": [["set", 10, f"{ODD},en"], ["set", 11, f"{ODD},en"]]}),
    **{name: with_field("kexinit", index, f"{ODD},{USUAL[index - 2]}") for name, index in LISTS.items()},
    "name of an extension": with_field("extensions", 2, ODD),
    "signatures that it takes": with_field("extensions", 3, f"{ODD},rsa-sha2-256", key_type="rsa"),
    "banner": before("none", BANNER, text(ODD) + text(ODD)),
    "methods": with_field("none", 1, f"{ODD},publickey"),
    "title": with_field("question", 1, ODD, login="questions"),
    "instructions": with_field("question", 2, ODD, login="questions"),
    "language of questions": with_field("question", 3, ODD, login="questions"),
    "question": with_field("question", 5, f"{ODD} code: ", login="questions"),
    "words for a debugger": before("data", DEBUG, "\1" + text(ODD) + text(ODD)),
    "what is to be ignored": before("data", IGNORE, text(ODD)),
    "request": before("data", GLOBAL_REQUEST, text(ODD) + "\1"),
    "channel": before("data", CHANNEL_OPEN, text(ODD) + u32(5) * 3),
    "request of a channel": before("data", CHANNEL_REQUEST, u32(0) + text(ODD) + "\1"),
    "signal": Place(
        {"status": [["set", 2, "exit-signal"], ["set", 4, ODD], ["extend", "\0" + text(ODD) + text(ODD)]]}, ends_by_signal
    ),
    "refusal of a channel": Place(
        {"open": [["before", OPEN_FAILURE, u32(0) + u32(4) + text(ODD) + text(ODD)], ["drop"]]}, error="no session: f"
    ),
    "last words": before("data", DISCONNECT, u32(11) + text(ODD) + text(ODD), error="the connection was lost: the server disconnected and said: f"),
    "extensions of SFTP": Place({"sftp version": [["set", 2, ODD], ["set", 3, ODD]]}, puts),
    "handle": with_field("sftp handle", 2, ODD, act=fetches),
    "why a file cannot be read": status("sftp handle", 2, act=fetches, error="cannot read there: f"),
    "why a file cannot be written": status("sftp handle", 2, act=puts, error="cannot write there: f"),
    "the end of a file": with_field("sftp end", 3, ODD, act=fetches),
}  # fmt: skip


@pytest.fixture
def files(lab: Lab) -> Path:
    path = lab.path / "files"
    path.mkdir()
    return path


# trust: T53, T54
@pytest.mark.ways("own process")
@pytest.mark.parametrize("name", PLACES)
def test_bytes_of_a_server_need_not_be_utf_8(lab: Lab, files: Path, name: str) -> None:
    place, host_key = PLACES[name], HostKey()
    key = lab.key("key", type=place.key_type)
    case = Case(login=place.login, patience=20, plan=place.plan)
    with AnyServer(lab.loop, case, host_key) as server:
        lab.trust(f"odd ssh-ed25519 {base64.b64encode(host_key.blob).decode()}")
        variables = _variables(key, server.port) | place.variables
        with opened(lab, variables, TransferMethod.SFTP, first=None) as session:
            if place.error:
                with pytest.raises(JumpError, match=HOP + place.error):
                    place.act(session, files)
            else:
                place.act(session, files)


def _variables(key: Key, port: int) -> dict[str, Any]:
    prompts = {question.decode(): "answer" for question in QUESTIONS}
    end = {"ansible_host": ADDRESS, "ansible_port": port, "ansible_user": "root", "ansible_ssh_host_key_alias": "odd"}
    return end | {"ansible_ssh_private_key_file": str(key.path), "ansible_ssh_prompts": prompts}


def test_comments_of_keys_need_not_be_utf_8(lab: Lab) -> None:
    """Test the keys of an agent, of known_hosts and of a key file."""
    key = lab.key("key")
    server = lab.sshd("target", keys=[key])
    subprocess.run(
        ["ssh-keygen", "-q", "-c", "-C", b"f\xfcr \xff", "-f", key.path], check=True, stdout=subprocess.DEVNULL
    )
    agent = lab.agent(key)
    lab.trust(server)
    known = lab.home / ".ssh/known_hosts"
    known.write_bytes(b"# \xff\n" + known.read_bytes().rstrip() + b" f\xfcr \xff\n")
    end = {"ansible_host": server.address, "ansible_port": server.port, "ansible_user": "root"}
    arguments = {"ansible_ssh_args": f"-o IdentityAgent={agent.socket}"}
    with opened(lab, end | arguments) as session:
        assert session.run("echo out").stdout == b"out\n"
    assert agent.signatures() == 1


def test_words_of_a_proxy_command_need_not_be_utf_8(lab: Lab) -> None:
    script = lab.path / "proxy"
    script.write_text(r"printf 'f\374r \377' >&2")
    end = {"ansible_host": "web", "ansible_user": "root", "ansible_proxy_command": f"sh {script}"}
    with opened(lab, end, first=None) as session, pytest.raises(HopError, match="exited with status 0: f"):
        session.run("true")
