# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the lab's other servers and links with the OpenSSH client and plain sockets."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import time

import pytest
from lab import Lab, Prompt, blackhole, closer, stuck
from lab.client import ssh, start_ssh
from lab.sinks import connect


def test_a_recorder_runs_commands_and_writes_down_who_came(lab: Lab) -> None:
    key = lab.key("key")
    server = lab.recorder("server", keys=[key])
    lab.trust(server)
    result = ssh(lab, server, "me", "cat; echo err >&2; exit 255", key=key)
    assert (result.returncode, result.stdout, result.stderr) == (255, "", "err\n")
    assert server.values("command") == ["cat; echo err >&2; exit 255"]
    assert key.fingerprint in server.values("key")
    assert server.values("password") == []


def test_a_recorder_learns_every_password_that_it_is_told(lab: Lab) -> None:
    server = lab.recorder("server", passwords={"me": "right"})
    lab.trust(server)
    once = ("NumberOfPasswordPrompts=1",)
    assert ssh(lab, server, "me", "true", password="wrong", options=once).returncode == 255
    assert ssh(lab, server, "me", "true", password="right", options=once).returncode == 0
    assert server.values("password") == ["wrong", "right"]


def test_a_recorder_asks_for_codes_in_rounds(lab: Lab) -> None:
    rounds = [[Prompt("Code: ", "123"), Prompt("Name: ", "123", echo=True)], [Prompt("Again: ", "123")]]
    server = lab.recorder("server", rounds=rounds, instructions="Look at your token")
    lab.trust(server)
    assert ssh(lab, server, "me", "true", password="123").returncode == 0
    assert server.values("response") == ["123"] * 3
    assert ssh(lab, server, "me", "true", password="124", options=("NumberOfPasswordPrompts=1",)).returncode == 255


def test_a_recorder_forwards_and_sees_agent_requests(lab: Lab) -> None:
    key = lab.key("key")
    target = lab.sshd("target", keys=[key])
    bastion, wall = lab.recorder("bastion", keys=[key]), lab.recorder("wall", keys=[key], forward=False)
    lab.trust(bastion, wall, target)
    assert ssh(lab, target, "root", "true", key=key, jump=f"me@{bastion.endpoint}").returncode == 0
    assert ssh(lab, target, "root", "true", key=key, jump=f"me@{wall.endpoint}").returncode == 255
    assert bastion.values("forward") == wall.values("forward") == [target.endpoint]
    assert bastion.values("agent") == []
    agent = lab.agent(key)
    ssh(lab, bastion, "me", "true", agent=agent, words=("-A",))
    assert len(bastion.values("agent")) == 1


@pytest.mark.parametrize("sftp", [True, False])
def test_a_recorder_has_sftp_or_not(lab: Lab, sftp: bool) -> None:
    key = lab.key("key")
    server = lab.recorder("server", keys=[key], sftp=sftp)
    lab.trust(server)
    assert ("failed" in ssh(lab, server, "me", "sftp", key=key, words=("-s",)).stderr) is not sftp


def test_broken_servers_break_as_they_should(lab: Lab) -> None:
    with connect(lab.sink(stuck).address_pair) as link:
        assert link.recv(10) == b"x"
        link.settimeout(0.1)
        with pytest.raises(TimeoutError):
            link.recv(10)
    with connect(lab.sink(blackhole).address_pair) as link:
        link.settimeout(0.1)
        with pytest.raises(TimeoutError):
            link.recv(10)
    sink = lab.sink(closer)
    with connect(sink.address_pair) as link:
        assert link.recv(10) == b""
    assert sink.connections == 1


def test_a_link_is_cut_under_a_command(lab: Lab) -> None:
    key = lab.key("key")
    host = lab.sshd("host", keys=[key])
    link = lab.forwarder(host)
    lab.trust(host.known_hosts_line(f"[{link.address}]:{link.port}"))
    with start_ssh(lab, link, "root", "echo ready; exec cat", key=key) as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        link.cut()
        assert process.wait(10) == 255
    host.wait_log("Connection reset by peer")
    host.settle()
    assert ssh(lab, link, "root", "echo again", key=key).stdout == "again\n"
    assert link.connections == 2


def test_a_link_stalls_and_goes_on(lab: Lab) -> None:
    key = lab.key("key")
    host = lab.sshd("host", keys=[key])
    link = lab.forwarder(host)
    lab.trust(host.known_hosts_line(f"[{link.address}]:{link.port}"))
    with start_ssh(lab, link, "root", "echo ready; exec cat", key=key) as process:
        assert process.stdin
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        link.stall()
        passed = link.passed["down"]
        process.stdin.write("hello\n")
        process.stdin.close()
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.3)
        assert link.passed["down"] == passed
        link.resume()
        assert process.stdout.read() == "hello\n"
        assert process.wait(10) == 0


def test_a_link_slices_and_damages(lab: Lab) -> None:
    key = lab.key("key")
    host = lab.sshd("host", keys=[key])
    sliced = lab.forwarder(host, slice=7)
    damaged = lab.forwarder(host)
    damaged.flip_after("down", 3000)
    for link in (sliced, damaged):
        lab.trust(host.known_hosts_line(f"[{link.address}]:{link.port}"))
        good = ssh(lab, link, "root", "seq 1000", key=key)
        assert (good.returncode == 0 and good.stdout.endswith("1000\n")) is (link is sliced)
    sliced.cut_after("down", 5000)
    lab.trust(host.known_hosts_line(f"[{sliced.address}]:{sliced.port}"))
    assert ssh(lab, sliced, "root", "seq 100000", key=key).returncode == 255


def test_a_link_delays_limits_ends_one_way_and_refuses(lab: Lab) -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1000):
            writer.write(data)
        writer.write(b"all said")

    server = lab.sink(echo)
    link = lab.forwarder(server, delay=0.2, rate=1000)
    with connect((link.address, link.port)) as sock:
        started = time.monotonic()
        sock.sendall(bytes(200))
        assert read(sock, 200) == bytes(200)
        assert time.monotonic() - started > 2 * link.delay + 200 / link.rate
        link.delay = link.rate = 0
        link.half_close("up")
        assert read(sock, 1000) == b"all said"
    link.refuse()
    with pytest.raises(ConnectionRefusedError):
        connect((link.address, link.port))
    link.listen()
    link.half_close_after("down", 100, "down")
    with connect((link.address, link.port)) as sock:
        sock.sendall(bytes(200))
        assert read(sock, 200) == bytes(100)


def read(sock: socket.socket, count: int) -> bytes:
    """Read ``count`` bytes, or all until the peer closes."""
    data = b""
    while len(data) < count and (piece := sock.recv(count - len(data))):
        data += piece
    return data
