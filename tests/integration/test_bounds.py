# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test servers that send more than they may, or what cannot be parsed: each ends only its own connection."""

from __future__ import annotations

import os
import resource
import socket
import struct
import sys
import threading
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import paramiko
import pytest
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from lab import Lab, Prompt
from lab.brokers import address_space, forget_peak, log, peak_memory, the_broker
from lab.hostile import (
    CHANNEL_DATA,
    CHANNEL_EXTENDED_DATA,
    CHANNEL_OPEN,
    CHANNEL_REQUEST,
    HostileServer,
    Plan,
    ends,
    lies_about_length,
    send,
    sends_on,
)
from lab.processes import descriptors, wait_until
from sessions import OpenSession, opened

from ansible_collections.bastion.ssh.plugins.plugin_utils.chain.model import TransferMethod
from ansible_collections.bastion.ssh.plugins.plugin_utils.client.interface import Exited
from ansible_collections.bastion.ssh.plugins.plugin_utils.errors import CommandError, HopError
from ansible_collections.bastion.ssh.plugins.plugin_utils.patched_paramiko.transport import HopTransport

MEBIBYTE = 1024 * 1024
ROOM = 384 * MEBIBYTE  # measured: 230 for eight hosts, most of it the stacks of their threads, of 8 each
LIE = b"SSH-2.0-x\r\n" + (0xF0000004).to_bytes(4, "big")
# RFC 4250 section 4.1.2, RFC 8308
DISCONNECT, IGNORE, EXT_INFO, BANNER, GLOBAL_REQUEST, OPEN_CONFIRMATION, OPEN_FAILURE = 1, 2, 7, 53, 80, 91, 92
NEWKEYS, WINDOW_ADJUST, CHANNEL_EOF, CHANNEL_CLOSE = 21, 93, 96, 97
# draft-ietf-secsh-filexfer-02 section 3
INIT, VERSION, OPEN, READ, FSTAT, STATUS, HANDLE, DATA, ATTRS = 1, 2, 3, 5, 8, 101, 102, 103, 105


@dataclass(frozen=True)
class Attack:
    """Describe what a server does, what the client requests, and the expected outcome.

    :param outcome: words of the error; empty where there is none.
    """

    outcome: str
    plan: Plan = field(default_factory=Plan)
    act: Callable[[OpenSession, Path], object] = lambda session, _path: session.run("any")
    variables: dict[str, Any] = field(default_factory=dict)


def fetched(session: OpenSession, path: Path) -> None:
    session.session.fetch("any", str(path / "fetched"))


def unread(session: OpenSession, _path: Path) -> None:
    """Run a command and read no output until its server has sent all."""
    process = session.session.start("any")
    try:
        FLOODED.wait(60)
        while not isinstance(process.read(60), Exited):
            pass
    finally:
        process.close()


FLOODED = threading.Event()


def flood(channel: Any, kind: int = CHANNEL_DATA, *before: int) -> None:
    FLOODED.clear()
    try:
        sends_on(lambda: send(channel, kind, channel.remote_chanid, *before, bytes(32768)))
    finally:
        FLOODED.set()


def flood_socket(before: bytes) -> Callable[[socket.socket], None]:
    def act(sock: socket.socket) -> None:
        sock.sendall(before)
        sends_on(lambda: sock.sendall(bytes(b"x" * 32768)), 512)

    return act


def many(count: int, kind: int, *fields: int | bytes | bool | str) -> Callable[[Any], None]:
    """Return an action that sends a message ``count`` times on the transport of a channel, and then ends the command with success."""

    def act(channel: Any) -> None:
        for _number in range(count):
            send(channel, kind, *fields)
        ends(channel, words=b"whole\n")

    return act


def once(kind: int, *fields: int | bytes | bool | str) -> Callable[[Any], None]:
    def act(channel: Any) -> None:
        send(channel, kind, *fields)

    return act


def framed(kind: int, number: int, fields: bytes) -> bytes:
    """Return an SFTP message."""
    body = bytes([kind]) + number.to_bytes(4, "big") + fields
    return len(body).to_bytes(4, "big") + body


def block(number: int, size: int) -> bytes:
    return framed(DATA, number, size.to_bytes(4, "big") + bytes(size))


EXTENSION = b"limits@openssh.com"
LIMITS = framed(VERSION, 3, len(EXTENSION).to_bytes(4, "big") + EXTENSION + b"\0\0\0\x011")


