# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test that this project finds the same routes as OpenSSH, by running a real ssh and recording each ssh that it starts."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ansible_collections.bastion.ssh.plugins.plugin_utils.chain.arguments import read_arguments
from ansible_collections.bastion.ssh.plugins.plugin_utils.chain.inventory import InventoryOptions
from ansible_collections.bastion.ssh.plugins.plugin_utils.chain.model import Chain, KeyFile
from ansible_collections.bastion.ssh.plugins.plugin_utils.chain.resolve import resolve
from ansible_collections.bastion.ssh.plugins.plugin_utils.chain.tokens import Controller, expand_command
from ansible_collections.bastion.ssh.plugins.plugin_utils.errors import SettingsError
from ansible_collections.bastion.ssh.plugins.plugin_utils.openssh.client_config import ClientConfig

SSH = shutil.which("ssh") or "ssh"
DEEPEST = 20

# ssh starts the ssh of the hop before by its own name, so this one is found, too. A loop would never end by itself.
TRACED = """#!/bin/bash
printf '%s\\0' "$@" >>{log}
printf '\\n' >>{log}
export DEPTH=$((DEPTH + 1))
[ "$DEPTH" -lt {deepest} ] || exit 1
exec -a ssh {ssh} "$@"
"""
PROXY = '#!/bin/sh\necho "$@" >{log}\n'

Hop = tuple[str, int, str]


class Traced:
    """Run OpenSSH with a configuration, and record what it starts."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.config = directory / "config"
        self._log, self._proxied = directory / "log", directory / "proxied"
        for name, text in {
            "ssh": TRACED.format(log=self._log, deepest=DEEPEST, ssh=SSH),
            "proxy": PROXY.format(log=self._proxied),
        }.items():
            (directory / name).write_text(text)
            (directory / name).chmod(0o755)
        self.environment = {"PATH": f"{directory}:{os.environ['PATH']}", "SHELL": "/bin/sh"}

    def way(self, *arguments: str) -> tuple[list[Hop], str] | None:
        """Return the hops in order and the arguments of the first hop's ProxyCommand; None for a loop."""
        for path in (self._log, self._proxied):
            path.write_text("")
        command = ["ssh", "-F", str(self.config), "-o", "BatchMode=yes", *arguments, "true"]
        subprocess.run(
            command, env=self.environment, stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False
        )
        started = [line.split("\0")[:-1] for line in self._log.read_text().splitlines()]
        if len(started) >= DEEPEST:
            return None
        words = self._proxied.read_text().strip()
        looped = len(started) > 1 and not words and self._says_loop(started[-1])
        return None if looped else ([self._effective(argv) for argv in reversed(started)], words)

    def _says_loop(self, argv: list[str]) -> bool:
        """Return whether ssh itself reports a jump host loop; it may do so before it starts another ssh."""
        said = subprocess.run(
            [SSH, *argv], env=self.environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
        return "jumphost loop" in said.stderr

    def _effective(self, argv: list[str]) -> Hop:
        """Return the host, port and user that one of them would connect to."""
        inner = [word for word in argv if word != "true"]
        if "-W" in inner:
            place = inner.index("-W")
            del inner[place : place + 2]
        answer = subprocess.run([SSH, "-G", *inner], env=self.environment, capture_output=True, text=True, check=True)
        found = dict(line.split(" ", 1) for line in answer.stdout.splitlines() if " " in line)
        return found["hostname"], int(found["port"]), found["user"]

    def ours(self, name: str, arguments: str = "", **variables: Any) -> Chain:
        """Return the chain that this project finds."""
        given_arguments = read_arguments([("ansible_ssh_common_args", arguments)])
        asked = InventoryOptions(
            name, Controller("root"), config_file=str(self.config), arguments=given_arguments.asked, **variables
        )
        return resolve(asked, ClientConfig(SSH).config_lookup("/", self.environment)).chain

    def compare(self, name: str = "t", arguments: str = "") -> None:
        """Assert that both find the same route, or that both find a loop."""
        theirs = self.way(*arguments.split(), name)
        if theirs is None:
            with pytest.raises(SettingsError, match="jump host loop"):
                self.ours(name, arguments)
            return
        ours = self.ours(name, arguments)
        hops = [(hop.host, hop.port, hop.credentials.user) for hop in ours.hops]
        first = ours.hops[0]
        command = expand_command(first.proxy_command, first) if first.proxy_command else ""
        assert theirs == (hops, command.removeprefix("proxy ")), self.config.read_text()


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory) -> Traced:
    """Provide a directory with an ssh whose runs are recorded."""
    return Traced(tmp_path_factory.mktemp("traced"))


NAMES = "abct"
ENDS = {name: f"127.77.0.{number}" for number, name in enumerate(NAMES, 1)}
CLOSED = "".join(f"Host {name}\n HostName {address}\n" for name, address in ENDS.items())


