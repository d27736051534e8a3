# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One connection of the hostile server, up to where the client has logged in: what it says at each step is as the case has it."""

from __future__ import annotations

import asyncio
import struct
from collections import Counter, deque

from .case import Case
from .message import Message, Payload, changed, message, raw
from .packets import ECDH_INIT, KEXINIT, NEWKEYS, Exchange, HostKey, Packets, kexinit

VERSION = b"SSH-2.0-hostile"

DISCONNECT, SERVICE_REQUEST, SERVICE_ACCEPT, EXT_INFO = 1, 5, 6, 7  # RFC 4250 section 4.1.2, RFC 8308
USERAUTH_REQUEST, USERAUTH_FAILURE, USERAUTH_SUCCESS = 50, 51, 52
INFO_REQUEST, INFO_RESPONSE = 60, 61  # RFC 4256
GLOBAL_REQUEST, REQUEST_FAILURE = 80, 82

#: The methods that each login goes through.
METHODS = {
    "key": [b"publickey"],
    "password": [b"password"],
    "questions": [b"keyboard-interactive"],
    "both": [b"publickey", b"password"],
}
QUESTIONS = (b"code: ", b"token: ")


class Over(Exception):
    """The connection is at its end."""


class Talk:
    """What is said on one connection.

    :param sent: counts the strange messages, by step and number.
    """

    def __init__(
        self,
        case: Case,
        key: HostKey,
        sent: Counter[tuple[str, int]],
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self._case = case
        self._key = key
        self._sent = sent
        self._reader = reader
        self._writer = writer
        self._packets = Packets(reader, writer)
        self._exchange = Exchange()
        self._times: Counter[str] = Counter()
        self._later: deque[bytes] = deque()
        self._methods = list(METHODS[case.login])
        self._asked = 0
        self._keyed = asyncio.Event()
        self._offered = False  # whether our half of an offer to exchange keys is under way
        self.heard_at = asyncio.get_running_loop().time()

    # What goes out

    async def say(self, step: str, item: Message) -> None:
        """Says it, or what the case has in its place."""
        await self.send(step, self.altered(step, item))

    def altered(self, step: str, item: Message) -> list[Payload]:
        """What the case has in place of a message."""
        number = self._times[step]
        self._times[step] += 1
        return changed(item, self._case.plan.get(f"{step}:{number}" if number else step, []))

    async def send(self, step: str, payloads: list[Payload]) -> None:
        """Sends packets; new keys, or the end, may come after one."""
        for payload in payloads:
            if self._writer.is_closing():
                raise Over
            if payload.data or payload.strange:
                self.count(step, payload)
                self._packets.write(payload)
            await self.drain()
            if payload.ends:
                raise Over
            if payload.rekey:
                await self._rekey()

    def count(self, step: str, payload: Payload) -> None:
        """Counts what is strange."""
        if payload.strange:
            self._sent[step, payload.data[0] if payload.data else 0] += 1

    def touch(self) -> None:
        """The connection is not idle, though its client is."""
        self.heard_at = asyncio.get_running_loop().time()

    async def drain(self) -> None:
        """Waits until most is on its way."""
        await self._writer.drain()

    async def ready(self) -> None:
        """Waits while keys are exchanged, when no data may be sent (RFC 4253 section 7.1)."""
        await self._keyed.wait()

    # What comes in

    async def read(self) -> bytes:
        """The next message that is not of a key exchange, which is answered here."""
        while True:
            payload = self._later.popleft() if self._later else await self._heard()
            if payload[0] not in (KEXINIT, ECDH_INIT, NEWKEYS):
                return payload
            await self._exchanged(payload)

    async def _heard(self) -> bytes:
        payload = await self._packets.read()
        if payload[:1] == bytes([DISCONNECT]) or not payload:
            raise Over
        if payload[0] != GLOBAL_REQUEST:
            self.heard_at = asyncio.get_running_loop().time()
        return payload

    # Key exchange

    async def greet(self) -> None:
        """Versions and the first keys."""
        for payload in self.altered("version", message(None, raw(VERSION + b"\r\n"))):
            self._sent["version", 0] += payload.strange
            self._writer.write(payload.data)
            if payload.ends:
                raise Over
            self._exchange.server_version = payload.data.strip()
        self._exchange.client_version = (await self._reader.readline()).strip()
        await self._offer()
        while not self._keyed.is_set():
            await self._exchanged(await self._heard())
        algorithms = [b"server-sig-algs", b"ssh-ed25519,rsa-sha2-256"]
        await self.say("extensions", message(EXT_INFO, 1, *algorithms))

    async def _offer(self) -> None:
        self._offered = True
        self._keyed.clear()
        payloads = self.altered("kexinit", kexinit(self._case.strict))
        for payload in payloads:
            if payload.data[:1] == bytes([KEXINIT]):
                self._exchange.server_init = payload.data
        await self.send("kexinit", payloads)

    async def _exchanged(self, payload: bytes) -> None:
        if payload[0] == KEXINIT:
            self._exchange.client_init = payload
            self._packets.strict = self._case.strict and b"kex-strict-c" in payload
            if not self._offered:
                await self._offer()
        elif payload[0] == ECDH_INIT:
            await self.say("kex", self._packets.reply(self._exchange, payload, self._key))
            await self.say("newkeys", message(NEWKEYS))
            self._packets.turn_out()
        elif payload[0] == NEWKEYS:
            self._offered = False
            self._keyed.set()

    async def _rekey(self) -> None:
        """Asks for new keys, and keeps what comes meanwhile."""
        if not self._keyed.is_set():
            return
        await self._offer()
        while not self._keyed.is_set():
            payload = await self._heard()
            if payload[0] in (KEXINIT, ECDH_INIT, NEWKEYS):
                await self._exchanged(payload)
            else:
                self._later.append(payload)

    # Login

    async def answer(self, payload: bytes) -> bool:
        """Answers what belongs to no channel; False for everything else."""
        if payload[0] == SERVICE_REQUEST:
            await self.say("service", message(SERVICE_ACCEPT, b"ssh-userauth"))
        elif payload[0] == USERAUTH_REQUEST:
            _user, _service, method = strings(payload[1:], 3)
            await self._log_in(method)
        elif payload[0] == INFO_RESPONSE:
            await self._ask()
        elif payload[0] == GLOBAL_REQUEST:
            await self.say("alive", message(REQUEST_FAILURE))
        else:
            return False
        return True

    async def _log_in(self, method: bytes) -> None:
        if method == b"none":
            await self.say("none", message(USERAUTH_FAILURE, b",".join(self._methods[:1]), False))
        elif method == b"keyboard-interactive" and method in self._methods:
            await self._ask()
        else:
            await self._judge({b"publickey": "key"}.get(method, "password"), method)

    async def _judge(self, step: str, method: bytes) -> None:
        right = self._methods[:1] == [method]
        if right:
            self._methods.pop(0)
        if right and not self._methods:
            await self.say(step, message(USERAUTH_SUCCESS))
        else:
            await self.say(step, message(USERAUTH_FAILURE, b",".join(self._methods), right))

    async def _ask(self) -> None:
        """A round of questions, or the end of them."""
        if self._asked == len(QUESTIONS):
            await self._judge("answered", b"keyboard-interactive")
            return
        question = QUESTIONS[self._asked]
        self._asked += 1
        await self.say("question", message(INFO_REQUEST, b"Login", b"", b"", 1, question, False))


def strings(data: bytes, count: int) -> list[bytes]:
    """So many strings from the begin of something."""
    found, start = [], 0
    for _number in range(count):
        (length,) = struct.unpack_from(">I", data, start)
        found.append(data[start + 4 : start + 4 + length])
        start += 4 + length
    return found
