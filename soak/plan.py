# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is played and what is damaged: decisions only. The same seed gives the same plan."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from random import Random
from typing import TypeVar

KIB = 1024
MIB = 1024 * KIB

#: Sizes of the files that are copied and fetched, in bytes; around those of SFTP's and SSH's packets, too.
SIZES = (0, 1, 511, 32 * KIB, 32 * KIB + 1, 100_003, MIB, 3 * MIB + 17, 10 * MIB)


class Kind(Enum):
    """Of a task."""

    RAW = "raw"
    SHELL = "shell"
    OUTPUT = "output"  # much of it, on both streams
    STDIN = "stdin"
    ASYNC = "async"
    DELEGATED = "delegated"
    COPY = "copy"
    FETCH = "fetch"
    RESET = "reset_connection"
    WAIT = "wait_for_connection"


#: Those that append a token to the ledger of the host where they run.
COMMANDS = frozenset({Kind.RAW, Kind.SHELL, Kind.OUTPUT, Kind.STDIN, Kind.ASYNC, Kind.DELEGATED})
#: Those that bring a file.
FILES = frozenset({Kind.COPY, Kind.FETCH})

_TASKS = {
    Kind.RAW: 6, Kind.SHELL: 4, Kind.OUTPUT: 3, Kind.STDIN: 2, Kind.ASYNC: 1, Kind.DELEGATED: 2,
    Kind.COPY: 4, Kind.FETCH: 4, Kind.RESET: 1, Kind.WAIT: 1,
}  # fmt: skip


@dataclass(frozen=True)
class TaskPlan:
    """A task of a play.

    :param rc: with which its command ends.
    :param size: of its file, its input, or each of its output streams; bytes, or lines of output.
    :param pause: seconds that its command takes.
    :param delegate: the host where a delegated task runs.
    """

    number: int
    kind: Kind
    rc: int = 0
    size: int = 0
    pause: float = 0
    delegate: str = ""


@dataclass(frozen=True)
class PlayPlan:
    """A run of ansible-playbook.

    :param shared: whether it uses the broker; else each of its tasks connects by itself.
    """

    number: int
    hosts: tuple[str, ...]
    tasks: tuple[TaskPlan, ...]
    forks: int = 10
    retries: int = 0
    pipelining: bool = True
    method: str = "smart"
    shared: bool = True
    strategy: str = "linear"


def plays(seed: int, hosts: Sequence[str]) -> Iterator[PlayPlan]:
    """Without end."""
    random = Random(f"{seed} plays")
    number = 0
    while True:
        number += 1
        yield _play(random, number, hosts)


def _play(random: Random, number: int, hosts: Sequence[str]) -> PlayPlan:
    chosen = tuple(sorted(random.sample(list(hosts), random.randint(2, len(hosts)))))
    tasks = tuple(_task(random, place, chosen) for place in range(1, random.randint(3, 9) + 1))
    return PlayPlan(
        number,
        chosen,
        tasks,
        forks=random.randint(5, 20),
        retries=random.randint(0, 3),
        pipelining=random.random() < 0.7,
        method=random.choice(("smart", "sftp", "piped")),
        shared=random.random() < 0.85,
        # With the strategy free, hosts would not wait for each other, which meta tasks want.
        strategy="free" if not any(task.kind is Kind.RESET for task in tasks) and random.random() < 0.3 else "linear",
    )


def _task(random: Random, number: int, hosts: Sequence[str]) -> TaskPlan:
    kind = _weighted(random, _TASKS)
    rc = random.choice((0, 0, 0, 1, 3, 255)) if kind in (Kind.RAW, Kind.SHELL, Kind.DELEGATED) else 0
    size = {
        Kind.OUTPUT: random.randint(1, 40_000),
        Kind.STDIN: random.randint(0, 60 * KIB),
        Kind.COPY: random.choice(SIZES),
        Kind.FETCH: random.choice(SIZES),
    }.get(kind, 0)
    pause = round(random.uniform(0, 1.5), 2) if random.random() < 0.3 else 0.0
    return TaskPlan(number, kind, rc, size, pause, random.choice(hosts) if kind is Kind.DELEGATED else "")


def whole_play(number: int, hosts: Sequence[str], *, shared: bool = True) -> PlayPlan:
    """A play of everything on all hosts, which nothing disturbs."""
    tasks = (
        TaskPlan(1, Kind.RAW),
        TaskPlan(2, Kind.SHELL),
        TaskPlan(3, Kind.OUTPUT, size=20_000),
        TaskPlan(4, Kind.STDIN, size=40 * KIB),
        TaskPlan(5, Kind.DELEGATED, delegate=hosts[0]),
        TaskPlan(6, Kind.COPY, size=3 * MIB + 17),
        TaskPlan(7, Kind.FETCH, size=3 * MIB + 17),
        TaskPlan(8, Kind.WAIT),
    )
    return PlayPlan(number, tuple(hosts), tasks, forks=20, shared=shared)


