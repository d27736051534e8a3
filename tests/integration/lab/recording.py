# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run an SSH server that records every secret that it receives, for what sshd does not log."""

from __future__ import annotations

import asyncio
import asyncio.subprocess
import contextlib
import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import asyncssh

from .keys import Key, known_hosts_name, make_key
from .loop import LoopThread

READ = 64 * 1024


class Seen(NamedTuple):
    """Record an action of a client, or a value that it sent.

    kinds: connection, begin, password, response, key, login, forward, agent, command.
    """

    kind: str
    user: str
    value: str


class Prompt(NamedTuple):
    """Hold a question of keyboard-interactive and its right answer."""

    text: str
    answer: str
    echo: bool = False


class _Session(asyncssh.SSHServer):
    """Handle one connection."""

    def __init__(self, server: RecordingServer) -> None:
        self._server = server
        self._user = ""
        self._rounds: list[Sequence[Prompt]] = []
        self._asked: Sequence[Prompt] = ()
        self._connection: asyncssh.SSHServerConnection | None = None

    def _see(self, kind: str, value: str = "") -> None:
        self._server.seen.append(Seen(kind, self._user, value))
        if kind in self._server.when:  # in a thread, as it may call the loop
            asyncio.get_running_loop().run_in_executor(None, self._server.when[kind])
        words = self._server.ends_at.get(kind)
        if words is not None and self._connection:
            if words:
                self._connection.disconnect(asyncssh.DISC_BY_APPLICATION, words)
            else:
                self._connection.abort()

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        """Watch for requests to forward an agent, which asyncssh answers without calling the server."""
        self._connection = conn
        peer = conn.get_extra_info("peername")
        self._see("connection", f"{peer[0]}:{peer[1]}")
        create = conn.create_agent_listener

        async def create_agent_listener() -> bool:
            self._see("agent")
            return await create()

        conn.create_agent_listener = create_agent_listener  # type: ignore[method-assign]
        if self._server.banner:
            conn.send_auth_banner(self._server.banner)

    def begin_auth(self, username: str) -> bool:
        self._user = username
        self._see("begin")
        return True

    def auth_completed(self) -> None:
        self._see("login")

    def password_auth_supported(self) -> bool:
        return self._server.passwords is not None

    def validate_password(self, username: str, password: str) -> bool:
        self._see("password", password)
        return (self._server.passwords or {}).get(username) == password

    def public_key_auth_supported(self) -> bool:
        return True

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        self._see("key", key.get_fingerprint())
        return key.get_fingerprint() in self._server.fingerprints

    def kbdint_auth_supported(self) -> bool:
        return bool(self._server.rounds)

    def get_kbdint_challenge(self, username: str, lang: str, submethods: str) -> Any:
        self._rounds = list(self._server.rounds)
        return self._ask()

    def _ask(self) -> Any:
        self._asked = self._rounds.pop(0)
        return "", self._server.instructions, "", [(prompt.text, prompt.echo) for prompt in self._asked]

    def validate_kbdint_response(self, username: str, responses: Sequence[str]) -> Any:
        for response in responses:
            self._see("response", response)
        if list(responses) != [prompt.answer for prompt in self._asked]:
            return False
        return self._ask() if self._rounds else True

    def connection_requested(self, dest_host: str, dest_port: int, orig_host: str, orig_port: int) -> Any:
        self._see("forward", f"{dest_host}:{dest_port}")
        if not self._server.forward or "forward" in self._server.ends_at:
            raise asyncssh.ChannelOpenError(self._server.refusal, "forwarding is off")
        route = self._server.routes.get((dest_host, dest_port))
        assert self._connection
        return self._connection.forward_connection(*route) if route else True


async def _feed(source: asyncssh.SSHReader[bytes], sink: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError, asyncssh.Error, asyncssh.SignalReceived, asyncssh.BreakReceived):
        while data := await source.read(READ):
            sink.write(data)
            await sink.drain()
    sink.close()


async def _relay(source: asyncio.StreamReader | None, sink: asyncssh.SSHWriter[bytes]) -> None:
    while source and (data := await source.read(READ)):
        sink.write(data)
        await sink.drain()


