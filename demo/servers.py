# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The demo's lab: SSH servers on loopback, in this process. Two bastions, two targets behind them.

    edge (guest) -> core.internal (operator) -> web.internal, db.internal (deploy)

A bastion runs nothing and forwards to the next hop only. The names are known to the hop before, to nobody else.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import shutil
import signal
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import cast

import asyncssh

LOOPBACK = "127.0.0.1"


@dataclass
class Served:
    """What a hop did since somebody looked."""

    logins: Counter[str] = field(default_factory=Counter)
    work: Counter[str] = field(default_factory=Counter)


@dataclass
class Hop:
    """A server of the lab: who may log in, and where it forwards to (name -> port on loopback)."""

    name: str
    user: str
    key: asyncssh.SSHKey
    password: str = ""
    next_hops: dict[str, int] = field(default_factory=dict)
    port: int = 0
    host_key: asyncssh.SSHKey = field(default_factory=lambda: asyncssh.generate_private_key("ssh-ed25519"))
    served: Served = field(default_factory=Served)
    connections: set[asyncssh.SSHServerConnection] = field(default_factory=set)


class Door(asyncssh.SSHServer):
    """The login to a hop."""

    def __init__(self, hop: Hop) -> None:
        self.hop = hop
        self.login = ""

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self.connection = conn
        self.hop.connections.add(conn)

    def connection_lost(self, exc: Exception | None) -> None:
        self.hop.connections.discard(self.connection)

    def begin_auth(self, username: str) -> bool:
        return True

    def password_auth_supported(self) -> bool:
        return bool(self.hop.password)

    def validate_password(self, username: str, password: str) -> bool:
        self.login = f"{username} with a password"
        return username == self.hop.user and secrets.compare_digest(password.encode(), self.hop.password.encode())

    def public_key_auth_supported(self) -> bool:
        return True

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        self.login = f"{username} with a key"
        return username == self.hop.user and key.public_data == self.hop.key.public_data

    def auth_completed(self) -> None:
        self.hop.served.logins[self.login] += 1


class Bastion(Door):
    """Forwards to the next hop; there is no shell, no command and no SFTP."""

    def connection_requested(
        self, dest_host: str, dest_port: int, orig_host: str, orig_port: int
    ) -> Awaitable[asyncssh.SSHTCPSession[bytes]]:
        port = self.hop.next_hops.get(dest_host) if dest_port == 22 else None
        if port is None:
            self.hop.served.work[f"refused to forward to {dest_host}:{dest_port}"] += 1
            raise asyncssh.ChannelOpenError(asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED, "only to the next hop")
        self.hop.served.work[f"forwarded to {dest_host}"] += 1
        # What it returns is not declared as a session, but made to be returned here.
        return cast("Awaitable[asyncssh.SSHTCPSession[bytes]]", self.connection.forward_connection(LOOPBACK, port))

    def session_requested(self) -> bool:
        self.hop.served.work["refused a session"] += 1
        return False


class Files(asyncssh.SFTPServer):
    """SFTP, counted."""

    def __init__(self, chan: asyncssh.SSHServerChannel[bytes], served: Served) -> None:
        super().__init__(chan)
        self.served = served

    def open(self, path: bytes, pflags: int, attrs: asyncssh.SFTPAttrs) -> object:
        self.served.work["files written" if pflags & asyncssh.FXF_WRITE else "files read"] += 1
        return super().open(path, pflags, attrs)


async def _pass_on(
    source: asyncio.StreamReader | asyncssh.SSHReader[bytes], sink: asyncio.StreamWriter | asyncssh.SSHWriter[bytes]
) -> None:
    with contextlib.suppress(OSError, asyncssh.Error, asyncssh.SignalReceived, asyncssh.BreakReceived):
        while data := await source.read(65536):
            sink.write(data)
            await sink.drain()
    if isinstance(sink, asyncio.StreamWriter):
        sink.close()


class Shell:
    """Runs a target's commands as whoever runs the demo, with directories that are the target's own."""

    def __init__(self, directory: Path, served: Served) -> None:
        self.directory = directory
        self.served = served
        self.running: set[asyncio.subprocess.Process] = set()
        for name in ("home", "tmp"):
            (directory / name).mkdir(parents=True)

    async def __call__(self, process: asyncssh.SSHServerProcess[bytes]) -> None:
        self.served.work["commands run"] += 1
        home, pipe = str(self.directory / "home"), asyncio.subprocess.PIPE
        child = await asyncio.create_subprocess_exec(
            "/bin/sh", "-c", process.command or "exec /bin/sh",
            env=os.environ | {"HOME": home, "TMPDIR": str(self.directory / "tmp")},
            cwd=home, stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True,
        )  # fmt: skip
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stderr is not None
        self.running.add(child)
        feed = asyncio.create_task(_pass_on(process.stdin, child.stdin))
        try:
            # All output is on its way before the status ends the session.
            await asyncio.gather(_pass_on(child.stdout, process.stdout), _pass_on(child.stderr, process.stderr))
            status = await child.wait()
            process.exit(status if status >= 0 else 128 - status)
        finally:
            feed.cancel()
            self.running.discard(child)

    def stop(self) -> None:
        """Ends what still runs, and what that has started."""
        for child in self.running:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(child.pid, signal.SIGKILL)


