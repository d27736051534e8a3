# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Provide the lab of one test: servers, keys, files and runs of Ansible, all under one directory."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from . import processes
from .agent import Agent
from .dropbear import Dropbear
from .forwarder import Forwarder
from .hostile import HostileServer, Plan
from .keys import Key, make_key, write_known_hosts
from .loop import LoopThread
from .machine import Machine, mounts
from .recording import RecordingServer
from .sinks import Behaviour, Sink, Unanswering
from .sshd import MAX_LISTEN_SOCKETS, Option, Sshd, sftp_server
from .users import Become, User

Server = Sshd | RecordingServer
Place = Server | Sink | Forwarder


class Lab(contextlib.ExitStack):
    """Run real SSH servers on loopback. Leaving the context ends every process that was started from it."""

    def __init__(self, machine: Machine | None = None) -> None:
        super().__init__()
        self.machine = machine or self.enter_context(Machine())
        self.path = Path(tempfile.mkdtemp(prefix="lab-", dir=self.machine.root))
        self.path.chmod(0o755)
        self.callback(self._leave)
        self.home = self.path / "home"
        self.home.mkdir(mode=0o700)
        self.hosts: list[Sshd] = []
        #: Whether runs and sessions share a broker; else each task connects by itself.
        self.broker = True
        self._users: set[User] = set()
        self._net = [random.randrange(1, 250), random.randrange(0, 250), 0]
        self._loop: LoopThread | None = None

    def __exit__(self, *error: Any) -> Any:
        self.end_brokers()  # first, as servers wait for their clients
        return super().__exit__(*error)

    def end_brokers(self) -> None:
        """End the brokers of this lab's runs and sessions, and with them all connections that they keep."""
        brokers = [pid for pid in self.running() if b"/broker/__main__.py" in processes.command_line(pid)]
        for pid in brokers:
            processes.send(pid, signal.SIGTERM)
        processes.wait_until(lambda: not any(map(processes.is_alive, brokers)), 30, "end of the brokers")

    def _leave(self) -> None:
        processes.end(self.running())
        for user in self._users:
            self.machine.users.end_processes(user.uid)
            self.machine.users.clean_home(user)
        for mount in mounts(self.path):
            subprocess.run(["umount", "--lazy", str(mount)], check=True)
        shutil.rmtree(self.path)

    def running(self) -> list[int]:
        """Return the live processes started from this lab: servers, sessions, runs and what they left behind."""
        return self.machine.running(str(self.path))

    @property
    def loop(self) -> LoopThread:
        """Return the event loop of the servers that run in this process."""
        if self._loop is None:
            self._loop = self.enter_context(LoopThread())
        return self._loop

    @property
    def broker_directory(self) -> Path:
        """Return the directory in which the broker of this lab's runs has its socket."""
        return self.home / ".ansible/bastion-ssh"

    # Addresses

    def address(self) -> str:
        """Return a new loopback address."""
        self._net[2] += 1
        if self._net[2] > 250:
            self._net = [random.randrange(1, 250), random.randrange(0, 250), 1]
        return "127." + ".".join(str(part) for part in self._net)

    @staticmethod
    def port(address: str = "127.0.0.1") -> int:
        """Return a port on which no process listens."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with socket.socket(family) as probe:
            probe.bind((address, 0))
            return int(probe.getsockname()[1])

    # Keys and users

    def key(self, name: str, type: str = "ed25519", passphrase: str | None = None, pem: bool = False) -> Key:
        """Make a key pair with a name."""
        (self.path / "keys").mkdir(mode=0o700, exist_ok=True)
        return make_key(self.path / "keys" / name, type, passphrase, pem)

    def user(self, role: str, *, sudo: Become | None = None, lecture: bool = False, doas: Become | None = None) -> User:
        """Return a system user, the same for the whole test session, with an empty home for this lab."""
        user = self.machine.users.get(role, sudo=sudo, lecture=lecture, doas=doas)
        if user not in self._users:
            self.machine.users.clean_home(user)
            self._users.add(user)
        return user

    def agent(self, *keys: Key) -> Agent:
        """Start an ssh-agent that holds these keys."""
        agent = self.enter_context(Agent(Path(tempfile.mkdtemp(prefix="agent-", dir=self.path)), str(self.path)))
        agent.add(*keys)
        return agent

    # Servers

    def sshd(
        self,
        name: str,
        *,
        users: Iterable[User | str] = (),
        keys: Iterable[Key] = (),
        password: bool = False,
        pam: bool | str = False,
        ca: Key | None = None,
        permit_open: Sequence[str] | None = None,
        key_types: Sequence[str] = ("ed25519",),
        sftp: str | None = "internal",
        banner: str | None = None,
        address: str | None = None,
        port: int | None = None,
        count: int = 1,
        **options: Any,
    ) -> Sshd:
        """Start an sshd.

        users: users that may log in (AllowUsers), all by default; keys: any of them logs in any of the users;
        password: whether passwords are accepted, too; pam: whether PAM also asks for a password by keyboard-interactive
        ("Password: "), or the text of a PAM service that does the asking;
        ca: a user CA whose certificates are trusted; permit_open: the only addresses to which it forwards;
        sftp: "internal", "external" or None; count: how many addresses it listens on, to serve as that many hosts;
        options: further options of sshd_config(5), such as MaxSessions=1.
        """
        path = self.path / "hosts" / name
        addresses = [address or self.address()] + [self.address() for _more in range(count - 1)]
        users = list(users)
        defaults: dict[str, Option] = {"PasswordAuthentication": password}
        if pam:
            defaults |= {"UsePAM": True, "KbdInteractiveAuthentication": True}
        many = count > MAX_LISTEN_SOCKETS
        # If it must listen on the wildcard address, allow logins from loopback only.
        names = [user if isinstance(user, str) else user.name for user in users]
        if names or many:
            defaults["AllowUsers"] = " ".join(f"{name}@127.0.0.0/8" if many else name for name in names or ["*"])
        if ca:
            defaults["TrustedUserCAKeys"] = f"{ca.path}.pub"
        if permit_open is not None:
            defaults |= {"AllowTcpForwarding": "local", "PermitOpen": " ".join(permit_open) or "none"}
        if sftp:
            defaults["Subsystem"] = "sftp " + ("internal-sftp" if sftp == "internal" else sftp_server())
        if banner is not None:
            defaults["Banner"] = str(path / "banner")
        port = port or self.port("0.0.0.0" if many else addresses[0])
        mark = str(self.path)
        service = pam if isinstance(pam, str) else ""
        host = Sshd(path, addresses, port, options=defaults | options, key_types=key_types, pam=service, mark=mark)
        host.before_settling = self.end_brokers
        if banner is not None:
            (path / "banner").write_text(banner)
        for user in users or ["root"]:
            host.authorize(user, *keys)
        self.hosts.append(host)
        self.callback(host.stop)
        return host.start()

    def recorder(self, name: str, **options: Any) -> RecordingServer:
        """Start a server that records what clients send; the options are those of RecordingServer."""
        address = self.address()
        path = self.path / "hosts" / name
        return self.enter_context(RecordingServer(self.loop, path, address, self.port(address), **options))

    def dropbear(self, name: str, user: User, key: Key) -> Dropbear:
        """Start a dropbear at which a user logs in with a key."""
        address = self.address()
        path = self.path / "hosts" / name
        return self.enter_context(Dropbear(path, address, self.port(address), user, key, str(self.path)))

    def hostile(self, name: str, plan: Plan) -> HostileServer:
        """Start a server that breaks the protocol."""
        address = self.address()
        return self.enter_context(HostileServer(self.path / "hosts" / name, address, self.port(address), plan))

    def sink(self, behaviour: Behaviour) -> Sink:
        """Start a TCP server that is not an SSH server: stuck, blackhole, closer or saying(b"...")."""
        address = self.address()
        return self.enter_context(Sink(self.loop, address, self.port(address), behaviour))

    def unanswering(self) -> Unanswering:
        """Open a port at which every connection attempt times out."""
        address = self.address()
        return self.enter_context(Unanswering(address, self.port(address)))

    def forwarder(self, target: Place | tuple[str, int], address: str = "", **options: Any) -> Forwarder:
        """Put a link that can be damaged before a server, on a new address by default; the options are those of Forwarder."""
        address = address or self.address()
        end = target if isinstance(target, tuple) else (target.address, target.port)
        return self.enter_context(Forwarder(self.loop, end, address, self.port(address), **options))

    # Files

    def disk(self, size: str) -> Path:
        """Mount a separate file system that any user may fill, and return its directory; the size as in mount -o size=1m."""
        path = Path(tempfile.mkdtemp(prefix="disk-", dir=self.path))
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=1777", "tmpfs", str(path)], check=True)
        return path

    def known_hosts(
        self,
        hosts: Iterable[Sshd | RecordingServer | HostileServer | str],
        name: str = "known_hosts",
        *,
        hashed: bool = False,
    ) -> Path:
        """Write a known_hosts file of servers and literal lines."""
        lines: list[str] = []
        for host in hosts:
            lines += [host] if isinstance(host, str) else host.known_hosts_lines()
        return write_known_hosts(self.path / name, lines, hashed)

    def trust(self, *hosts: Server | HostileServer | str, hashed: bool = False) -> Path:
        """Write the known_hosts file of the home directory that Ansible runs with."""
        return self.known_hosts(hosts, "home/.ssh/known_hosts", hashed=hashed)

    def environment(self, agent: Agent | None = None) -> dict[str, str]:
        """Return a clean environment for a program on the controller: the lab's home, and no agent unless given."""
        env = {
            "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
            "HOME": str(self.home),
            "LANG": "C.UTF-8",
            "SHELL": "/bin/sh",
            "BSSH_LAB": str(self.path),
        }
        if "COVERAGE_PROCESS_START" in os.environ:
            env["COVERAGE_PROCESS_START"] = os.environ["COVERAGE_PROCESS_START"]
        return env | (agent.env if agent else {})
