# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test what the playbook bastion.ssh.chain shows of the routes of an inventory, without connecting."""

from __future__ import annotations

import json
import re
import shutil
from typing import Any

import pytest
from ansible.release import __version__ as core
from lab import Chain3, Lab, play, playbook
from lab.client import ssh_config
from lab.playbook import own_playbook

pytestmark = pytest.mark.ways("own process")  # there is no session


def inventory(lab: Lab, chain3: Chain3) -> dict[str, Any]:
    """Return two hosts behind the same bastions, with values from all sources, and one of another connection type."""
    b = {
        "HostName": chain3.b.address,
        "Port": chain3.b.port,
        "User": "operator",
        "IdentityFile": "~/%r",
        "Compression": "yes",
    }
    config = ssh_config(lab, {"core": b})
    first = {"host": chain3.a.address, "port": 2222, "user": "guest", "password": "SECRET", "timeout": 3}
    common = {
        "ansible_connection": "bastion.ssh.jump",
        "ansible_ssh_config_file": str(config),
        "ansible_ssh_jump": [first, "core"],
        "ansible_password": "SECRET",
    }
    return {
        "web": common | {"ansible_host": "192.0.2.1", "ansible_user": "deploy", "ansible_ssh_known_hosts": "/known"},
        "db": common | {"ansible_host": "192.0.2.2", "ansible_port": 23, "ansible_ssh_private_key_file": "/key"},
        "here": {"ansible_connection": "local"},
    }


def shown(lab: Lab, hosts: dict[str, Any], *args: str, expected: int = 0) -> str:
    file = lab.path / "ways.json"
    file.write_text(json.dumps({"all": {"hosts": hosts}}))
    return own_playbook(lab, "bastion.ssh.chain", "-i", str(file), *args, expected=expected)


def test_each_route_is_a_line_with_the_hosts_behind_it(lab: Lab, chain3: Chain3) -> None:
    hosts = inventory(lab, chain3)
    a, b = f"guest@{chain3.a.address}:2222", f"operator@{chain3.b.endpoint}"
    hosts["edge"] = hosts["web"] | {
        "ansible_host": chain3.a.address,
        "ansible_ssh_jump": "none",
        "ansible_ssh_jumps": "x",
    }
    hosts["tunnel"] = hosts["edge"] | {"ansible_proxy_command": "nc %h %p"}
    text = shown(lab, hosts)
    lines = re.findall(r'^        "(.*?)",?$', text, re.MULTILINE)
    assert lines[:4] == [
        "controller: edge",
        "controller -> ProxyCommand: tunnel",
        f"controller -> {a} -> {b}: web, db",
        "connection local: here",
    ]
    assert (
        "note: ansible_ssh_jumps is not a variable of bastion.ssh.jump. Is ansible_ssh_jump meant? (edge, tunnel)"
        in lines
    )
    assert "ansible_ssh_known_hosts" not in text


@pytest.mark.parametrize("args", [("-v",), ("-l", "web")])
def test_details_are_shown_with_verbosity_and_for_one_host(args: tuple[str, ...], lab: Lab, chain3: Chain3) -> None:
    text = shown(lab, inventory(lab, chain3), *args)
    assert f'"web: controller -> guest@{chain3.a.address}:2222 -> ' in text
    assert '"        known_hosts: /known (ansible_ssh_known_hosts)"' in text
    assert "(default)" not in text
    assert '"values"' not in text  # the JSON of the module


def test_each_value_is_shown_with_who_says_it(lab: Lab, chain3: Chain3) -> None:
    words = re.sub(r'[",\s]+', " ", shown(lab, inventory(lab, chain3), "-v"))
    a, b = chain3.a.address, chain3.b
    for line in (
        f"controller -> guest@{a}:2222 -> operator@{b.address}:{b.port} -> deploy@192.0.2.1:22",
        f"jump host 1 of 2 guest@{a}:2222 host: {a} (ansible_ssh_jump[0]) port: 2222 (ansible_ssh_jump[0])",
        "password: (set) (ansible_ssh_jump[0])",
        "timeout: 3 s (ansible_ssh_jump[0])",
        f"host: {b.address} (ssh_config) port: {b.port} (ssh_config) user: operator (ssh_config)",
        "/operator (ssh_config)",
        "compression: True (ssh_config)",
        "host: 192.0.2.1 (ansible_host) user: deploy (ansible_user) password: (set) (ansible_password)",
        "known_hosts: /known (ansible_ssh_known_hosts)",
        "port: 23 (ansible_port)",
        "key: /key (ansible_ssh_private_key_file)",
        "its connection is local",
    ):
        assert line in words, words
    assert "SECRET" not in words
    assert "(default)" not in words
    assert [server.connections() for server in chain3.hosts] == [0, 0, 0]


