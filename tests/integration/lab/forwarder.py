# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run a TCP link that a test can damage: cut, half close, stall, slow down, slice, or flip a bit."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable
from typing import Literal, NamedTuple

from .loop import LoopThread

Direction = Literal["up", "down"]  # up: from the client to the target

READ = 64 * 1024
PACE = 0.05  # seconds between pieces where the rate is limited
IN_FLIGHT = 64  # pieces; limited, so that a sender notices a stalled receiver


class _Due(NamedTuple):
    """Hold an action to run when ``at`` bytes have passed in one direction."""

    at: int
    act: Callable[[], None]


class Forwarder:
    """Listen on an address and forward every connection to a target.

    :ivar delay: seconds that each piece is delayed.
    :ivar slice: maximum size of a piece, in bytes; 0 for no limit.
    :ivar rate: bytes per second in each direction; 0 for no limit.
    """

    def __init__(
        self,
        loop: LoopThread,
        target: tuple[str, int],
        address: str,
        port: int,
        *,
        delay: float = 0,
        slice: int = 0,
        rate: float = 0,
    ) -> None:
        self.target = target
        self.address = address
        self.port = port
        self.delay = delay
        self.slice = slice
        self.rate = rate
        self.connections = 0
        self.passed: dict[Direction, int] = {"up": 0, "down": 0}
        self._due: dict[Direction, _Due] = {}
        self._flipped: Direction | None = None
        self._loop = loop
        self._writers: set[asyncio.StreamWriter] = set()
        self._ways: dict[Direction, set[asyncio.StreamWriter]] = {"up": set(), "down": set()}
        self._tasks: set[asyncio.Task[None]] = set()
        self._flowing: dict[Direction, asyncio.Event] = {
            "up": loop.call(asyncio.Event),
            "down": loop.call(asyncio.Event),
        }
        self.resume()
        self.listen()

    def __enter__(self) -> Forwarder:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    @property
    def endpoint(self) -> str:
        """Return the address and port on which it listens."""
        return f"{self.address}:{self.port}"

    # Damage

    def cut(self) -> None:
        """Reset every connection on both sides; new ones are accepted."""
        self._loop.call(self._reset)

    def cut_after(self, direction: Direction, count: int) -> None:
        """Reset every connection after ``count`` more bytes in one direction."""
        self._after(direction, count, self._reset)

    def half_close(self, direction: Direction) -> None:
        """End every connection in one direction, as if its sender had closed it; the other direction stays open."""
        self._loop.call(self._end, direction)

    def half_close_after(self, direction: Direction, count: int, ended: Direction) -> None:
        """Half close the direction ``ended`` after ``count`` more bytes in ``direction``."""
        self._after(direction, count, lambda: self._end(ended))

    def stall(self, *directions: Direction) -> None:
        """Hold back all bytes in these directions, by default both; connections stay open."""
        for direction in directions or self._flowing:
            self._loop.call(self._flowing[direction].clear)

    def stall_after(self, direction: Direction, count: int) -> None:
        """Hold back all bytes in both directions after ``count`` more in one."""

        def act() -> None:
            for flowing in self._flowing.values():
                flowing.clear()

        self._after(direction, count, act)

    @property
    def stalled(self) -> bool:
        """Return whether bytes are held back in either direction."""
        return not all(flowing.is_set() for flowing in self._flowing.values())

    def resume(self) -> None:
        """Pass bytes again, those held back first."""
        for flowing in self._flowing.values():
            self._loop.call(flowing.set)

    def flip_after(self, direction: Direction, count: int) -> None:
        """Flip the lowest bit of the byte that follows ``count`` more bytes in one direction."""

        def act() -> None:
            self._flipped = direction

        self._after(direction, count, act)

    @property
    def is_due(self) -> bool:
        """Return whether a planned action has not happened yet."""
        return bool(self._due) or self._flipped is not None

    def renew(self) -> None:
        """Reset every connection and drop all planned actions; return when all connections have ended."""

        async def renew() -> None:
            self._due.clear()
            self._flipped = None
            self._reset()
            await asyncio.gather(*self._tasks, return_exceptions=True)

        self.resume()
        self._loop.run(renew())

    def refuse(self) -> None:
        """Stop listening; existing connections stay."""
        self._loop.call(self._server.close)

    def listen(self) -> None:
        """Start listening."""
        self._server = self._loop.run(asyncio.start_server(self._accept, self.address, self.port))

    def close(self) -> None:
        """Stop listening and drop every connection."""

        async def close() -> None:
            self._server.close()
            self._reset()
            tasks = list(self._tasks)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        self._loop.run(close())

    def _after(self, direction: Direction, count: int, act: Callable[[], None]) -> None:
        self._loop.call(lambda: self._due.update({direction: _Due(self.passed[direction] + count, act)}))

    # In the loop's thread

    def _reset(self) -> None:
        for writer in list(self._writers):
            sock: socket.socket | None = writer.get_extra_info("socket")
            if sock and sock.fileno() >= 0:
                # With a linger time of 0, close sends RST instead of FIN.
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
        self._writers.clear()

    def _end(self, direction: Direction) -> None:
        for writer in self._ways[direction]:
            _say_all(writer)
        self._ways[direction].clear()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task
        self._tasks.add(task)
        self._writers.add(writer)
        onward: asyncio.StreamWriter | None = None
        try:
            with contextlib.suppress(OSError, asyncio.CancelledError):
                back, onward = await asyncio.open_connection(*self.target)
                self._writers.add(onward)
                await asyncio.gather(self._carry("up", reader, onward), self._carry("down", back, writer))
        finally:
            for end in filter(None, (writer, onward)):
                self._writers.discard(end)
                end.close()
            self._tasks.discard(task)

    async def _carry(self, direction: Direction, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Forward one direction of one connection, delaying each piece."""
        on_the_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(IN_FLIGHT)
        self._ways[direction].add(writer)
        try:
            await asyncio.gather(self._take(reader, on_the_way), self._pass(direction, on_the_way, writer))
        finally:
            self._ways[direction].discard(writer)

    async def _take(self, reader: asyncio.StreamReader, on_the_way: asyncio.Queue[tuple[float, bytes]]) -> None:
        now = asyncio.get_running_loop().time
        piece = b"first"
        while piece:
            try:
                piece = await reader.read(READ)
            except OSError:
                piece = b""
            await on_the_way.put((now() + self.delay, piece))

    async def _pass(
        self, direction: Direction, on_the_way: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter
    ) -> None:
        now = asyncio.get_running_loop().time
        while True:
            arrives, data = await on_the_way.get()
            await asyncio.sleep(max(0.0, arrives - now()))
            await self._flowing[direction].wait()
            if not data:
                break
            while data:
                data = await self._pass_piece(direction, data, writer)
        if writer in self._ways[direction]:
            _say_all(writer)

    async def _pass_piece(self, direction: Direction, data: bytes, writer: asyncio.StreamWriter) -> bytes:
        """Pass on one piece, run the action that is due after it, and return the rest."""
        due = self._due.get(direction)
        limits = [READ, self.slice or READ, int(self.rate * PACE) or READ]
        size = min(len(data), *limits, max(1, due.at - self.passed[direction]) if due else READ)
        piece = data[:size]
        if self._flipped == direction:
            self._flipped = None
            piece = bytes([piece[0] ^ 1]) + piece[1:]
        if self.rate:
            await asyncio.sleep(size / self.rate)
        await self._flowing[direction].wait()
        if writer in self._ways[direction]:  # else its end was sent already
            writer.write(piece)
            await writer.drain()
        self.passed[direction] += size
        if due and self.passed[direction] >= due.at:
            del self._due[direction]
            due.act()
        return data[size:]


def _say_all(writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        writer.write_eof()
