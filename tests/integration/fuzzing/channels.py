# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Channels of the hostile server: commands, SFTP, and connections to a healthy target."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from dataclasses import dataclass

from .message import Message, Payload, message, u64
from .talk import Talk, strings

OPEN, OPENED, REFUSED, WINDOW, DATA, MORE_DATA, EOF, CLOSE, REQUEST, SUCCESS = range(90, 100)  # RFC 4250 section 4.1.2
_ROOM = 2 * 1024 * 1024
_PACKET = 32768
#: What a file holds that is fetched: several requests' worth.
FILE = bytes(range(256)) * 400
_SFTP_BLOCK = 32768
_WAIT = 1.5
_AGENT = 1000  # our number of a channel to the client's agent
_IDENTITIES = b"\0\0\0\1\x0b"  # what is asked of the agent (draft-ietf-sshm-ssh-agent section 3.5)

# draft-ietf-secsh-filexfer-02 section 3
_INIT, _VERSION, _OPEN, _CLOSE, _READ, _WRITE = 1, 2, 3, 4, 5, 6
_STATUS, _HANDLE, _DATA, _ATTRS, _EXTENDED, _EXTENDED_REPLY = 101, 102, 103, 105, 200, 201
_STATS = (7, 8, 17)  # LSTAT, FSTAT, STAT


@dataclass
class _Channel:
    """Of the client's numbers and ours, which are the same."""

    number: int
    kind: bytes
    command: bytes = b""
    received: bytes = b""
    taken: int = 0
    written: int = 0
    onward: asyncio.StreamWriter | None = None
    done: bool = False