# trust: T01, T03, T05, T08
@pytest.mark.parametrize(
    ("text", "arguments"),
    [
        ("", ""),
        ("Host t\n ProxyJump a\n", ""),
        ("Host t\n ProxyJump a,b,c\n", ""),
        ("Host t\n ProxyJump u@a:1,ssh://v@b:2\n", ""),
        ("Host t\n ProxyJump a\nHost a\n ProxyJump b\nHost b\n ProxyJump c\n", ""),
        ("Host t\n ProxyJump a,b\nHost b\n ProxyJump c\n", ""),
        ("Host t\n ProxyJump a,b\nHost a\n ProxyJump c\n", ""),
        ("Host t\n ProxyJump none\n ProxyJump a\n", ""),
        ("Host t\n ProxyJump a\n ProxyCommand proxy x\n", ""),
        ("Host t\n ProxyCommand proxy %h %p %r %n %%\n ProxyJump a\n", ""),
        ("Host t\n ProxyCommand none\n ProxyJump a\n", ""),
        ("Host t\n ProxyJump a\nHost a\n ProxyCommand proxy %h %p %r %n\n User u\n Port 7\n", ""),
        ("Host t\n ProxyJump a,b\nHost b\n ProxyCommand proxy x\n", ""),
        ("Match host t\n ProxyJump a\nMatch user u\n ProxyJump b\n", "-l u"),
        ("Match user u\n ProxyJump b\nHost t\n ProxyJump a\n", "-l u"),
        ("Host t\n User u\nMatch user u\n Port 7\n", ""),
        ("Match final host 127.77.0.4\n ProxyJump a\n", ""),
        ("Match exec true\n ProxyJump a\n", ""),
        ("Host t\n ProxyJump a\n", "-J b"),
        ("Host t\n ProxyJump a\n", "-J none"),
        ("Host t\n ProxyJump a\n", "-o ProxyCommand=none"),
        ("Host t\n ProxyJump a\nHost a\n User u\n", "-l me -p 7"),
        ("Host *\n User all\n Port 9\nHost t\n ProxyJump a\n", ""),
        ("Host !a *\n ProxyJump a\n", ""),
        ("Host ?\n ProxyJump a\nHost a\n ProxyJump none\n", ""),
        ("Host *\n ProxyJump a\n", ""),
        ("Host t\n ProxyJump t\n", ""),
        ("Host t\n ProxyJump a\nHost a\n ProxyJump b\nHost b\n ProxyJump a\n", ""),
        ("Host t\n ProxyJump a\nHost a\n ProxyJump u@a\n", ""),
    ],
)
def test_the_way_is_the_one_that_openssh_goes(text: str, arguments: str, traced: Traced) -> None:
    traced.config.write_text(text + CLOSED)
    traced.compare(arguments=arguments)


HOPS = st.builds(
    lambda user, host, port: f"{user}{host}{port}",
    st.sampled_from(["", "", "u@", "v@"]),
    st.sampled_from("abc"),
    st.sampled_from(["", "", ":7", ":8"]),
)
LINES = st.one_of(
    st.builds("ProxyJump {}".format, st.lists(HOPS, min_size=1, max_size=3).map(",".join)),
    st.just("ProxyJump none"),
    st.sampled_from(["ProxyCommand proxy %h %p %r %n", "ProxyCommand none"]),
    st.builds("User {}".format, st.sampled_from("uv")),
    st.builds("Port {}".format, st.integers(7, 9)),
    st.builds("HostName {}".format, st.sampled_from(["127.77.1.1", "127.77.1.2"])),
)
HEADS = st.one_of(
    st.builds(
        "Host {}".format,
        st.lists(st.sampled_from(["a", "b", "c", "t", "?", "!a", "!t", "*"]), min_size=1).map(" ".join),
    ),
    st.builds("Match {} {}".format, st.sampled_from(["host", "originalhost", "!host"]), st.sampled_from("abct")),
    st.builds("Match user {}".format, st.sampled_from("uv")),
    st.sampled_from(["Match all", "Match exec true", "Match exec false", "Match localuser root"]),
)
BLOCKS = st.builds(
    lambda head, lines: "\n ".join([head, *lines]) + "\n", HEADS, st.lists(LINES, min_size=1, max_size=3)
)


# trust: T03, T05, T06, T07
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(blocks=st.lists(BLOCKS, max_size=5), arguments=st.sampled_from(["", "", "-J b", "-J u@a:7,c", "-l u", "-p 8"]))
def test_generated_ways_are_those_that_openssh_goes(blocks: list[str], arguments: str, traced: Traced) -> None:
    traced.config.write_text("".join(blocks) + CLOSED)
    traced.compare(arguments=arguments)


# trust: T08
@pytest.mark.parametrize(
    "path",
    ["~/k", "/k/%h", "%d/k", "/k/%i", "/k/%k", "/k/%L", "/k/%l", "/k/%n", "/k/%p", "/k/%r", "/k/%u", "/k/%%h", "/k/${PLACE}",
     "~/%r@%h:%p", "/k/%h%%%n"],
)  # fmt: skip
@pytest.mark.parametrize("alias", ["", " HostKeyAlias known\n"])
def test_paths_are_expanded_as_openssh_expands_them(path: str, alias: str, traced: Traced) -> None:
    traced.config.write_text(f"Host t\n User ops\n Port 7\n IdentityFile {path}\n ProxyCommand true\n{alias}{CLOSED}")
    environment = traced.environment | {"PLACE": "%h"}
    command = [SSH, "-v", "-F", str(traced.config), "-o", "BatchMode=yes", "t", "true"]
    said = subprocess.run(
        command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    ).stderr
    theirs = re.findall(r"^debug1: identity file (.*) type -?\d+\r?$", said, re.MULTILINE)
    entry = pwd.getpwuid(os.geteuid())
    here = Controller(entry.pw_name, entry.pw_uid, entry.pw_dir, socket.gethostname(), tuple(environment.items()))
    asked = InventoryOptions("t", here, config_file=str(traced.config))
    identities = resolve(asked, ClientConfig(SSH).config_lookup("/", environment)).chain.target.credentials.identities
    assert [key.path for key in identities if isinstance(key, KeyFile)] == theirs[:1]
