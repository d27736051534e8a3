# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the lookup of inventory hosts as hops, in real plays over real servers."""

from __future__ import annotations

from typing import Any

import pytest
from lab import Chain3, Lab, play, playbook, raw
from lab.client import ssh_config
from lab.playbook import Run

JUMP = "ansible_ssh_jump"


def hops(*names: str) -> str:
    return "{{ lookup('bastion.ssh.hops', " + ", ".join(map(repr, names)) + ") }}"


def inventory(chain3: Chain3, **more: dict[str, Any]) -> dict[str, Any]:
    """Return the three servers as hosts: edge with a password, core with a key, web with a certificate, each set in its own variables."""
    users, keys = chain3.users, chain3.keys
    common = {"ansible_connection": "bastion.ssh.jump"}

    def server(place: int) -> dict[str, Any]:
        host = chain3.hosts[place]
        return common | {"ansible_host": host.address, "ansible_port": host.port, "ansible_user": users[place].name}

    made = {
        "edge": server(0) | {"secret": users[0].password, "ansible_password": "{{ secret }}"},
        "core": server(1) | {"ansible_ssh_private_key_file": str(keys[1].path)},
        "web": server(2) | {"ansible_ssh_private_key_file": str(keys[2].path)},
        # Evaluating this one fails.
        "broken": {"ansible_host": "{{ there_is_no_such_variable }}"},
    }
    return {name: variables | more.get(name, {}) for name, variables in made.items()}


def run(lab: Lab, hosts: dict[str, Any], **options: Any) -> Run:
    return playbook(lab, hosts, play(raw("id -un"), hosts="web"), **options)


def message(result: Run) -> str:
    assert result.result("web").status in ("failed", "unreachable"), result
    return str(result.result("web").result["msg"])


@pytest.mark.parametrize(
    "ways",
    [
        {"web": hops("edge", "core")},
        {"web": hops("edge", "core").replace("lookup", "query")},
        {"web": hops("core"), "core": hops("edge")},
        {"web": hops("core"), "core": hops("edge"), "edge": "none"},
        # A later host's own route is ignored: its position in the list defines the route.
        {"web": hops("edge", "core"), "core": hops("broken")},
    ],
)
def test_hosts_of_the_inventory_are_hops(ways: dict[str, str], lab: Lab, chain3: Chain3) -> None:
    hosts = inventory(chain3, **{name: {JUMP: value} for name, value in ways.items()})
    assert run(lab, hosts).check().result("web").result["stdout"].strip() == chain3.users[2].name
    assert chain3.login_counts() == [1, 1, 1]


def test_a_delegate_has_its_own_way(lab: Lab, chain3: Chain3) -> None:
    hosts = inventory(chain3, web={JUMP: hops("core")}, core={JUMP: hops("edge")})
    hosts["here"] = {"ansible_connection": "local"}
    tasks = play(raw("id -un", delegate_to="web"), hosts="here")
    result = playbook(lab, hosts, tasks).check().result("here").result
    assert result["stdout"].strip() == chain3.users[2].name


def test_a_way_can_be_a_template_of_group_variables(lab: Lab, chain3: Chain3) -> None:
    hosts = inventory(chain3)
    whole = {
        "all": {
            "children": {
                "site": {"hosts": {"web": hosts["web"]}, "vars": {"bastions": ["edge", "core"],
                         JUMP: "{{ lookup('bastion.ssh.hops', bastions) }}"}},
                "others": {"hosts": {name: hosts[name] for name in ("edge", "core", "broken")}},
            }
        }
    }  # fmt: skip
    assert run(lab, whole).check().result("web").result["stdout"].strip() == chain3.users[2].name


def test_a_hosts_proxy_command_leads_to_it(lab: Lab, chain3: Chain3) -> None:
    hosts = inventory(chain3, web={JUMP: hops("edge", "core")}, edge={"ansible_proxy_command": "nc %h %p"})
    assert run(lab, hosts).check().result("web").result["stdout"].strip() == chain3.users[2].name


# trust: T06
@pytest.mark.parametrize(
    ("ways", "circle"),
    [
        ({"web": hops("edge"), "edge": hops("edge")}, "edge -> edge"),
        ({"web": hops("edge"), "edge": hops("core"), "core": hops("edge")}, "edge -> core -> edge"),
        ({"web": hops("edge"), "edge": hops("web")}, "edge -> web -> edge"),
    ],
)
def test_a_circle_of_hosts_is_told_at_once(ways: dict[str, str], circle: str, lab: Lab, chain3: Chain3) -> None:
    hosts = inventory(chain3, **{name: {JUMP: value} for name, value in ways.items()})
    assert f"jump host loop: {circle}; let ansible_ssh_jump" in run(lab, hosts).text
    assert [server.connections() for server in chain3.hosts] == [0, 0, 0]