class Channels:
    """All of one connection.

    :param onward: address of the healthy target.
    """

    def __init__(self, talk: Talk, onward: tuple[str, int] | None, tasks: set[asyncio.Task[None]]) -> None:
        self._talk = talk
        self._onward = onward
        self._tasks = tasks
        self._channels: dict[int, _Channel] = {}

    def end(self) -> None:
        """Ends the connections to the target."""
        for channel in self._channels.values():
            if channel.onward is not None:
                channel.onward.transport.abort()

    async def answer(self, payload: bytes) -> None:
        """Answers a message about a channel; anything else is not for us."""
        if payload[0] == OPEN:
            await self._open(payload)
            return
        if payload[0] in (OPENED, DATA) and struct.unpack(">I", payload[1:5])[0] == _AGENT:
            await self._use_agent(payload)
            return
        if not WINDOW <= payload[0] <= REQUEST:
            return
        channel = self._channels.get(struct.unpack(">I", payload[1:5])[0])
        if channel is None:
            return
        if payload[0] == REQUEST:
            await self._request(channel, payload)
        elif payload[0] == DATA:
            await self._data(channel, *strings(payload[5:], 1))
        elif payload[0] == EOF:
            await self._eof(channel)
        elif payload[0] == CLOSE and not channel.done:
            await self._close(channel)

    async def _open(self, payload: bytes) -> None:
        (kind,) = strings(payload[1:], 1)
        (number,) = struct.unpack_from(">I", payload, 5 + len(kind))
        channel = self._channels[number] = _Channel(number, kind)
        opened = message(OPENED, number, number, _ROOM, _PACKET)
        if kind != b"direct-tcpip":
            await self._talk.say("open", opened)
            return
        assert self._onward
        reader, channel.onward = await asyncio.open_connection(*self._onward)
        await self._talk.say("forward", opened)
        task = asyncio.create_task(self._relay(channel, reader))
        self._tasks.add(task)

    async def _relay(self, channel: _Channel, reader: asyncio.StreamReader) -> None:
        with contextlib.suppress(OSError, EOFError):
            while data := await reader.read(_PACKET):
                await self._talk.ready()
                self._talk.touch()
                await self._talk.say("data", message(DATA, channel.number, data))
            await self._talk.say("eof", message(EOF, channel.number))
            await self._close(channel)

    async def _data(self, channel: _Channel, data: bytes) -> None:
        channel.taken += len(data)
        if channel.onward is not None:
            if not channel.onward.is_closing():
                channel.onward.write(data)
                await channel.onward.drain()
        elif channel.kind == b"sftp":
            channel.received += data
            await self._serve_files(channel)
        if channel.taken >= _PACKET:
            await self._talk.say("window", message(WINDOW, channel.number, channel.taken))
            channel.taken = 0

    async def _eof(self, channel: _Channel) -> None:
        if channel.onward is not None:
            with contextlib.suppress(OSError):
                channel.onward.write_eof()
        elif channel.command and not channel.done:
            await self._end(channel)

    async def _close(self, channel: _Channel) -> None:
        channel.done = True
        if channel.onward is not None:
            channel.onward.close()
        await self._talk.say("close", message(CLOSE, channel.number))

    # Commands

    async def _request(self, channel: _Channel, payload: bytes) -> None:
        (what,) = strings(payload[5:], 1)
        rest = payload[5 + 4 + len(what) + 1 :]
        step = {b"pty-req": "pty", b"env": "env", b"exec": "exec", b"subsystem": "subsystem"}.get(what, "request")
        if payload[5 + 4 + len(what)]:
            await self._talk.say(step, message(SUCCESS, channel.number))
        else:
            await self._talk.send(step, self._talk.altered(step, message(None)))
        if what == b"subsystem":
            channel.kind = b"sftp"
        elif what == b"exec":
            (channel.command,) = strings(rest, 1)
            await self._run(channel)

    async def _run(self, channel: _Channel) -> None:
        """What a command says at once; one that reads its input ends with that."""
        reads = channel.command.startswith((b"cat", b"dd of=", b"ssh-add"))
        if channel.command.startswith(b"ssh-add"):
            await self._talk.say("agent", message(OPEN, b"auth-agent@openssh.com", _AGENT, _ROOM, _PACKET))
        mark, _and, command = channel.command.removeprefix(b"echo ").partition(b" && ")
        if command.startswith(b"dd if="):  # between two marks
            whole = mark + b"\n" + FILE + mark + b"\n"
            for start in range(0, len(whole), _PACKET):
                await self._talk.say("data", message(DATA, channel.number, whole[start : start + _PACKET]))
        elif not reads:
            await self._talk.say("data", message(DATA, channel.number, b"out\n"))
            await self._talk.say("errors", message(MORE_DATA, channel.number, 1, b"err\n"))
        if channel.command.startswith(b"sleep"):
            self._tasks.add(asyncio.create_task(self._sleep(channel)))
        elif not reads:
            await self._end(channel)

    async def _use_agent(self, payload: bytes) -> None:
        """Asks for the keys of the client's agent; its answer ends the command."""
        if payload[0] == OPENED:
            (number,) = struct.unpack(">I", payload[5:9])
            await self._talk.say("agent data", message(DATA, number, _IDENTITIES))
            return
        for channel in list(self._channels.values()):
            if channel.command.startswith(b"ssh-add") and not channel.done:
                await self._end(channel)

    async def _sleep(self, channel: _Channel) -> None:
        for _time in range(3):
            await asyncio.sleep(_WAIT / 3)
            self._talk.touch()
        with contextlib.suppress(OSError, EOFError):
            await self._end(channel)

    async def _end(self, channel: _Channel) -> None:
        await self._talk.say("status", message(REQUEST, channel.number, b"exit-status", False, 0))
        await self._talk.say("eof", message(EOF, channel.number))
        await self._close(channel)

    # Files

    async def _serve_files(self, channel: _Channel) -> None:
        while len(channel.received) >= 4:
            (length,) = struct.unpack(">I", channel.received[:4])
            if len(channel.received) < 4 + length:
                return
            packet, channel.received = channel.received[4 : 4 + length], channel.received[4 + length :]
            await self._answer_file(channel, packet)

    async def _answer_file(self, channel: _Channel, packet: bytes) -> None:
        kind, number = packet[0], struct.unpack(">I", packet[1:5])[0]
        step, answer = self._file(channel, kind, number, packet[5:])
        for payload in self._talk.altered(f"sftp {step}", answer):
            # A frame that lies about its length is the packet's own, not that of SSH.
            length = payload.frame.get("length", len(payload.data))
            data = struct.pack(">I", length & 0xFFFFFFFF) + payload.data
            for start in range(0, len(data), _PACKET):
                await self._talk.say("data", message(DATA, channel.number, data[start : start + _PACKET]))
            self._talk.count(f"sftp {step}", payload)
            await self._talk.send("data", [Payload(b"", rekey=payload.rekey, ends=payload.ends)])

    def _file(self, channel: _Channel, kind: int, number: int, rest: bytes) -> tuple[str, Message]:
        """The step and the answer of a request."""
        done = message(_STATUS, number, 0, b"", b"")
        if kind == _INIT:
            return "version", message(_VERSION, 3, b"limits@openssh.com", b"1")
        if kind == _EXTENDED:
            return "limits", message(_EXTENDED_REPLY, number, *(u64(size) for size in (262144, *[_SFTP_BLOCK] * 2, 10)))
        if kind == _OPEN:
            return "handle", message(_HANDLE, number, b"handle")
        if kind == _WRITE:
            channel.written += struct.unpack_from(">I", rest, 4 + len(b"handle") + 8)[0]
            return "written", done
        if kind in _STATS:
            return "attributes", message(_ATTRS, number, 1, u64(channel.written or len(FILE)))
        if kind == _READ:
            return self._read(number, rest)
        return ("closed" if kind == _CLOSE else "other"), done

    @staticmethod
    def _read(number: int, rest: bytes) -> tuple[str, Message]:
        start, length = struct.unpack_from(">QI", rest, 4 + len(b"handle"))
        piece = FILE[start : start + length]
        if piece:
            return "data", message(_DATA, number, piece)
        return "end", message(_STATUS, number, 1, b"end of file", b"")