class Fault(Enum):
    """What is done to a link, to a server, or to a process on the controller."""

    CUT = "link reset"
    CUT_AFTER = "link reset at a byte"
    STALL = "link stalled"
    STALL_LONG = "link stalled for longer than keepalives wait"
    STALL_ONE_WAY = "link stalled one way"
    DELAY = "link delayed by 300 ms"
    SLICE = "link of single bytes"
    RATE = "link limited in rate"
    HALF_CLOSE = "link closed one way"
    FLIP = "one bit flipped"
    REFUSE = "link refuses connections"
    KILL_SESSIONS = "server's sessions killed"
    RESTART = "server restarted"
    KILL_BROKER = "broker killed"
    STOP_BROKER = "broker stopped for a time"
    KILL_WORKER = "Ansible's worker killed"


#: Of a link; the place of the others is a server, or nowhere.
OF_LINKS = frozenset(list(Fault)[: list(Fault).index(Fault.KILL_SESSIONS)])
OF_SERVERS = frozenset({Fault.KILL_SESSIONS, Fault.RESTART})

_FAULTS = {
    Fault.CUT: 6, Fault.CUT_AFTER: 4, Fault.STALL: 4, Fault.STALL_LONG: 3, Fault.STALL_ONE_WAY: 2, Fault.DELAY: 4,
    Fault.SLICE: 3, Fault.RATE: 3, Fault.HALF_CLOSE: 2, Fault.FLIP: 4, Fault.REFUSE: 3, Fault.KILL_SESSIONS: 3,
    Fault.RESTART: 2, Fault.STOP_BROKER: 1, Fault.KILL_WORKER: 1,
}  # fmt: skip

#: From when to when the broker may be killed, in parts of the whole: what lives at the end has lived for long.
_KILLS = (0.1, 0.4)

_SECONDS = {
    Fault.STALL: (0.3, 2.0),
    Fault.STALL_LONG: (4.5, 10.0),
    Fault.STALL_ONE_WAY: (1.0, 8.0),
    Fault.DELAY: (1.0, 6.0),
    Fault.SLICE: (0.5, 3.0),
    Fault.RATE: (2.0, 8.0),
    Fault.REFUSE: (0.5, 5.0),
    Fault.STOP_BROKER: (0.5, 6.0),
}


@dataclass(frozen=True)
class FaultPlan:
    """One damage.

    :param at: seconds after the begin of all.
    :param place: the link or the server; empty for processes on the controller.
    :param seconds: until it is taken back; 0 if there is nothing to take back.
    :param direction: ``up`` or ``down`` the link.
    :param count: bytes that still pass; or bytes in a second.
    :param choice: from 0 to 1: which one of several processes.
    """

    at: float
    kind: Fault
    place: str = ""
    seconds: float = 0
    direction: str = "up"
    count: int = 0
    choice: float = 0


def faults(seed: int, seconds: float, links: Sequence[str], servers: Sequence[str]) -> Iterator[FaultPlan]:
    """Those of a run of so many seconds; all of them are taken back when it ends."""
    random = Random(f"{seed} faults")
    at = random.uniform(1, 6)
    while at < seconds:
        yield _fault(random, at, seconds, links, servers)
        at += random.uniform(1, 6)


def _fault(random: Random, at: float, seconds: float, links: Sequence[str], servers: Sequence[str]) -> FaultPlan:
    may_kill = _KILLS[0] * seconds < at < _KILLS[1] * seconds
    kind = _weighted(random, {**_FAULTS, Fault.KILL_BROKER: 1} if may_kill else _FAULTS)
    place = random.choice(links) if kind in OF_LINKS else random.choice(servers) if kind in OF_SERVERS else ""
    low, high = _SECONDS.get(kind, (0, 0))
    count = random.randint(16 * KIB, 256 * KIB) if kind is Fault.RATE else int(2 ** random.uniform(0, 20))
    direction = random.choice(("up", "down"))
    return FaultPlan(at, kind, place, round(random.uniform(low, high), 1), direction, count, random.random())


T = TypeVar("T")


def _weighted(random: Random, weights: dict[T, int]) -> T:
    return random.choices(list(weights), list(weights.values()))[0]