# trust: T06
def test_a_circle_of_hosts_and_of_the_file_is_told_at_once(lab: Lab, chain3: Chain3) -> None:
    a, _b, target = chain3.hosts
    config = ssh_config(lab, {a.address: {"ProxyJump": f"{chain3.users[2].name}@{target.endpoint}"}})
    hosts = inventory(chain3, web={JUMP: hops("edge"), "ansible_ssh_config_file": str(config)})
    words = message(run(lab, hosts))
    assert f"jump host loop: {target.address} -> {a.address} -> {target.address};" in words
    assert [server.connections() for server in chain3.hosts] == [0, 0, 0]


def test_a_host_that_is_not_there_is_an_error(lab: Lab, chain3: Chain3) -> None:
    ways = {
        "absent": (hops("nobody"), "there is no host 'nobody' in the inventory"),
        "unnamed": (hops(), "names of hosts in the inventory are wanted"),
        "undefined": (hops("broken"), "there_is_no_such_variable"),
    }
    hosts = inventory(chain3)
    hosts |= {name: hosts["web"] | {JUMP: way} for name, (way, _words) in ways.items()}
    done = playbook(lab, hosts, play(raw("id -un"), hosts=",".join(ways)))
    assert [words for _way, words in ways.values() if words not in done.text] == []
    assert [name for name in ways if done.recap.get(name, {}).get("ok")] == []


def test_both_kinds_of_way_to_a_bastion_is_an_error(lab: Lab, chain3: Chain3) -> None:
    edge = {JUMP: hops("core"), "ansible_proxy_command": "nc %h %p"}
    hosts = inventory(chain3, web={JUMP: hops("edge")}, edge=edge)
    assert f"{chain3.a.address}: ansible_ssh_jump and ansible_proxy_command are both set" in run(lab, hosts).text


LOST: list[tuple[dict[str, Any], str]] = [
    ({"ansible_ssh_common_args": "-o ProxyJump=outer"}, "ansible_ssh_common_args is not followed for a jump host"),
    ({"ansible_ssh_common_args": "-o ''"}, "ansible_ssh_common_args is not followed for a jump host"),
    ({"ansible_ssh_extra_args": "-C -l nobody"}, "ansible_ssh_extra_args is not followed for a jump host"),
    ({"ansible_ssh_args": "-F /f"}, "ansible_ssh_args is not followed for a jump host"),
    ({"ansible_ssh_config_file": "/f"}, "ansible_ssh_config_file is not the one of the host behind it"),
]


def test_what_would_be_lost_of_a_bastion_is_an_error(lab: Lab, chain3: Chain3) -> None:
    hosts = inventory(chain3)
    for number, (variables, _words) in enumerate(LOST):
        hosts[f"edge{number}"] = hosts["edge"] | variables
        hosts[f"web{number}"] = hosts["web"] | {JUMP: hops(f"edge{number}", "core")}
    done = playbook(lab, hosts, play(raw("id -un"), hosts="web?"))
    for number, (_variables, words) in enumerate(LOST):
        assert f"edge{number}: {words}" in done.text
    assert [server.connections() for server in chain3.hosts] == [0, 0, 0]


def test_what_leads_nowhere_else_is_no_loss(lab: Lab, chain3: Chain3) -> None:
    harmless = {"ansible_ssh_common_args": "-C -o ControlMaster=auto -o ControlPersist=60s"}
    run(lab, inventory(chain3, web={JUMP: hops("edge", "core")}, edge=harmless)).check()


# trust: T17
def test_a_bastions_own_bastion_gets_what_that_ones_variables_say(lab: Lab, chain3: Chain3) -> None:
    a, user = chain3.a, chain3.users[0]
    core = {
        JUMP: f"{a.address}:{a.port}",
        "ansible_ssh_jump_user": user.name,
        "ansible_ssh_jump_password": user.password,
    }
    web = {JUMP: hops("core"), "ansible_ssh_jump_user": "nobody", "ansible_ssh_jump_password": "SENTINEL"}
    assert run(lab, inventory(chain3, web=web, core=core)).check().result("web").result["stdout"].strip()
    assert chain3.login_counts() == [1, 1, 1]
    assert a.failures() == []
