# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is asked of a broker while a server is hostile, and whether what comes of it is as it is promised."""

from __future__ import annotations

import contextlib
import re
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.bastion.ssh.plugins.plugin_utils.client.wire import FrameStream, PeerClosed, ProtocolError
from ansible_collections.bastion.ssh.plugins.plugin_utils.errors import from_wire

from .case import Case

#: Seconds that the client gives each hop, and its keepalives.
TIMEOUT = 4.0
ALIVE = {"ansible_ssh_server_alive_interval": 0.5, "ansible_ssh_server_alive_count_max": 6}
#: Seconds after which there has to be an end: what all of those add up to, for a machine that is busy.
LIMIT = 40.0

#: Errors whose place is a hop.
KINDS = frozenset(
    {
        "AlgorithmsRefused", "CommandError", "ForwardingRefused", "HopTemporarilyUnavailable", "HopUnreachable", "HostKeyRefused",
        "HostKeyUnknown", "LinkLost", "LoginRefused", "SessionLimitReached",
    }
)  # fmt: skip
#: What no message may have, whatever a server says.
_DEFECTS = (
    "the broker failed with",
    "Traceback",
    "{{",
    "{%",
    "object has no attribute",
    "unpack requires",
    "not subscriptable",
)
# In brackets, it is said of what cannot be read.
_PYTHON = re.compile(
    r"(?<![(\w])(?:Key|Type|Value|Attribute|Index|Name|Assertion|Memory|Overflow|Runtime|Unicode\w*)Error\b"
)
_DEFECT = re.compile(r" ERROR \w+( at \w+\.py:.*)?$|Traceback|Exception in thread|Exception ignored")
_LONGEST = 3000

COMMANDS = {"feed": "cat", "wait": "sleep 1", "agent": "ssh-add -l"}
INPUT = bytes(100_000)


@dataclass(frozen=True)
class Outcome:
    """How a request ended.

    :param event: ``exited``, ``done``, the kind of an error, ``no end``, or ``no word`` where the broker hung up.
    """

    event: str
    words: str = ""
    place: str = ""
    seconds: float = 0.0
    status: int | None = 0


@contextlib.contextmanager
def connected(path: Path) -> Iterator[FrameStream]:
    """A worker's connection to a broker."""
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(str(path))
    connection = FrameStream(sock)
    try:
        yield connection
    finally:
        connection.close()


def ask(path: Path, case: Case, options: dict[str, Any], file: Path, there: str) -> Outcome:
    """Asks for what the case says.

    :param file: that is copied, or fetched to.
    :param there: its path on the target.
    """
    begun = time.monotonic()
    with connected(path) as connection:
        outcome = _ended(connection, _header(case.request, options, there), file, begun + LIMIT)
    return Outcome(outcome.event, outcome.words, outcome.place, time.monotonic() - begun, outcome.status)


def _header(request: str, options: dict[str, Any], there: str) -> dict[str, Any]:
    name = request.rpartition(" ")[2]
    more: dict[str, dict[str, Any]] = {
        "put": {"source": "here", "target": there},
        "fetch": {"source": there, "target": "here"},
        "survey": {"accept": False, "fingerprints": None},
    }
    command: dict[str, Any] = {"op": "start", "command": COMMANDS.get(request, "true"), "pty": request == "pty"}
    return {"options": options} | ({"op": name, **more[name]} if name in more else command)


def _ended(connection: FrameStream, header: dict[str, Any], file: Path, end: float) -> Outcome:
    try:
        _send(connection, header, file)
        while (frame := connection.receive(max(0.0, end - time.monotonic()))) is not None:
            event = frame.header.get("event")
            if event == "started" and header["command"] == COMMANDS["feed"]:
                with contextlib.suppress(PeerClosed):
                    connection.send({"op": "in"}, INPUT)
                    connection.send({"op": "eof"})
            elif event == "error":
                return _failed(frame.header)
            elif event == "exited":
                return Outcome("exited", status=frame.header["status"])
            elif event == "done":
                return _done(frame.header)
    except TimeoutError:
        return Outcome("no end")
    except (PeerClosed, ProtocolError) as error:
        return Outcome("no word", str(error))
    return Outcome("no word")


def _send(connection: FrameStream, header: dict[str, Any], file: Path) -> None:
    """With a descriptor of the file, where it is for one."""
    mode = {"put": "rb", "fetch": "wb"}.get(header["op"])
    if mode is None:
        connection.send(header)
        return
    with file.open(mode) as opened:
        connection.send(header, descriptor=opened.fileno())


def _failed(header: dict[str, Any]) -> Outcome:
    error = from_wire(header)
    return Outcome(type(error).__name__, str(error), getattr(error, "place", ""))


def _done(header: dict[str, Any]) -> Outcome:
    """A survey tells of hops that cannot be looked at among those that can."""
    found = [hop for hop in header.get("found", ()) if hop["status"] in ("unreachable", "refused")]
    return Outcome("HopUnreachable", found[0]["msg"], found[0]["hop"]) if found else Outcome("done")


def judge(case: Case, outcome: Outcome) -> str:
    """What is wrong about an outcome; empty if nothing is."""
    if outcome.event == "exited":
        return "" if outcome.status is None or 0 <= outcome.status < 2**32 else f"it ended with {outcome.status}"
    if outcome.event == "done":
        return ""
    if outcome.event not in KINDS:
        return f"{outcome.event}: {outcome.words}"
    words = [word for word in _DEFECTS if word in outcome.words] + _PYTHON.findall(outcome.words)
    if words:
        return f"it has the words of a defect: {outcome.words[:600]}"
    if len(outcome.words) > _LONGEST or not outcome.words.isprintable():
        return f"its words are not safe to show: {outcome.words[:600]!r}"
    # A hop may be blamed for what comes after it, and never for what comes before.
    hops = {"target": ("target",), "behind": ("target",), "bastion": ("jump host 1 of 1", "target")}[case.place]
    if not outcome.place.startswith(hops):
        return f"it names {outcome.place or 'no hop'}: {outcome.words[:600]}"
    return ""


def defects(log: str) -> list[str]:
    """Lines of a broker's log that tell of one; what a server sent and cannot be read is none."""
    return [line[:400] for line in log.splitlines() if _DEFECT.search(line)]