def sftp(answer: Callable[[int], bytes]) -> Plan:
    """Return a plan that speaks SFTP, with ``answer`` as the reply to each READ request, by its number."""

    def act(channel: Any) -> None:
        stream = channel.makefile("rb")
        while head := stream.read(4):
            request = stream.read(int.from_bytes(head, "big"))
            kind, number = request[0], int.from_bytes(request[1:5], "big")
            usual = {
                INIT: framed(VERSION, 3, b""),
                OPEN: framed(HANDLE, number, b"\0\0\0\1h"),
                FSTAT: framed(ATTRS, number, (1).to_bytes(4, "big") + (10).to_bytes(8, "big")),
            }
            channel.sendall(answer(number) if kind == READ else usual.get(kind, framed(STATUS, number, bytes(12))))

    return Plan(sftp=act)


def asks(*texts: str) -> Plan:
    return Plan(methods="keyboard-interactive", ask=lambda: texts)


CODE = {"ansible_ssh_prompts": {"code": "123"}}
NO_LENGTH = "it sent a packet of a length that none has, and 262144 bytes are the most"
WINDOW = "it sends on and on, and ignores the window of a channel"
GCM = ["aes128-gcm@openssh.com"] if "aes128-gcm@openssh.com" in paramiko.Transport._preferred_ciphers else []  # type: ignore[attr-defined]

ATTACKS = {
    # Before any key is known
    "a version without end": Attack(
        "it sent a line of more than 8192 bytes instead of a version", Plan(connected=flood_socket(b"SSH-2.0-"))
    ),
    "a greeting without end": Attack(
        "it sent a line of more than 8192 bytes instead of a version", Plan(connected=flood_socket(b"hello"))
    ),
    "a first packet of 4 GiB": Attack(NO_LENGTH, Plan(connected=flood_socket(LIE))),
    # On each kind of cipher
    **{
        f"a packet of 4 GiB, {cipher} {mac}": Attack(NO_LENGTH, Plan(command=lies_about_length, ciphers=[cipher], macs=[mac]))
        for cipher, mac in [
            *((name, "hmac-sha2-256") for name in GCM),
            ("aes128-ctr", "hmac-sha2-256"),
            ("aes128-ctr", "hmac-sha2-512-etm@openssh.com"),
        ]
    },
    "a compressed packet of 64 MiB": Attack(
        "it sent a compressed packet of more than 262144 bytes",
        Plan(command=once(CHANNEL_DATA, 0, bytes(64 * MEBIBYTE)), compression=True),
        variables={"ansible_ssh_args": "-C"},
    ),
    # In a login
    "banners without end": Attack(
        "it sent more than 100 banners in one login",
        Plan(login=lambda transport: sends_on(lambda: send(transport, BANNER, bytes(32768), ""))),
    ),
    "a long list of methods": Attack(
        "it sent a list of methods of 5000 bytes, and 4096 are the most", Plan(methods="m" * 5000)
    ),
    "a long question": Attack("it asked a question of 5000 bytes, and 4096 are the most", asks("q" * 5000), variables=CODE),
    "many questions": Attack("it asked 101 questions at once, and 100 are the most", asks(*["code"] * 101), variables=CODE),
    "questions without end": Attack("it asked more than 20 times in one login", asks("code"), variables=CODE),
    "a password that has expired": Attack(
        "login refused. Tried: password, expired. The server takes: password. It says: New password:",
        Plan(methods="password", password=once(60, "New password: ", "")),
        variables={"ansible_password": "old"},
    ),
    "four billion extensions": Attack(
        "it sent a message that ends too early", Plan(login=lambda transport: send(transport, EXT_INFO, 0xFFFFFFFF))
    ),
    # On channels
    "a window that is ignored": Attack(WINDOW, Plan(command=flood), unread),
    "a window that is ignored, on stderr": Attack(
        WINDOW, Plan(command=lambda channel: flood(channel, CHANNEL_EXTENDED_DATA, 1)), unread
    ),
    "more bytes at once than were allowed": Attack(
        "it sent 100000 bytes at once on a channel, and 32768 are the most",
        Plan(command=once(CHANNEL_DATA, 0, bytes(100000))),
    ),
    "bytes that are not there": Attack(
        "it sent a message that ends too early", Plan(command=once(CHANNEL_DATA, 0, 1000000))
    ),
    "data before the channel is open": Attack(
        "it sent something on a channel that is not open", Plan(opening=once(CHANNEL_DATA, 0, b"early"))
    ),
    "a channel that is opened twice": Attack(
        "it confirmed a channel that was not requested", Plan(command=once(OPEN_CONFIRMATION, 0, 0, MEBIBYTE, 32768))
    ),
    "channels to all kinds of places": Attack(
        "", Plan(command=many(500, CHANNEL_OPEN, "forwarded-tcpip", 7, MEBIBYTE, 32768, "here", 1, "there", 2))
    ),
    "requests that want answers": Attack(
        "", Plan(command=many(1500, GLOBAL_REQUEST, "hostkeys-00@openssh.com", True, bytes(1000)))
    ),
    "requests of a channel that want answers": Attack(
        "", Plan(command=many(1500, CHANNEL_REQUEST, 0, "any", True))
    ),
    "messages to be ignored": Attack("", Plan(command=many(500, IGNORE, bytes(30000)))),
    "a farewell of 200 KB": Attack(
        "the server disconnected and said: BBBBB", Plan(command=once(DISCONNECT, 2, b"B" * 200000, ""))
    ),
    # In a transfer
    "an SFTP message of 16 MiB": Attack(
        "the connection was lost: it sent an SFTP message of 16777215 bytes, and 262144 are the most",
        sftp(lambda _number: (0x00FFFFFF).to_bytes(4, "big") + bytes(MEBIBYTE)),
        fetched,
    ),
    "a block that is too long": Attack(
        "the connection was lost: it sent a block of 65536 bytes, and 32768 were asked for",
        sftp(lambda number: block(number, 65536)),
        fetched,
    ),
    "an answer to no request": Attack(
        "the connection was lost: it answered an SFTP request that was not made, or twice",
        sftp(lambda number: block(number + 7777, 5)),
        fetched,
    ),
    "an answer that comes twice": Attack(
        "the connection was lost: it answered an SFTP request that was not made, or twice",
        sftp(lambda number: block(number, 5) * 2),
        fetched,
    ),
    "an SFTP limit that is too long": Attack(
        "the connection was lost: it sent an SFTP message of 4294967295 bytes, and 262144 are the most",
        Plan(sftp=lambda channel: channel.sendall(LIMITS + bytes([255] * 4) + bytes(MEBIBYTE))),
        fetched,
    ),
    "a status of no text": Attack(
        "cannot read any: the server gives no reason",
        sftp(lambda number: framed(STATUS, number, (4).to_bytes(4, "big"))),
        fetched,
    ),
}  # fmt: skip