class RecordingServer:
    """Accept the configured credentials, and record everything that clients do in ``seen``."""

    def __init__(
        self,
        loop: LoopThread,
        path: Path,
        address: str,
        port: int,
        *,
        passwords: Mapping[str, str] | None = None,
        keys: Sequence[Key] = (),
        rounds: Sequence[Sequence[Prompt]] = (),
        instructions: str = "",
        forward: bool = True,
        refusal: int = asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED,
        routes: Mapping[tuple[str, int], tuple[str, int]] | None = None,
        sftp: bool = True,
        agent: bool = True,
        banner: str = "",
        ends_at: Mapping[str, str] | None = None,
        **options: Any,
    ) -> None:
        """Start listening.

        passwords: user -> password, {} refuses all, None does not offer passwords; keys: accepted for any user;
        rounds: the questions of keyboard-interactive, round by round; refusal: the reason code with which it refuses to
        forward (RFC 4254 section 5.1); routes: requested address -> the one to connect to instead, as in a private network;
        ends_at: kind of ``seen`` -> message with which to disconnect at that point, "" to abort without one; options: of
        asyncssh.create_server().
        """
        self.address = address
        self.port = port
        self.seen: list[Seen] = []
        self.passwords = passwords
        self.fingerprints = {key.fingerprint for key in keys}
        self.rounds = rounds
        self.instructions = instructions
        self.forward = forward
        self.refusal = refusal
        self.routes = routes or {}
        self.banner = banner
        self.ends_at = ends_at or {}
        #: Kind of ``seen`` -> a function to call at that point.
        self.when: dict[str, Callable[[], None]] = {}
        path.mkdir(parents=True)
        self.host_key = make_key(path / "host_ed25519")
        self._loop = loop
        options = {
            "server_host_keys": [str(self.host_key.path)],
            "process_factory": self._run,
            "sftp_factory": sftp,
            "agent_forwarding": agent,
            "encoding": None,
            "login_timeout": 120,
        } | options

        async def listen() -> asyncssh.SSHAcceptor:
            return await asyncssh.create_server(lambda: _Session(self), address, port, **options)

        self._server = loop.run(listen())

    def __enter__(self) -> RecordingServer:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    @property
    def endpoint(self) -> str:
        """Return address and port."""
        return f"{self.address}:{self.port}"

    def values(self, kind: str) -> list[str]:
        """Return the recorded values of one kind, in order."""
        return [seen.value for seen in self.seen if seen.kind == kind]

    def known_hosts_line(self, name: str | None = None) -> str:
        """Return the known_hosts line of its host key."""
        return f"{name or known_hosts_name(self.address, self.port)} {self.host_key.public}"

    def known_hosts_lines(self, name: str | None = None) -> list[str]:
        """Return the same as a list, as other servers do."""
        return [self.known_hosts_line(name)]

    async def _run(self, process: asyncssh.SSHServerProcess[bytes]) -> None:
        """Run a client's command in a real shell, as root."""
        self.seen.append(Seen("command", process.get_extra_info("username"), process.command or ""))
        local = await asyncio.create_subprocess_exec(
            "/bin/sh",
            *(["-c", process.command] if process.command else []),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        assert local.stdin

        def kill(_task: object) -> None:
            if local.returncode is None:
                local.kill()

        feeding = asyncio.create_task(_feed(process.stdin, local.stdin))
        gone = asyncio.create_task(process.channel.wait_closed())
        gone.add_done_callback(kill)
        try:
            with contextlib.suppress(BrokenPipeError):
                await asyncio.gather(_relay(local.stdout, process.stdout), _relay(local.stderr, process.stderr))
            status = await local.wait()
            if status < 0:
                process.exit_with_signal(signal.Signals(-status).name.removeprefix("SIG"))
            else:
                process.exit(status)
        finally:
            feeding.cancel()
            await asyncio.gather(feeding, gone, return_exceptions=True)

    def close(self) -> None:
        """Stop listening and drop every connection."""

        async def close() -> None:
            self._server.close()
            await self._server.wait_closed()

        self._loop.run(close())
