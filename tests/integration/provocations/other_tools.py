# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What OpenSSH's client and paramiko say in a situation, and what is said here in the same one."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab import TRUE, blackhole, play, playbook
from lab.brokers import kill
from lab.client import ssh_config
from paramiko import Transport

from .provocation import Provocation, Stage, Variables, over
from .ways import SOON

#: What a tool prints for a host of the inventory.
Tool = Callable[[Stage, Variables], str]


@dataclass(frozen=True)
class Pair:
    """A row of the page.

    :param old: what the other tool says, as on the page; there may be several in one row.
    :param tool: None where today's versions do not say it any more, or not each time.
    :param new: what is said here; none where nothing is, as all goes well.
    """

    old: str
    tool: Tool | None
    new: Provocation


# The other tools


def _ssh(stage: Stage, host: Variables, *options: str) -> str:
    """OpenSSH's client, without a terminal and without anybody who could be asked."""
    key = host.get("ansible_ssh_private_key_file", "/nonexistent")
    everywhere = {"StrictHostKeyChecking": "no", "IdentityFile": key, "IdentitiesOnly": "yes"}
    config = ssh_config(stage.lab, {"*": everywhere}, stage.name("ssh_config"))
    jumps = [f"{hop['user']}@{hop['host']}:{hop['port']}" for hop in host.get("ansible_ssh_jump", ())]
    line = ["ssh", "-F", str(config), *(["-J", ",".join(jumps)] if jumps else []), *options]
    line += ["-p", str(host["ansible_port"]), "-l", host["ansible_user"], host["ansible_host"], "true"]
    env = stage.lab.environment()
    done = subprocess.run(
        line, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30, start_new_session=True,
        check=False,
    )  # fmt: skip
    return done.stderr


_BEGINNING = """
import logging, paramiko, socket, sys
host, port, user, key = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
logging.basicConfig(format="%(message)s")
"""
_CLIENT = """
client = paramiko.SSHClient()
client.set_missing_host_key_policy(paramiko.AutoAddPolicy())
client.connect(host, port, user, key_filename=key, allow_agent=False, look_for_keys=False)
"""
_FORWARDED = """
client.get_transport().open_channel("direct-tcpip", (sys.argv[5], int(sys.argv[6])), ("127.0.0.1", 1))
"""
_COMMAND = """
command = paramiko.ProxyCommand("false")
command.process.wait()
paramiko.Transport(command)
command.send(b"SSH-2.0-x")
"""
_MANY_FILES = """
import os, resource
resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))
files = [os.open(os.devnull, os.O_RDONLY) for _number in range(1100)]
paramiko.ProxyCommand(f"nc {host} {port}").recv(1)
"""
# As where somebody wants the algorithm of an old server back.
_SHA1 = """
transport = paramiko.Transport((host, port))
transport._preferred_keys = ("ssh-rsa",)
transport.start_client(timeout=10)
"""


def _paramiko(program: str) -> Tool:
    """A program of paramiko's users."""

    def run(stage: Stage, host: Variables) -> str:
        target = {"host": host["ansible_host"], "port": host["ansible_port"]}
        first = host.get("ansible_ssh_jump", [target])[0]
        arguments = [first["host"], first["port"], host["ansible_user"], host["ansible_ssh_private_key_file"]]
        arguments += [host["ansible_host"], host["ansible_port"]]
        line = [sys.executable, "-c", _BEGINNING + program, *map(str, arguments)]
        done = subprocess.run(
            line, env=stage.lab.environment(), capture_output=True, text=True, timeout=60, check=False
        )
        return done.stderr

    return run


# The situations