def variables_of(server: Any, **more: Any) -> dict[str, Any]:
    return {"ansible_host": server.address, "ansible_port": server.port, "ansible_user": "root", **more}


def outcome(lab: Lab, attack: Attack, server: HostileServer, **more: Any) -> str:
    """Return the error of an attack; empty if there is none."""
    variables = variables_of(server, **attack.variables, **more)
    try:
        with opened(lab, variables, TransferMethod.SFTP, first=None) as session:
            attack.act(session, lab.path)
    except (HopError, CommandError) as error:
        return str(error)
    return ""


# trust: T53
@pytest.mark.timeout(400)
def test_what_a_server_sends_costs_it_its_own_connection_at_most(lab: Lab) -> None:
    key = lab.key("healthy")
    healthy = lab.sshd("healthy", keys=[key])
    servers = {
        name: lab.hostile(f"attack{number}", attack.plan) for number, (name, attack) in enumerate(ATTACKS.items())
    }
    lab.trust(healthy, *servers.values())
    with opened(lab, variables_of(healthy, ansible_ssh_private_key_file=str(key.path))) as good:
        broker = the_broker(lab)
        meanwhile = good.session.start("cat")
        forget_peak(broker)
        before, found = peak_memory(broker), {}
        for name, attack in ATTACKS.items():
            found[name] = outcome(lab, attack, servers[name])
            assert good.run("echo here").stdout == b"here\n"
        grown = peak_memory(broker) - before
        meanwhile.close_stdin()
        assert isinstance(meanwhile.read(60), Exited)
        meanwhile.close()
    told = {name: attack.outcome if attack.outcome in found[name] else found[name] for name, attack in ATTACKS.items()}
    assert told == {name: attack.outcome for name, attack in ATTACKS.items()}
    named = {name: servers[name].address in text for name, text in found.items() if text}
    assert all(named.values()), found
    assert max(map(len, found.values())) < 2000
    assert grown < 48 * MEBIBYTE
    assert the_broker(lab) == broker
    assert "reading what a server sent" not in log(lab)


