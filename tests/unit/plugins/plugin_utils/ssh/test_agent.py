# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an agent says that it holds; one that says anything else holds nothing. A real one is in the integration tests."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ansible_collections.bastion.ssh.plugins.plugin_utils import deadline
from ansible_collections.bastion.ssh.plugins.plugin_utils.chain.model import AgentKeys
from ansible_collections.bastion.ssh.plugins.plugin_utils.deadline import Deadline
from ansible_collections.bastion.ssh.plugins.plugin_utils.ssh import agent
from ansible_collections.bastion.ssh.plugins.plugin_utils.ssh.agent import held_keys


def string(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


LIST = b"\x0c\0\0\0\2" + string(b"k") + string(b"comment") + string(b"l") + string(b"")


@contextmanager
def saying(path: Path, answer: bytes, ends: bool, when: threading.Event | None = None) -> Iterator[str]:
    """A socket that gives one answer, whatever it is asked; not before an event, if there is one."""
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen(1)
        done = threading.Event()

        def serve() -> None:
            with listening.accept()[0] as sock:
                assert sock.recv(5) == b"\0\0\0\1\x0b"
                assert when is None or when.wait(30)
                sock.sendall(answer)
                if not ends:
                    done.wait(30)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield str(path)
        finally:
            done.set()
            thread.join(30)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (string(LIST), {b"k", b"l"}),
        (string(b"\x0c\0\0\0\0"), set()),
        (string(b"\x05"), set()),
        (string(b"\x05\0\0\0\0"), set()),
        (string(LIST[:-1]), set()),
        (string(LIST)[:-3], set()),
        (b"", set()),
        (b"\xff\xff\xff\xff", set()),
        (struct.pack(">I", 256 * 1024 + 1), set()),
        (string(b"\x0c\0\0\0\1" + b"\xff\xff\xff\xff"), set()),
        (string(b"\x0c\0\0\0\1" + b"\0\0"), set()),
    ],
)
def test_what_is_no_list_of_keys_is_none(answer: bytes, expected: set[bytes], tmp_path: Path) -> None:
    with saying(tmp_path / "s", answer, ends=True) as path:
        assert held_keys(AgentKeys(path), Deadline(10.0)) == expected


@pytest.mark.parametrize("answer", [b"", string(LIST)[:-1]])
def test_one_that_is_silent_to_the_end_holds_nothing(answer: bytes, tmp_path: Path) -> None:
    with saying(tmp_path / "s", answer, ends=False) as path:
        assert held_keys(AgentKeys(path), Deadline(0.05)) == frozenset()


def test_one_that_waits_for_somebody_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deadline, "_BEAT", 0.02)
    monkeypatch.setattr(agent, "SIGNAL_POLL", 0.02)
    beaten = threading.Event()
    with saying(tmp_path / "s", string(LIST), ends=True, when=beaten) as path:
        assert held_keys(AgentKeys(path), Deadline(10.0), beaten.set) == {b"k", b"l"}
    assert beaten.is_set()


def test_one_that_is_not_there_holds_nothing(tmp_path: Path) -> None:
    for path in (str(tmp_path / "s"), None):
        assert held_keys(AgentKeys(path), Deadline(10.0)) == frozenset()
