# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run a real OpenSSH server in the foreground, on its own loopback address."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from . import processes
from .keys import Key, known_hosts_name, make_key
from .machine import MARK, SSHD, LabError
from .sshd_log import SshdLog
from .users import User

SFTP_SERVERS = ("/usr/lib/openssh/sftp-server", "/usr/libexec/openssh/sftp-server", "/usr/lib/ssh/sftp-server")

MAX_LISTEN_SOCKETS = 16  # compiled into sshd

Option = str | int | bool | Sequence[str]


def sftp_server() -> str:
    """Return the path of OpenSSH's stand-alone SFTP server."""
    for path in SFTP_SERVERS:
        if Path(path).exists():
            return path
    raise LabError("sftp-server not found")


def configuration(options: Mapping[str, Option]) -> str:
    """Return the text of an sshd_config: True is yes, False is no, a list becomes one line per item."""
    lines = []
    for name, value in options.items():
        values = value if isinstance(value, (list, tuple)) else [value]
        words = [{True: "yes", False: "no"}[item] if isinstance(item, bool) else str(item) for item in values]
        lines += [f"{name} {word}" for word in words]
    return "\n".join(lines) + "\n"


class Sshd(SshdLog):
    """Start and stop one SSH server, change its keys, and search its log."""

    def __init__(
        self,
        path: Path,
        addresses: Sequence[str],
        port: int,
        *,
        options: Mapping[str, Option],
        key_types: Sequence[str] = ("ed25519",),
        pam: str = "",
        mark: str,
    ) -> None:
        path.mkdir(parents=True)
        path.chmod(0o755)
        super().__init__(path / "log")
        self.path = path
        self.name = path.name
        self.addresses = list(addresses)
        self.port = port
        self._mark = mark
        self._pam = pam
        #: Called to end what keeps connections open.
        self.before_settling: Callable[[], None] = lambda: None
        self.keys: dict[str, Key] = {type: make_key(path / f"host_{type}", type) for type in key_types}
        (path / "authorized").mkdir()
        self._process: subprocess.Popen[bytes] | None = None
        self.options: dict[str, Option] = {
            "AuthorizedKeysFile": str(path / "authorized" / "%u"),
            "StrictModes": False,
            "PidFile": "none",
            "LogLevel": "DEBUG1",
            "UsePAM": False,
            "PermitRootLogin": True,
            "PasswordAuthentication": False,
            "KbdInteractiveAuthentication": False,
            "X11Forwarding": False,
            "PrintMotd": False,
            "PrintLastLog": False,
            "SetEnv": f"{MARK}={mark}",
        }
        # sshd takes the first value of a name, whatever its case.
        for name, value in options.items():
            self.options = {old: kept for old, kept in self.options.items() if old.lower() != name.lower()}
            self.options[name] = value

    def __repr__(self) -> str:
        return f"<sshd {self.name} {self.endpoint}>"

    @property
    def address(self) -> str:
        """Return its address; the first one if there are several."""
        return self.addresses[0]

    @property
    def endpoint(self) -> str:
        """Return address and port, as in PermitOpen or ansible_ssh_jump."""
        return self.endpoints[0]

    @property
    def endpoints(self) -> list[str]:
        """Return the same for all its addresses."""
        return [f"[{each}]:{self.port}" if ":" in each else f"{each}:{self.port}" for each in self.addresses]

    @property
    def pid(self) -> int:
        """Return the id of the listening process."""
        assert self._process, f"{self} is not running"
        return self._process.pid

    # Running

    def start(self) -> Sshd:
        """Start the server; return when the log says that it listens."""
        expected = self._configure()
        # Not -e, with which the last debug lines of a root login reach the client as stderr of its command.
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [*self._with_pam(), str(SSHD), "-D", "-E", str(self.log_path), "-f", str(self.path / "config")],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", MARK: self._mark},
                start_new_session=True,
            )
        self._wait_listening(expected)
        return self

    def _with_pam(self) -> list[str]:
        """Return a command line to run the server under, in which it has its own PAM service."""
        if not self._pam:
            return []
        service = self.path / "pam"
        service.write_text(self._pam)
        return ["unshare", "--mount", "sh", "-c", 'mount --bind "$0" /etc/pam.d/sshd && exec "$@"', str(service)]

    def _configure(self) -> int:
        """Write the configuration; return how many listening sockets the log will then have reported."""
        listen = [f"[{address}]:{self.port}" for address in self.addresses]
        if len(listen) > MAX_LISTEN_SOCKETS:
            listen = [f"0.0.0.0:{self.port}"]
        config = {"ListenAddress": listen, "HostKey": [str(key.path) for key in self.keys.values()], **self.options}
        (self.path / "config").write_text(configuration(config))
        return self.count("Server listening") + len(listen)

    def _wait_listening(self, times: int) -> None:
        process = self._process
        assert process
        what = f"{self} listening"
        processes.wait_until(lambda: self.count("Server listening") >= times or process.poll() is not None, 10, what)
        if process.poll() is not None:
            raise LabError(f"{self} did not start (status {process.returncode}):\n{self.log()}")

    def stop(self) -> None:
        """Kill the server and every session on it, as in a power failure."""
        if self._process:
            processes.end_child(self._process)
            self._process = None

    def restart(self) -> None:
        """Stop and start again, on the same address."""
        self.stop()
        self.start()

    def reload(self) -> None:
        """Reload keys and options for new connections; existing sessions stay."""
        expected = self._configure()
        os.kill(self.pid, signal.SIGHUP)
        self._wait_listening(expected)

    def sessions(self) -> list[int]:
        """Return the processes that serve connections now."""
        return processes.descendants(self.pid)

    def kill_sessions(self) -> None:
        """Kill every session, and leave the server listening."""
        processes.end(self.sessions())

    def settle(self, timeout: float = 10) -> None:
        """End the brokers' connections, and wait until no connection is left, so that the log is complete."""
        self.before_settling()
        processes.wait_until(lambda: not self.sessions(), timeout, f"end of all connections to {self}")

    # Keys

    def key(self, type: str | None = None) -> Key:
        """Return a host key, by default the first one."""
        return self.keys[type] if type else next(iter(self.keys.values()))

    def swap_keys(self, *types: str) -> dict[str, Key]:
        """Replace the host keys, by default with the same types; return the old keys. Existing sessions stay."""
        old = dict(self.keys)
        generation = len(list(self.path.glob("host_*.pub")))
        self.keys = {type: make_key(self.path / f"host_{type}_{generation}", type) for type in types or old}
        self.reload()
        return old

    def authorize(self, user: User | str, *keys: Key, options: str = "") -> None:
        """Let a user log in with these keys; options: of authorized_keys."""
        name = user if isinstance(user, str) else user.name
        with (self.path / "authorized" / name).open("a") as file:
            file.writelines(f"{options} {key.public}\n".lstrip() for key in keys)

    def fingerprint(self, type: str | None = None) -> str:
        """Return the fingerprint of a host key (SHA256:...)."""
        return self.key(type).fingerprint

    def known_hosts_line(self, name: str | None = None, type: str | None = None) -> str:
        """Return the known_hosts line of one host key, for all addresses or another name."""
        names = [known_hosts_name(address, self.port) for address in self.addresses]
        return f"{name or ','.join(names)} {self.key(type).public}"

    def known_hosts_lines(self, name: str | None = None) -> list[str]:
        """Return the known_hosts lines of all host keys."""
        return [self.known_hosts_line(name, type) for type in self.keys]