# trust: T53
def test_many_packets_of_4_gib_at_once_fit_into_little_memory(lab: Lab) -> None:
    """One server, as eight hosts of an inventory; to each it sends as much of the packet as the client reads."""
    key = lab.key("healthy")
    healthy = lab.sshd("healthy", keys=[key])
    all_in = threading.Barrier(8)

    def command(channel: Any) -> None:
        all_in.wait(60)
        lies_about_length(channel)

    before_keys = lab.hostile("before", Plan(connected=flood_socket(LIE)))
    after = lab.hostile("after", Plan(command=command))
    lab.trust(healthy, before_keys, after)
    with opened(lab, variables_of(healthy, ansible_ssh_private_key_file=str(key.path))) as good:
        broker = the_broker(lab)
        resource.prlimit(broker, resource.RLIMIT_AS, (address_space(broker) + ROOM, resource.RLIM_INFINITY))
        forget_peak(broker)
        before = peak_memory(broker)
        with ThreadPoolExecutor(8) as pool:
            for server in (before_keys, after):
                users = [f"user{number}" for number in range(8)]
                found = list(
                    pool.map(lambda user, server=server: outcome(lab, Attack(""), server, ansible_user=user), users)
                )
                assert [NO_LENGTH in text for text in found] == [True] * 8, found
                assert good.run("echo here").stdout == b"here\n"
        grown = peak_memory(broker) - before
    assert grown < 48 * MEBIBYTE
    assert the_broker(lab) == broker


# trust: T53
@pytest.mark.ways("own process", "broker")
@pytest.mark.parametrize("begin", [b"Welcome to this host.\n", b"\0"])
def test_what_comes_in_place_of_sftp_may_be_the_words_of_a_shell(lab: Lab, begin: bytes) -> None:
    """Files are then transferred with dd, over the same connection."""

    def talks(channel: Any) -> None:
        channel.sendall(begin * 40)
        channel.close()

    def command(channel: Any) -> None:
        mark, _and, _dd = channel.command.removeprefix(b"echo ").partition(b" && dd ")
        ends(channel, words=b"content" if mark == b"any" else b"words%s\ncontent%s\nwords" % (mark, mark))

    server = lab.hostile("server", Plan(sftp=talks, command=command))
    lab.trust(server)
    with opened(lab, variables_of(server), TransferMethod.SMART, first=None) as session:
        fetched(session, lab.path)
        assert (lab.path / "fetched").read_bytes() == b"content"
        assert session.run("any").stdout == b"content"
    assert server.connections == 1


# trust: T18, T53
@pytest.mark.ways("own process")
def test_a_server_opens_so_many_connections_to_a_forwarded_agent_at_once(lab: Lab) -> None:
    answers: list[str] = []
    all_came = threading.Event()

    def count(answer: str) -> Callable[[Any], None]:
        def counted(_message: Any) -> None:
            answers.append(answer)
            if len(answers) == 60:
                all_came.set()

        return counted

    def command(channel: Any) -> None:
        channel.transport._handler_table |= {OPEN_CONFIRMATION: count("opened"), OPEN_FAILURE: count("refused")}
        for number in range(60):
            send(channel, CHANNEL_OPEN, "auth-agent@openssh.com", 1000 + number, MEBIBYTE, 32768)
        all_came.wait(60)
        ends(channel)

    agent = lab.agent().env["SSH_AUTH_SOCK"]
    server = lab.hostile("server", Plan(command=command))
    lab.trust(server)
    variables = variables_of(server, ansible_ssh_args=f"-o ForwardAgent={agent}")
    with opened(lab, variables, first=None) as session:
        assert session.run("any").status == 0
    assert answers == ["opened"] * 32 + ["refused"] * 28


