# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A TCP link that a test can damage: cut, stall, slow down, slice or change bytes."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable
from typing import Literal

from .loop import LoopThread

Direction = Literal["up", "down"]  # up: from who connects to the target
Change = Callable[[Direction, int, bytes], bytes]

READ = 64 * 1024


class Forwarder:
    """Listens on an address and passes every connection on to a target."""

    def __init__(
        self,
        loop: LoopThread,
        target: tuple[str, int],
        address: str,
        port: int,
        *,
        delay: float = 0,
        slice: int = 0,
        change: Change | None = None,
    ) -> None:
        """delay: seconds before each piece goes on; slice: bytes in a piece; change: (direction, offset, piece)."""
        self.target = target
        self.address = address
        self.port = port
        self.connections = 0
        self.passed: dict[Direction, int] = {"up": 0, "down": 0}
        self._delay = delay
        self._slice = slice
        self._change = change
        self._cut_after: tuple[Direction, int] | None = None
        self._stall_after: tuple[Direction, int] | None = None
        self._loop = loop
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._flowing: dict[Direction, asyncio.Event] = {
            "up": loop.call(asyncio.Event),
            "down": loop.call(asyncio.Event),
        }
        self.resume()
        self._server = loop.run(asyncio.start_server(self._accept, address, port))

    def __enter__(self) -> Forwarder:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    @property
    def endpoint(self) -> str:
        """Address and port on which it listens."""
        return f"{self.address}:{self.port}"

    # Damage

    def cut(self) -> None:
        """Reset every connection, on both sides; new ones are accepted."""
        self._loop.call(self._reset)

    def cut_after(self, direction: Direction, count: int) -> None:
        """Reset everything as soon as so many more bytes have gone one way."""
        self._cut_after = (direction, self.passed[direction] + count)

    def stall(self, *directions: Direction) -> None:
        """Pass no bytes any more, either way if none is told; connections stay open."""
        for direction in directions or self._flowing:
            self._loop.call(self._flowing[direction].clear)

    def stall_after(self, direction: Direction, count: int) -> None:
        """Pass no bytes any more as soon as so many more bytes have gone one way."""
        self._stall_after = (direction, self.passed[direction] + count)

    @property
    def stalled(self) -> bool:
        """Whether bytes are held back, either way."""
        return not all(flowing.is_set() for flowing in self._flowing.values())

    def resume(self) -> None:
        """Pass bytes again, the ones that waited first."""
        for flowing in self._flowing.values():
            self._loop.call(flowing.set)

    def refuse(self) -> None:
        """Stop listening; the connections that exist stay."""
        self._loop.call(self._server.close)

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

    # In the loop's thread

    def _reset(self) -> None:
        for writer in list(self._writers):
            sock: socket.socket | None = writer.get_extra_info("socket")
            if sock and sock.fileno() >= 0:
                # Linger for no time: close sends RST instead of FIN.
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
        self._writers.clear()

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
                await asyncio.gather(self._pump("up", reader, onward), self._pump("down", back, writer))
        finally:
            for end in filter(None, (writer, onward)):
                self._writers.discard(end)
                end.close()
            self._tasks.discard(task)

    async def _pump(self, direction: Direction, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        offset = 0
        while piece := await reader.read(self._slice or READ):
            if self._delay:
                await asyncio.sleep(self._delay)
            await self._flowing[direction].wait()
            writer.write(self._change(direction, offset, piece) if self._change else piece)
            await writer.drain()
            offset += len(piece)
            self.passed[direction] += len(piece)
            if self._cut_after and self._cut_after[0] == direction and self.passed[direction] >= self._cut_after[1]:
                self._cut_after = None
                self._reset()
                return
            if (
                self._stall_after
                and self._stall_after[0] == direction
                and self.passed[direction] >= self._stall_after[1]
            ):
                self._stall_after = None
                for flowing in self._flowing.values():
                    flowing.clear()
        await self._flowing[direction].wait()
        with contextlib.suppress(OSError):
            writer.write_eof()
