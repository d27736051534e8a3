# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test that what the broker does for a worker ends with the worker, and that all that it has started ends with the broker."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from lab import TRUE, Chain3, Lab, closer, play, playbook, processes, wait_until
from lab.brokers import brokers, leases, status, the_broker, the_socket
from sessions import opened, options_of

from ansible_collections.bastion.ssh.plugins.plugin_utils.broker.control import ask
from ansible_collections.bastion.ssh.plugins.plugin_utils.client.wire import Frame, FrameStream


@contextlib.contextmanager
def worker(lab: Lab, request: dict[str, Any], descriptor: int | None = None) -> Iterator[FrameStream]:
    """Send a request to the broker, and close the connection with the context."""
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(str(the_socket(lab)))
    connection = FrameStream(sock)
    connection.send(request, descriptor=descriptor)
    yield connection
    connection.close()


def until(connection: FrameStream, event: str, words: str = "") -> Frame:
    """Return the first frame of an event whose header contains ``words``."""
    while frame := connection.receive(30):
        if frame.header["event"] == event and words in str(frame.header):
            return frame
    raise AssertionError(f"no {event}")


def test_a_fetch_that_the_target_does_not_answer_ends_with_its_worker(lab: Lab, chain3: Chain3) -> None:
    fifo, there = chain3.users[2].home / "fifo", lab.path / "there"
    os.mkfifo(fifo)
    fifo.chmod(0o666)
    with opened(lab, chain3.variables), there.open("wb") as file:
        request = {"op": "fetch", "source": str(fifo), "target": "x", "options": options_of(lab, chain3.variables)}
        with worker(lab, request, file.fileno()) as connection:
            until(connection, "committed")
            assert leases(lab) == 3
        wait_until(lambda: not leases(lab), 30, "the end of the lease")
        wait_until(lambda: not status(lab)["workers"], 30, "the end of the conversation")


def test_nothing_is_tried_again_for_a_worker_that_has_left(lab: Lab, chain3: Chain3) -> None:
    sink = lab.sink(closer)
    there = chain3.variables | {"ansible_host": sink.address, "ansible_port": sink.port, "ansible_ssh_jump": "none"}
    options = options_of(lab, there | {"ansible_ssh_retries": 50})
    with opened(lab, chain3.variables):
        with worker(lab, {"op": "start", "command": "true", "options": options}) as connection:
            for _failure in range(3):
                until(connection, "note", "Trying again in ")
        wait_until(lambda: not status(lab)["workers"], 2, "the end of the conversation")
        assert sink.connections == 3


STUBBORN = """
import os, signal, socket, sys, threading
signal.signal(signal.SIGHUP, signal.SIG_IGN)
sock = socket.create_connection((sys.argv[1], int(sys.argv[2])))
def copy(read, write):
    while data := read(65536):
        write(data)
threading.Thread(target=copy, args=(lambda size: os.read(0, size), sock.sendall), daemon=True).start()
copy(sock.recv, lambda data: os.write(1, data))
signal.pause()
"""


@pytest.mark.parametrize("end", ["stopped", "idle"])
def test_a_proxy_command_that_does_not_want_to_end_is_ended_with_the_broker(lab: Lab, end: str) -> None:
    user, key, script = lab.user("target"), lab.key("key"), lab.path / "stubborn.py"
    script.write_text(STUBBORN)
    server = lab.sshd("target", users=[user], keys=[key])
    lab.trust(server)
    persist = 60 if end == "stopped" else 15
    hosts = {
        f"host{number}": {
            "ansible_connection": "bastion.ssh.jump", "ansible_host": server.address, "ansible_port": server.port,
            "ansible_user": user.name, "ansible_ssh_private_key_file": str(key.path), "ansible_ssh_persist": persist,
            "ansible_proxy_command": f"{sys.executable} {script} %h %p {number}",
        }
        for number in range(3)
    }  # fmt: skip
    playbook(lab, hosts, play(TRUE)).check()
    broker = the_broker(lab)
    commands = processes.descendants(broker)
    assert len(commands) == 3
    if end == "stopped":
        assert [answer["pid"] for answer in ask([str(lab.broker_directory)], "stop")] == [broker]
    wait_until(lambda: not brokers(lab), 60, "the end of the broker")
    assert [pid for pid in commands if processes.is_alive(pid)] == []


def test_a_small_file_does_not_fit_on_a_full_disk(lab: Lab, chain3: Chain3) -> None:
    source = chain3.users[2].home / "small"
    source.write_bytes(b"small")
    with opened(lab, chain3.variables), Path("/dev/full").open("wb") as full:
        request = {"op": "fetch", "source": str(source), "target": "x", "options": options_of(lab, chain3.variables)}
        with worker(lab, request, full.fileno()) as connection:
            told = until(connection, "error")
    assert "cannot write x: No space left on device" in str(told.header["values"])