@dataclass
class Rounds:
    """Open channels to the agent, request its keys, close the channels, and repeat that on demand."""

    opened: list[int] = field(default_factory=list)
    wanted: threading.Event = field(default_factory=threading.Event)
    over: threading.Event = field(default_factory=threading.Event)
    done: threading.Event = field(default_factory=threading.Event)

    def command(self, channel: Any) -> None:
        while self.wanted.wait(60) and not self.over.is_set():
            self.wanted.clear()
            for _round in range(4):
                self.opened.append(self._round(channel))
            self.done.set()
        ends(channel)

    @staticmethod
    def _round(channel: Any) -> int:
        numbers: list[int] = []
        answers, all_came = [0], threading.Event()

        def answered(message: Any, opened: bool) -> None:
            message.get_int()
            if opened:
                numbers.append(message.get_int())
            answers[0] += 1
            if answers[0] == 30:
                all_came.set()

        channel.transport._handler_table |= {
            OPEN_CONFIRMATION: partial(answered, opened=True),
            OPEN_FAILURE: partial(answered, opened=False),
            **dict.fromkeys((WINDOW_ADJUST, CHANNEL_EOF, CHANNEL_CLOSE), lambda _message: None),
        }
        for number in range(30):
            send(channel, CHANNEL_OPEN, "auth-agent@openssh.com", 1000 + number, MEBIBYTE, 32768)
        assert all_came.wait(60)
        if not numbers:  # those before have not ended yet
            return 0
        for number in numbers:
            send(channel, CHANNEL_DATA, number, b"\0\0\0\1\x0b")
        for _number in range(32):  # more than the agent's socket takes, where nothing is read
            send(channel, CHANNEL_DATA, numbers[0], bytes(32768))
        for number in numbers:
            send(channel, CHANNEL_CLOSE, number)
        return len(numbers)


# trust: T18, T53
@pytest.mark.ways("broker")
@pytest.mark.parametrize("queue", [1024, 0], ids=["silent", "stuck"])
def test_closed_channels_to_an_agent_that_never_answers_leave_nothing(lab: Lab, queue: int) -> None:
    """Nor does an agent that takes no connection."""
    rounds = Rounds()
    server = lab.hostile("server", Plan(command=rounds.command))
    lab.trust(server)
    path = lab.path / "agent"

    def taken() -> tuple[int, int]:
        return len(os.listdir(f"/proc/{broker}/task")), descriptors(broker)

    def back() -> bool:
        return all(now <= then for now, then in zip(taken(), before, strict=True))

    with (
        socket.socket(socket.AF_UNIX) as agent,
        opened(lab, variables_of(server, ansible_ssh_args=f"-o ForwardAgent={path}"), first=None) as session,
    ):
        agent.bind(str(path))
        agent.listen(queue)
        process = session.session.start("any")
        broker = the_broker(lab)
        before = taken()
        for _time in range(2):
            rounds.done.clear()
            rounds.wanted.set()
            assert rounds.done.wait(60)
            wait_until(back, 8, "end of what the connections to the agent took")
        rounds.over.set()
        rounds.wanted.set()
        assert isinstance(process.read(60), Exited)
        process.close()
    # All of a first round, as the ones before have ended.
    assert (rounds.opened[0], rounds.opened[4]) == (30, 30)


# trust: T59
def test_a_question_that_takes_an_expression_for_ever_holds_up_no_other_host(lab: Lab) -> None:
    """The server receives no answer, which it would count as a failed login."""
    asked = threading.Event()
    rounds: list[str] = []

    def ask() -> list[str]:
        rounds.append("asked" if not rounds else "answered")
        asked.set()
        return ["a" * 1000 + "!"]

    key = lab.key("healthy")
    healthy, slow = lab.sshd("healthy", keys=[key]), lab.hostile("slow", Plan(methods="keyboard-interactive", ask=ask))
    lab.trust(healthy, slow)
    variables = variables_of(slow, ansible_ssh_prompts={"(a+)+$": "123"}, ansible_ssh_jump_timeout=8)
    with (
        opened(lab, variables_of(healthy, ansible_ssh_private_key_file=str(key.path))) as good,
        ThreadPoolExecutor(1) as pool,
    ):
        failing = pool.submit(outcome, lab, Attack(""), slow, **variables)
        assert asked.wait(60)
        assert good.run("echo here").stdout == b"here\n"
        assert not failing.done()
        assert "seconds of the patterns of prompts" in failing.result(), failing.result()
    assert failing.result().startswith(f"target root@{slow.address}:{slow.port}: the question 'aaa")
    assert rounds == ["asked"]


