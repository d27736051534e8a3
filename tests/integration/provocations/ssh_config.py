# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""OpenSSH's configuration that cannot be followed, and hosts of the inventory that cannot be hops."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from lab.playbook import environment

from .provocation import Provocation, Stage, Variables, setting

OF_WEB = "ssh_config for web"


def _asked(message: str, arguments: str, keyword: str = "") -> Provocation:
    """Of arguments for ssh; keyword: that the message names."""
    return setting(message, f"{OF_WEB}{keyword}", ansible_ssh_common_args=arguments)


def _without_ssh(stage: Stage) -> dict[str, Any]:
    """A PATH without the ssh program."""
    return {"env": {"PATH": environment(stage.lab)["PATH"].partition(":")[0]}}


def _with_a_torn_ssh(stage: Stage) -> dict[str, Any]:
    """A PATH whose ssh is no program."""
    return _with_ssh(stage, "\x7fELF torn")


def _with_another_ssh(stage: Stage) -> dict[str, Any]:
    """A PATH whose ssh takes something else for the host, as before OpenSSH 9.4 with -P, which is not handed over to it now."""
    return _with_ssh(stage, "#!/bin/sh\necho host 22\n")


def _with_ssh(stage: Stage, program: str) -> dict[str, Any]:
    path = stage.lab.path / stage.name("bin")
    path.mkdir()
    (path / "ssh").write_text(program)
    (path / "ssh").chmod(0o755)
    return {"env": {"PATH": f"{path}:{_without_ssh(stage)['env']['PATH']}"}}


def _written(message: str, text: str, names: str = "…:1", arguments: str = "") -> Provocation:
    """Of a file of ssh_config."""

    def host(stage: Stage) -> Variables:
        return {
            "ansible_connection": "bastion.ssh.jump",
            "ansible_host": "web",
            "ansible_ssh_config_file": str(stage.file(text)),
            "ansible_ssh_common_args": arguments,
        }

    return Provocation(message, names, host, status="failed")


def _plain(message: str, text: str, names: str = "…:1", arguments: str = "") -> Provocation:
    """Of a file that paramiko has to read, as there is no ssh."""
    return replace(_written(message, text, names, arguments), around=_without_ssh)


_ASKED = [
    _asked("OpenSSH refuses it: …", "-o Prot=1"),
    _written(
        "'ssh -G' did not end within … seconds; does a Match exec, or a name server, hang?",
        'Match exec "exec sleep 60"\n', OF_WEB,
    ),
    _written(
        "jump host loop: …; let one of them have no jump host, by ansible_ssh_jump: none, or by "
        "'ProxyJump none' before what sets it in ssh_config",
        "Host web\n  ProxyJump edge\nHost edge\n  ProxyJump web\n", "ssh_config for …",
    ),
    _asked("connections cannot be bound to an interface; BindAddress can be used", "-B lo", ": bindinterface"),
    _asked(
        "a ProxyCommand cannot hand its connection over; let it carry the bytes", "-o ProxyUseFdpass=yes",
        ": proxyusefdpass",
    ),
    _asked("… cannot be read", "-o 'UserKnownHostsFile=\"/known hosts\"'", ": userknownhostsfile"),
    _asked("the environment has no …", "-o 'IdentityFile=${NOWHERE}/id'", ": IdentityFile"),
    replace(_asked("… cannot be started: …", "-C"), around=_with_a_torn_ssh),
    replace(_asked("ssh takes … for the host; look at the arguments for ssh", "-C"), around=_with_another_ssh),
]  # fmt: skip


_READ_PLAINLY = [
    # Of OpenSSH 10; where there is no ssh, paramiko's reader knows it, too.
    _plain("the connection is refused there", "RefuseConnection no\n", f"{OF_WEB}: refuseconnection"),
    _plain("it cannot be read: …", "Host web\n  HostName\n", OF_WEB),
    _plain("both ProxyJump and ProxyCommand apply: …", "ProxyCommand nc %h %p\n", OF_WEB, "-J edge"),
    _plain("… more than once: …", "SetEnv A=1\nSetEnv B=1\n", OF_WEB),
    _plain("… of several: …", "SetEnv A=1 B=2\n"),
    _plain("a line of several: …", "", "-o …", "-o 'User me\nPort 22'"),
    _plain("… with [: …", "Host web[12]\n"),
    _plain("no such keyword: …", "ProxyJmp edge\n"),
    _plain("Include: …", "Include /etc/ssh/*\n"),
    _plain("Match …: …", "Match exec true\n"),
    _plain(
        "that takes the ssh program to read, which is not installed here, or does not know this user; "
        "ansible_ssh_config_file can name another file, or 'none'",
        "Include /etc/ssh/*\n", "…:1: Include",
    ),
]  # fmt: skip


def _looked_up(message: str, *names: str, **bastions: Mapping[str, Any]) -> Provocation:
    """A host that is reached over hosts of the inventory, whose variables these are."""

    def host(stage: Stage) -> Variables:
        for name, variables in bastions.items():
            stage.others.setdefault(name, {"ansible_host": name, **variables})
        listed = ", ".join(map(repr, names))
        return {
            "ansible_connection": "bastion.ssh.jump",
            "ansible_host": "web",
            "ansible_ssh_jump": f"{{{{ lookup('bastion.ssh.hops', {listed}) }}}}",
        }

    # Which of ansible-core's words come before differs between its versions.
    return Provocation(message, "…", host, status="failed")


_LOOKED_UP = [
    _looked_up("bastion.ssh.hops: names of hosts in the inventory are wanted"),
    _looked_up("bastion.ssh.hops: there is no host … in the inventory", "nobody"),
    _looked_up(
        "bastion.ssh.hops: jump host loop: …", "round",
        round={"ansible_ssh_jump": "{{ lookup('bastion.ssh.hops', 'round') }}"},
    ),
    _looked_up(
        "… is not followed for a jump host; set the same with other variables of …", "argued",
        argued={"ansible_ssh_common_args": "-o ProxyJump=outer"},
    ),
    _looked_up(
        "… is not the one of the host behind it, and there is one for all hops", "filed",
        filed={"ansible_ssh_config_file": "/file"},
    ),
    _looked_up(
        "bastion.ssh.hops: …: … and … are both set", "both",
        both={"ansible_ssh_jump": "outer", "ansible_proxy_command": "nc %h %p"},
    ),
]  # fmt: skip

PROVOCATIONS = [*_ASKED, *_READ_PLAINLY, *_LOOKED_UP]
