# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run TCP servers that are not SSH servers, to connect to a broken peer."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable

from .loop import LoopThread

Behaviour = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def stuck(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Begin a banner and never continue."""
    writer.write(b"x")
    await asyncio.Event().wait()


async def blackhole(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    """Accept and send nothing."""
    await asyncio.Event().wait()


async def closer(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    """Accept and close at once."""


def saying(text: bytes) -> Behaviour:
    """Send a text, then nothing more."""

    async def behave(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(text)
        await asyncio.Event().wait()

    return behave


def connect(address: tuple[str, int], timeout: float = 10) -> socket.socket:
    """Open a plain TCP connection."""
    return socket.create_connection(address, timeout)


class Unanswering:
    """Hold a listening socket whose queue is full, so that the kernel drops new connection attempts without an answer."""

    def __init__(self, address: str, port: int) -> None:
        self.address = address
        self.port = port
        self._listening = socket.create_server((address, port), backlog=0)
        self._waiting = [socket.socket() for _number in range(4)]
        for sock in self._waiting:
            sock.setblocking(False)
            sock.connect_ex((address, port))

    def __enter__(self) -> Unanswering:
        return self

    def __exit__(self, *_error: object) -> None:
        for sock in (self._listening, *self._waiting):
            sock.close()

    @property
    def endpoint(self) -> str:
        """Return address and port."""
        return f"{self.address}:{self.port}"


class Sink:
    """Listen with one of these behaviours, and count the connections."""

    def __init__(self, loop: LoopThread, address: str, port: int, behaviour: Behaviour) -> None:
        self.address = address
        self.port = port
        self.connections = 0
        self._behaviour = behaviour
        self._loop = loop
        self._tasks: set[asyncio.Task[None]] = set()
        self._server = loop.run(asyncio.start_server(self._accept, address, port))

    def __enter__(self) -> Sink:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    @property
    def address_pair(self) -> tuple[str, int]:
        """Return address and port as a socket address."""
        return self.address, self.port

    @property
    def endpoint(self) -> str:
        """Return address and port."""
        return f"{self.address}:{self.port}"

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task
        self._tasks.add(task)
        try:
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await self._behaviour(reader, writer)
                await writer.drain()
        finally:
            self._tasks.discard(task)
            writer.close()

    def close(self) -> None:
        """Stop listening and close every connection."""

        async def close() -> None:
            self._server.close()
            tasks = list(self._tasks)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        self._loop.run(close())