async def _hanging_up(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    """Closes when it has heard who is there, as sshd does with one too many (MaxStartups)."""
    await reader.readline()


def _closing(stage: Stage) -> Variables:
    return stage.host(stage.lab.sink(_hanging_up), **SOON)


def _silent(stage: Stage) -> Variables:
    return stage.host(stage.lab.sink(blackhole), **SOON)


def _forbidding(stage: Stage) -> Variables:
    return stage.host(stage.server, **over(stage.hop(stage.sshd(AllowTcpForwarding=False))))


def _impatient(stage: Stage) -> Variables:
    """A target that bears few tries, and keys that it does not know."""
    keys = [stage.lab.key(stage.name("wrong")) for _number in range(4)]
    target = stage.lab.sshd(stage.name("sshd"), users=[stage.user], keys=keys[:1], MaxAuthTries=2)
    arguments = " ".join(f"-i {key.path}" for key in keys[1:])
    host = stage.host(target, ansible_ssh_common_args=arguments, ansible_ssh_private_key_file=None)
    return host | over(stage.hop(stage.server))


def _with_wrong_keys(stage: Stage, host: Variables) -> str:
    key = {"ansible_ssh_private_key_file": str(stage.key.path)}  # of the bastion
    return _ssh(stage, host | key, *host["ansible_ssh_common_args"].split())


def _refusing(stage: Stage) -> Variables:
    return stage.host(stage.server, ansible_ssh_private_key_file=str(stage.lab.key(stage.name("wrong")).path))


def _locked(stage: Stage) -> Variables:
    key = stage.lab.key(stage.name("locked"), passphrase="secret")
    server = stage.lab.sshd(stage.name("sshd"), users=[stage.user], keys=[key])
    return stage.host(server, ansible_ssh_private_key_file=str(key.path))


def _sha1_host_key(stage: Stage) -> Variables:
    return stage.host(stage.sshd(key_types=["rsa"], HostKeyAlgorithms="ssh-rsa"))


def _by_a_command(stage: Stage) -> Variables:
    return stage.host(stage.server, ansible_proxy_command="false")


def _with_a_long_path(stage: Stage) -> Variables:
    """Where a socket of 100 characters has no room for what is added to its name."""
    directory = stage.lab.path / stage.name("x" * (90 - len(str(stage.lab.path))))
    return stage.host(stage.server, ansible_ssh_persist_directory=str(directory / ("y" * 40)))


def _with_a_control_path(stage: Stage, host: Variables) -> str:
    path = str(stage.lab.path / "c").ljust(100, "x")
    return _ssh(stage, host, "-o", "ControlMaster=yes", "-o", "ControlPersist=1", "-o", f"ControlPath={path}")


def _after_a_death(stage: Stage) -> Variables:
    """A broker that was killed, and whose socket is there still."""
    host = stage.host(stage.server, ansible_ssh_persist_directory=str(stage.lab.path / stage.name("killed")))
    playbook(stage.lab, {"host": host}, play(TRUE)).check()
    log = Path(host["ansible_ssh_persist_directory"], "broker.log").read_text()
    kill(int(log.split()[2]))
    return host


def _by_nc(stage: Stage) -> Variables:
    return stage.host(stage.server, ansible_proxy_command="nc %h %p")


_OPEN_FILES = (
    "import os, sys; [os.set_inheritable(os.open(os.devnull, 0), True) for number in range(1100)]; "
    "os.execv(sys.argv[1], sys.argv[1:])"
)


def _with_many_files(_stage: Stage) -> dict[str, Any]:
    """Descriptors from 1024 on for all that is opened; in the own process, as a broker gets none of them."""
    line = f"ulimit -n 4096; exec {sys.executable} -c '{_OPEN_FILES}' \"$@\""
    return {"shell": line, "env": {"ANSIBLE_SSH_PERSIST": "0"}}


def _by_builtin_ssh(stage: Stage, host: Variables) -> str:
    """A playbook over ansible-core's own connection plugin."""
    old = host | {"ansible_connection": "ansible.builtin.ssh", "ansible_ssh_common_args": "-F none"}
    run = playbook(stage.lab, {"host": old}, play(TRUE))
    return str(run.result("host").result["msg"])


# Side by side


def _said(message: str, host: Callable[[Stage], Variables], hop: str = "target", **more: Any) -> Provocation:
    return Provocation(message, hop, host, **more)


def _well(host: Callable[[Stage], Variables], **more: Any) -> Provocation:
    return Provocation("", "", host, status="ok", **more)


_ENDED = "it closed the connection before an SSH conversation began"
_FORBIDS = "it refuses to forward to …"
_LOCKED = r"login refused\. Tried: .+; not offered: .+: "

PAIRS = [
    Pair("Failed to connect to the host via ssh.", _by_builtin_ssh, _said(_ENDED, _closing)),
    Pair("Connection closed by UNKNOWN port 65535", _ssh, _said(_FORBIDS, _forbidding, "jump host 1 of 1")),
    Pair("kex_exchange_identification: Connection closed by remote host", _ssh, _said(_ENDED, _closing)),
    Pair("Error reading SSH protocol banner", _paramiko(_CLIENT), _said(_ENDED, _closing)),
    Pair(
        "Connection timed out during banner exchange",
        lambda stage, host: _ssh(stage, host, "-o", "ConnectTimeout=2"),
        _said("connected, but no SSH answer within … seconds", _silent),
    ),
    Pair(
        "Received disconnect from UNKNOWN port 65535:2: Too many authentication failures",
        _with_wrong_keys,
        _said("the server ended the login at its MaxAuthTries", _impatient, "target", before="login refused.+: "),
    ),
    Pair("Authentication failed.", _paramiko(_CLIENT), _said("login refused. Tried: …", _refusing)),
    Pair(
        "read_passphrase: can't open /dev/tty",
        lambda stage, host: _ssh(stage, host, "-v"),
        _said("it needs a passphrase and none is set", _locked, before=_LOCKED),
    ),
    Pair(
        "Secsh channel 0 open FAILED: open failed: Administratively prohibited",
        _paramiko(_CLIENT + _FORWARDED),
        _said(_FORBIDS, _forbidding, "jump host 1 of 1"),
    ),
    Pair(
        'ProxyCommand("…") returned nonzero exit status',
        _paramiko(_COMMAND),
        _said("the connection through the ProxyCommand ended: …", _by_a_command),
    ),
    Pair(
        "KeyError 'ssh-rsa'",
        # Until version 5, paramiko takes SHA-1.
        None if "ssh-rsa" in Transport._key_info else _paramiko(_SHA1),  # type: ignore[attr-defined]
        _said("the server offers only the host key algorithms …", _sha1_host_key),
    ),
    # Said only where the other side ends between two steps of the client, which cannot be arranged.
    Pair("mux_client_hello_exchange: write packet: Broken pipe", None, _well(_after_a_death)),
    Pair('unix_listener: "…" too long for Unix domain socket', _with_a_control_path, _well(_with_a_long_path)),
    Pair(
        "filedescriptor out of range in select()",
        _paramiko(_MANY_FILES),
        _well(_by_nc, around=_with_many_files),
    ),
]
