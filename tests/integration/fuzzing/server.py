# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A server for one case: a port of its own on loopback, for as long as the case takes."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections import Counter
from types import TracebackType

from lab.loop import LoopThread

from .case import Case
from .channels import Channels
from .packets import HostKey
from .talk import Over, Talk

ADDRESS = "127.0.0.1"
#: Seconds after which a connection ends, whatever is said on it.
LIFETIME = 8.0
_FAREWELL = 1.0
#: What ends a connection when the client sees through the server, or the server does not understand the client any more.
_ENDS = (Over, OSError, EOFError, ValueError, IndexError, struct.error, asyncio.IncompleteReadError)


class AnyServer:
    """Listens while the context lasts.

    :param onward: the healthy target, where the case has the server as a bastion.
    :ivar sent: strange messages, by step and number.
    """

    def __init__(self, loop: LoopThread, case: Case, key: HostKey, onward: tuple[str, int] | None = None) -> None:
        self._loop = loop
        self._case = case
        self._key = key
        self._onward = onward
        self._tasks: set[asyncio.Task[None]] = set()
        self.sent: Counter[tuple[str, int]] = Counter()
        self.connections = 0
        self._server: asyncio.Server = loop.run(self._listen())
        self.port = int(self._server.sockets[0].getsockname()[1])

    def __enter__(self) -> AnyServer:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._loop.run(self._close())

    async def _listen(self) -> asyncio.Server:
        return await asyncio.start_server(self._accept, ADDRESS, 0)

    async def _close(self) -> None:
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.sleep(0)  # what was aborted is closed in the turn after

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task
        self._tasks.add(task)
        with contextlib.suppress(asyncio.CancelledError):
            await self._talk(reader, writer)
        await _end(writer)
        self._tasks.discard(task)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        helpers: set[asyncio.Task[None]] = set()
        talk = Talk(self._case, self._key, self.sent, reader, writer)
        serving = asyncio.create_task(self._serve(talk, helpers))
        try:
            await self._watch(talk, serving)
        finally:
            for helper in (serving, *helpers):
                helper.cancel()
            await asyncio.gather(serving, *helpers, return_exceptions=True)

    async def _watch(self, talk: Talk, serving: asyncio.Task[None]) -> None:
        """Until it is over, or the client has been silent for too long."""
        loop = asyncio.get_running_loop()
        end = loop.time() + max(LIFETIME, self._case.patience)
        while not serving.done():
            now = loop.time()
            left = min(end, talk.heard_at + self._case.patience) - now
            if left <= 0:
                return
            await asyncio.wait([serving], timeout=left)

    async def _serve(self, talk: Talk, tasks: set[asyncio.Task[None]]) -> None:
        channels = Channels(talk, self._onward, tasks)
        try:
            await talk.greet()
            while True:
                payload = await talk.read()
                if not await talk.answer(payload):
                    await channels.answer(payload)
        except _ENDS:
            return
        finally:
            channels.end()


async def _end(writer: asyncio.StreamWriter) -> None:
    """What was said is still sent, to a client that takes it."""
    writer.close()
    try:
        await asyncio.wait_for(writer.wait_closed(), _FAREWELL)
    except (OSError, asyncio.TimeoutError, asyncio.CancelledError):
        writer.transport.abort()