def test_the_module_returns_the_same_as_data(lab: Lab, chain3: Chain3) -> None:
    run = playbook(lab, inventory(lab, chain3), play({"name": "Way", "bastion.ssh.chain": {}}, hosts="web")).check()
    result = run.result("web").result
    labels = [f"guest@{chain3.a.address}:2222", f"operator@{chain3.b.endpoint}", "deploy@192.0.2.1:22"]
    assert result["chain"] == labels == [hop["hop"] for hop in result["hops"]]
    assert [leg["name"] for leg in result["legs"]] == [*labels[:2], f"web: {labels[2]}"]
    assert [leg["from"] for leg in result["legs"]] == ["controller", *(leg["to"] for leg in result["legs"][:2])]
    assert {"name": "user", "value": "operator", "source": "ssh_config"} in result["hops"][1]["values"]
    assert {"name": "timeout", "value": "10 s", "source": "default"} in result["hops"][1]["values"]
    assert "SECRET" not in json.dumps(result)


@pytest.mark.parametrize(("suffix", "arrow"), [("mmd", "--> h"), ("dot", " -> h")])
def test_all_ways_are_drawn(suffix: str, arrow: str, lab: Lab, chain3: Chain3) -> None:
    hosts = inventory(lab, chain3)
    # The same address behind another bastion is another host.
    hosts["twin"] = hosts["web"] | {"ansible_ssh_jump": "other"}
    hosts["tunnel"] = hosts["web"] | {
        "ansible_ssh_jump": "none",
        "ansible_proxy_command": "connect --password SECRET %h",
    }
    # A bastion that is a host as well, where another user logs in.
    hosts["edge"] = hosts["web"] | {"ansible_host": chain3.a.address, "ansible_port": 2222, "ansible_ssh_jump": "none"}
    words = shown(lab, hosts, "-e", f"bastion_ssh_picture=ways.{suffix}")  # beside the user who runs it
    picture = lab.path / f"ways.{suffix}"
    assert str(picture) in words
    text = picture.read_text()
    bastions = [f"guest@{chain3.a.address}:2222", f"operator@{chain3.b.endpoint}"]
    edge = f"edge: guest@{chain3.a.address}:2222, deploy@{chain3.a.address}:2222"
    for label in (edge, bastions[1], *(f"{name}: deploy@192.0.2.1:22" for name in ("web", "twin", "tunnel"))):
        assert f'"{label}"' in text
    assert text.count(arrow) == 7  # to three bastions and to four hosts
    assert text.count("ProxyCommand") == 1
    assert "SECRET" not in text + words


def test_what_cannot_be_drawn_is_an_error(lab: Lab, chain3: Chain3) -> None:
    hosts = inventory(lab, chain3)
    assert "has to end in .svg" in shown(lab, hosts, "-e", "bastion_ssh_picture=ways.txt", expected=2)
    there = shutil.which("dot") is not None
    words = shown(lab, hosts, "-e", f"bastion_ssh_picture={lab.path}/ways.svg", expected=0 if there else 2)
    assert ("takes the program dot" in words) is not there
    assert (lab.path / "ways.svg").exists() is there


def test_a_way_that_cannot_be_gone_is_an_error_of_its_host(lab: Lab, chain3: Chain3) -> None:
    hosts = inventory(lab, chain3)
    hosts["bad"] = hosts["web"] | {"ansible_ssh_jump": "a,"}
    words = re.sub(r"\s+", " ", shown(lab, hosts, expected=2))
    assert "ansible_ssh_jump[1]: the hop is empty" in words
    assert re.search(r"web : ok=2", words)
    assert ": web, db" in words


def test_sources_are_those_that_ansible_tells(lab: Lab) -> None:
    config = lab.path / "own.cfg"
    config.write_text("[defaults]\ntimeout = 20\n[bastion_ssh]\njump = edge\n")
    hosts = {"web": {"ansible_connection": "bastion.ssh.jump", "ansible_ssh_config_file": "none"}}
    env = {"ANSIBLE_CONFIG": str(config), "ANSIBLE_SSH_KNOWN_HOSTS": "/known"}
    run = playbook(lab, hosts, play({"name": "Way", "bastion.ssh.chain": {}}), args=["-u", "ops"], env=env).check()
    lines = "\n".join(run.result("web").result["lines"])
    for line in (
        f"host: edge ({config})",
        "known_hosts: /known (ANSIBLE_SSH_KNOWN_HOSTS)",
    ):
        assert line in lines, lines
    if tuple(map(int, core.split(".")[:2])) >= (2, 21):  # which keeps the origin of all options
        assert "host: web (inventory_hostname)" in lines, lines
        assert re.search(r"user: ops \((cli|keyword)\b.*\)", lines), lines


def test_what_has_no_effect_is_noted(lab: Lab, chain3: Chain3) -> None:
    hosts = inventory(lab, chain3)
    words = shown(lab, {"web": hosts["web"] | {"ansible_ssh_extra_args": "-X"}})
    assert "note: -X of ansible_ssh_extra_args has no effect on this connection" in re.sub(r"\s+", " ", words)