class Lab:
    """All four servers, and the files that lead to them. Leaving the context stops all."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        shutil.rmtree(directory, ignore_errors=True)
        for path, mode in ((directory, 0o711), (directory / "keys", 0o700), (directory / "tmp", 0o1777)):
            path.mkdir(parents=True)
            path.chmod(mode)
        guest, operator, deploy = (self._make_key(name) for name in ("guest", "operator", "deploy"))
        self.edge = Hop("edge", "guest", guest, password=secrets.token_urlsafe(12))
        self.core = Hop("core.internal", "operator", operator)
        self.targets = [Hop(name, "deploy", deploy) for name in ("web.internal", "db.internal")]
        self.hops = [self.edge, self.core, *self.targets]
        self._shells: list[Shell] = []
        self._servers: list[asyncssh.SSHAcceptor] = []

    def _make_key(self, name: str) -> asyncssh.SSHKey:
        key = asyncssh.generate_private_key("ssh-ed25519", name)
        path = self.directory / "keys" / name
        path.touch(0o600)
        path.write_bytes(key.export_private_key())
        return key

    async def __aenter__(self) -> Lab:
        for target in self.targets:
            shell = Shell(self.directory / target.name.removesuffix(".internal"), target.served)
            self._shells.append(shell)
            await self._listen(target, Door, shell, partial(Files, served=target.served))
        self.core.next_hops = {target.name: target.port for target in self.targets}
        await self._listen(self.core, Bastion)
        self.edge.next_hops = {self.core.name: self.core.port}
        await self._listen(self.edge, Bastion)
        self._write_known_hosts()
        self._write_ssh_config()
        return self

    async def _listen(
        self,
        hop: Hop,
        door: Callable[[Hop], Door],
        shell: Shell | None = None,
        files: Callable[[asyncssh.SSHServerChannel[bytes]], Files] | None = None,
    ) -> None:
        """On a port that is free."""
        server = await asyncssh.listen(
            LOOPBACK, 0, server_factory=lambda: door(hop), server_host_keys=[hop.host_key],
            process_factory=shell, sftp_factory=files, encoding=None, config=None,
        )  # fmt: skip
        self._servers.append(server)
        hop.port = server.get_port()

    async def __aexit__(self, *_error: object) -> None:
        for server in self._servers:
            server.close()
        for shell in self._shells:
            shell.stop()
        for hop in self.hops:
            for connection in tuple(hop.connections):
                connection.abort()
        for server in self._servers:
            await server.wait_closed()

    def _write_known_hosts(self) -> None:
        names = {hop.name: hop for hop in (self.core, *self.targets)} | {f"[{LOOPBACK}]:{self.edge.port}": self.edge}
        lines = [f"{name} {hop.host_key.export_public_key().decode()}" for name, hop in names.items()]
        (self.directory / "known_hosts").write_text("".join(lines))

    def _write_ssh_config(self) -> None:
        text = f"""\
Host edge
    HostName {LOOPBACK}
    Port {self.edge.port}
    User guest
    IdentityFile "{self.directory}/keys/guest"

Host core.internal
    ProxyJump edge
    User operator
    IdentityFile "{self.directory}/keys/operator"

Host *
    UserKnownHostsFile "{self.directory}/known_hosts"
"""
        (self.directory / "ssh_config").write_text(text)

    def write_variables(self, **more: object) -> Path:
        """What the inventory has to know of this run."""
        path = self.directory / "variables.json"
        path.touch(0o600)
        variables = {
            "lab_dir": str(self.directory),
            "lab_edge_port": self.edge.port,
            "lab_edge_password": self.edge.password,
        }
        path.write_text(json.dumps(variables | more, indent=2))
        return path

    def report(self) -> list[tuple[str, str, str]]:
        """Hop, logins and work since the last report."""
        rows = []
        for hop in self.hops:
            served = hop.served
            words = [", ".join(f"{what} ({count})" for what, count in sorted(counts.items()))
                     for counts in (served.logins, served.work)]  # fmt: skip
            rows.append((hop.name, words[0] or "nobody", words[1] or "nothing"))
            served.logins.clear()
            served.work.clear()
        return rows