# trust: T59
@pytest.mark.ways("own process")
def test_without_a_process_for_expressions_a_question_is_not_answered(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    rounds: list[str] = []

    def ask() -> list[str]:
        rounds.append("asked" if not rounds else "answered")
        return ["code"]

    server = lab.hostile("server", Plan(methods="keyboard-interactive", ask=ask))
    lab.trust(server)
    monkeypatch.setattr(sys, "executable", "/nonexistent")
    for _time in range(2):  # nothing was refused, so it is tried again
        found = outcome(lab, Attack(""), server, ansible_ssh_prompts={"c.*": "123"})
        assert "as the patterns of prompts need a process, and none can be started: [Errno 2]" in found
        assert found.startswith(f"target root@{server.address}:{server.port}: the question 'code' is not answered")
        assert rounds == ["asked"]
        rounds.clear()


@pytest.mark.ways("own process")
def test_an_expression_with_a_repetition_finds_its_question(lab: Lab) -> None:
    server = lab.recorder(
        "server", rounds=[[Prompt("Password: ", "one"), Prompt("Code\u20ac (SMS, 6 digits): ", "two")]]
    )
    lab.trust(server)
    prompts = {"no such.*": "three", "^pass+word": "one", r"\(sms, \d+ digits\)": "two"}
    with opened(lab, variables_of(server, ansible_ssh_prompts=prompts)) as session:
        assert session.run("echo here").stdout == b"here\n"
    assert server.values("response") == ["one", "two"]


# trust: T46
@pytest.mark.ways("own process", "broker")
def test_a_status_of_more_than_eight_bits_is_never_a_success(lab: Lab) -> None:
    found = {}
    for status in (0, 1, 255, 256, 259, 0x80000000, 0xFFFFFFFF):
        server = lab.hostile(f"server{status}", Plan(command=partial(ends, status=status)))
        lab.trust(server)
        with opened(lab, variables_of(server), first=None) as session:
            result = session.run("any")
            found[status] = result.status
            told = f"the command ended with status {status}. A status has eight bits, so it counts as {result.status}."
            assert (told in result.stderr.decode()) is (status > 255)
    assert found == {0: 0, 1: 1, 255: 255, 256: 255, 259: 3, 0x80000000: 255, 0xFFFFFFFF: 255}


# trust: T54
def test_a_message_that_nothing_can_read_is_a_lost_link_and_in_the_log(lab: Lab) -> None:
    """paramiko accepts new keys without a key exchange, and then fails to use them."""
    server = lab.hostile("server", Plan(command=once(NEWKEYS)))
    lab.trust(server)
    found = outcome(lab, Attack(""), server)
    assert f"root@{server.address}:{server.port}: the connection was lost: the connection broke: " in found
    assert "what it sent cannot be read (TypeError)" in found
    assert f"root@{server.address}:{server.port}: TypeError while reading what a server sent, at " in log(lab)


# trust: T54
@pytest.mark.ways("own process")
@pytest.mark.parametrize("message", ["_parse_global_request", "_parse_newkeys", "_parse_service_accept"])
def test_whatever_a_handler_raises_is_an_error_of_that_hop(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, message: str
) -> None:
    """No server makes paramiko's handlers raise all of these, so the test replaces one."""
    key = lab.key("key")
    server = lab.sshd("server", keys=[key])
    lab.trust(server)
    kinds = [
        KeyError, UnicodeDecodeError, TypeError, struct.error, ValueError, IndexError, AttributeError, AssertionError,
        zlib.error, OverflowError, MemoryError, RecursionError, paramiko.SFTPError, InvalidSignature, UnsupportedAlgorithm,
    ]  # fmt: skip
    for kind in kinds:

        def fails(_transport: Any, _message: Any, kind: type[Exception] = kind) -> None:
            raise UnicodeDecodeError("utf-8", b"x", 0, 1, "no text") if kind is UnicodeDecodeError else kind("words")

        monkeypatch.setattr(HopTransport, message, fails)
        with (
            pytest.raises(HopError, match=f"^target root@{server.address}:{server.port}: "),
            opened(lab, variables_of(server, ansible_ssh_private_key_file=str(key.path)), first=None) as session,
        ):
            session.run("sleep 60")
