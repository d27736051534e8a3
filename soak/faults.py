# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Does what was planned to links, servers and processes, and takes it back."""

from __future__ import annotations

import contextlib
import heapq
import itertools
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal, cast

from lab import Forwarder, Lab, processes
from lab.brokers import brokers, playbooks

from .network import Network
from .plan import OF_LINKS, OF_SERVERS, Fault, FaultPlan

_NEVER = 2**60  # more bytes than ever pass a link
_SLOW = 0.3
_LOOK = 60.0

Lift = Callable[[], None]


class Injector:
    """A thread that does one fault after the other.

    :ivar done: how many there were of each kind; one that met nothing, such as no broker, does not count.
    :ivar history: what was done when, for whoever looks for a cause.
    """

    def __init__(self, network: Network, plan: Iterator[FaultPlan], wounded: set[Path]) -> None:
        self._network = network
        self._plan = plan
        self._wounded = wounded
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="soak faults", daemon=True)
        self._lifts: list[tuple[float, int, Lift]] = []
        self._number = itertools.count()
        self._refusing: set[str] = set()
        self.done: Counter[Fault] = Counter()
        self.history: list[str] = []
        self.error: BaseException | None = None

    @contextlib.contextmanager
    def running(self) -> Iterator[Injector]:
        """Meanwhile; at the end, everything is taken back."""
        self._thread.start()
        try:
            yield self
        finally:
            self._over.set()
            self._thread.join(60)
            self._lift(until=float("inf"))
            for link in self._network.links.values():
                _restore(link)

    def _run(self) -> None:
        start = time.monotonic()
        try:
            for fault in self._plan:
                if not self._wait(start + fault.at):
                    return
                lift = self._strike(fault)
                if lift is None:
                    continue
                self.done[fault.kind] += 1
                self.history.append(f"{time.strftime('%H:%M:%S')} {fault}")
                heapq.heappush(self._lifts, (time.monotonic() + fault.seconds, next(self._number), lift))
            while self._wait(time.monotonic() + _LOOK):
                pass  # plays go on after the last fault
        except Exception as error:
            self.error = error
            self._lift(until=float("inf"))  # else a play would wait for a broker that stays stopped

    def _wait(self, until: float) -> bool:
        """Waits for the next fault, and takes old ones back meanwhile; False when all is over."""
        while (now := time.monotonic()) < until:
            self._lift(now)
            following = min([until, *(lift[0] for lift in self._lifts[:1])])
            if self._over.wait(max(0.0, following - now)):
                return False
        return not self._over.is_set()

    def _lift(self, until: float) -> None:
        while self._lifts and self._lifts[0][0] <= until:
            heapq.heappop(self._lifts)[2]()

    def _strike(self, fault: FaultPlan) -> Lift | None:
        """Does it; returns how it is taken back, or None if there was nothing to do it to."""
        if fault.kind is Fault.REFUSE:
            return self._refuse(fault.place)
        if fault.kind in OF_LINKS:
            return damage(self._network.links[fault.place], fault)
        if fault.kind in OF_SERVERS:
            server = self._network.servers[fault.place]
            server.restart() if fault.kind is Fault.RESTART else server.kill_sessions()
            return _nothing
        lab = self._network.lab
        if fault.kind is Fault.KILL_WORKER:
            return self._kill_worker(fault.choice)
        return _strike_broker(lab, fault.kind)

    def _refuse(self, place: str) -> Lift | None:
        if place in self._refusing:
            return None
        self._refusing.add(place)
        self._network.links[place].refuse()

        def listen() -> None:
            self._network.links[place].listen()
            self._refusing.remove(place)

        return listen

    def _kill_worker(self, choice: float) -> Lift | None:
        mains = playbooks(self._network.lab)
        workers = [(main, pid) for main in mains for pid in processes.descendants(main) if _is_worker(main, pid)]
        if not workers:
            return None
        main, worker = workers[int(choice * len(workers))]
        with contextlib.suppress(OSError):
            self._wounded.add(Path(os.readlink(f"/proc/{main}/cwd")))
            processes.send(worker, signal.SIGKILL)
            return _nothing
        return None


def damage(link: Forwarder, fault: FaultPlan) -> Lift:
    """Damages a link; returns how that is taken back."""
    direction = cast(Literal["up", "down"], fault.direction)
    if fault.kind is Fault.CUT:
        link.cut()
    if fault.kind is Fault.CUT_AFTER:
        link.cut_after(direction, fault.count)
    if fault.kind is Fault.FLIP:
        link.flip_after(direction, fault.count)
    if fault.kind is Fault.HALF_CLOSE:
        link.half_close(direction)
    if fault.kind is Fault.STALL_ONE_WAY:
        link.stall(direction)
        return link.resume
    if fault.kind in (Fault.STALL, Fault.STALL_LONG):
        link.stall()
        return link.resume
    if fault.kind in (Fault.DELAY, Fault.SLICE, Fault.RATE):
        name, value = {Fault.DELAY: ("delay", _SLOW), Fault.SLICE: ("slice", 1)}.get(fault.kind, ("rate", fault.count))
        setattr(link, name, value)
        return lambda: setattr(link, name, 0)
    return _nothing


def _nothing() -> None:
    """There is nothing to take back."""


def _restore(link: Forwarder) -> None:
    """What waits for a number of bytes waits for ever, and everything passes."""
    link.cut_after("up", _NEVER)
    link.cut_after("down", _NEVER)
    link.resume()


def _strike_broker(lab: Lab, kind: Fault) -> Lift | None:
    found = brokers(lab)
    if not found:
        return None
    if kind is Fault.KILL_BROKER:
        processes.send(found[0], signal.SIGKILL)
        return _nothing
    processes.send(found[0], signal.SIGSTOP)
    return lambda: processes.send(found[0], signal.SIGCONT)


def _is_worker(main: int, pid: int) -> bool:
    """Whether a process is one that Ansible forked to run a task; a local command of a task is its child."""
    return processes.parent(pid) == main and b"ansible" in processes.command_line(pid)
