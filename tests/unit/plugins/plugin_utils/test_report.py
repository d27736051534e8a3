# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the playbooks show of many hosts: each route, jump host and key once."""

from __future__ import annotations

from typing import Any

from ansible_collections.bastion.ssh.plugins.plugin_utils.report import keys, picture, questions, routes, times

EDGE, CORE = "guest@edge:22", "op@core:22"
LOCAL = {"connection": "local", "hops": [], "chain": []}


def way(*chain: str, proxied: bool = False) -> dict[str, Any]:
    """What the module chain returns."""
    return {"chain": list(chain), "legs": [{"proxied": proxied and not index} for index in range(len(chain))]}


def test_a_route_is_one_line() -> None:
    results = {
        "web": way(EDGE, CORE, "me@web:22"),
        "edge": way("admin@edge:22"),
        "db": way(EDGE, CORE, "me@db:22") | {"notes": ["x"]},
        "pod": way("root@localhost:22", proxied=True),
        "here": LOCAL,
        "failed": {"msg": "ansible_ssh_jump: …", "failed": True},
    }
    assert routes(results) == [
        "controller: edge",
        "controller -> ProxyCommand: pod",
        "controller -> guest@edge:22 -> op@core:22: web, db",
        "connection local: here",
        "note: x (db)",
    ]


def names(results: dict[str, Any]) -> list[str]:
    return [node["name"] for node in picture(results)["nodes"]]


def test_a_bastion_that_is_a_host_is_one_node() -> None:
    results = {
        "web": way(EDGE, CORE, "me@web:22"),
        "edge": way("admin@edge:22"),
        "core": way(EDGE, CORE),
        "twin": way("other@gate:22", "me@web:22"),
    }
    assert names(results) == [
        "edge: guest@edge:22, admin@edge:22", "core: op@core:22", "web: me@web:22", "other@gate:22", "twin: me@web:22"
    ]  # fmt: skip
    edges = picture(results)["edges"]
    assert [(edge["from"], edge["to"]) for edge in edges] == [
        ("h1", "h2"),
        ("h2", "h3"),
        ("h3", "h4"),
        ("h1", "h5"),
        ("h5", "h6"),
    ]


def test_proxy_commands_may_lead_to_different_hosts_of_one_address() -> None:
    pods = {name: way("root@localhost:22", proxied=True) for name in ("pod1", "pod2")}
    assert names(pods) == ["pod1: root@localhost:22", "pod2: root@localhost:22"]
    tunnel = {"edge": way(EDGE, proxied=True), "web": way(EDGE, "me@web:22", proxied=True)}
    assert names(tunnel) == ["edge: guest@edge:22", "web: me@web:22"]
    assert [edge["proxied"] for edge in picture(tunnel)["edges"]] == [True, False]
    direct = {"a": way("me@a:22"), "b": way("me@a:22", proxied=True)}
    assert names(direct) == ["a: me@a:22", "b: me@a:22"]


def seen(*hops: tuple[str, str, str], complete: bool = True) -> dict[str, Any]:
    """What the module trust returns of hops: label, fingerprint, status."""
    last = len(hops) - 1
    return {
        "hops": [
            {"label": label, "fingerprint": key, "key_type": "ssh-ed25519", "status": status, "target": complete and index == last}
            for index, (label, key, status) in enumerate(hops)
        ]
    }  # fmt: skip


def test_a_key_is_shown_once_with_what_matters_most() -> None:
    results = {
        "web": seen((EDGE, "E", "known"), (CORE, "C", "added"), ("me@web:22", "W", "new")),
        "db": seen((EDGE, "E", "added"), (CORE, "C", "known"), ("me@db:22", "D", "known")),
        "edge": seen((EDGE, "E", "known")),
        "here": LOCAL,
    }
    assert keys(results) == [
        "controller",
        "    edge (guest@edge:22): ssh-ed25519 E: added",
        "controller -> guest@edge:22",
        "    op@core:22: ssh-ed25519 C: added",
        "controller -> guest@edge:22 -> op@core:22",
        "    web (me@web:22): ssh-ed25519 W: new",
        "    db (me@db:22): ssh-ed25519 D: known",
        "connection local: here",
    ]


def test_a_key_is_asked_about_once() -> None:
    results = {
        "web": seen((EDGE, "E", "known"), ("me@web:22", "CLONED", "new")),
        "db": seen((EDGE, "E", "known"), ("me@db:22", "CLONED", "new")),
        "mail": seen(("me@gate:22", "G", "new"), complete=False),
    }
    found = questions(results)
    assert [each["fingerprint"] for each in found] == ["G", "CLONED"]
    assert found[0]["question"].splitlines()[:2] == ["New host key: ssh-ed25519 G", "    of me@gate:22, before mail"]
    assert found[1]["question"].splitlines()[:3] == [
        "New host key: ssh-ed25519 CLONED", "    of web (me@web:22)", "    of db (me@db:22)"
    ]  # fmt: skip


def test_the_table_has_a_jump_host_once_and_all_columns() -> None:
    def hops(*found: tuple[str, float, float]) -> list[dict[str, Any]]:
        return [{"label": label, "login": login, "age": age} for label, login, age in found]

    results: dict[str, Any] = {
        "web": {"hops": hops((EDGE, 0.2, 4.4), ("me@web:22", 0.1, 0)), "seconds": 0.5},
        "db": {"hops": hops((EDGE, 0.2, 5.6), ("me@db:22", 0.3, 9))},
        "edge": {"hops": hops((EDGE, 0.2, 4.4)), "seconds": 0.05},
        "gone": {"unreachable": True, "notes": ["x"]},
        "here": LOCAL,
    }
    assert [line.split() for line in times(results)] == [
        ["login", "connected", "for", "reached", "in"],
        ["controller"],
        ["edge", "(guest@edge:22)", "0.200", "s", "4", "s", "0.050", "s"],
        ["controller", "->", EDGE],
        ["web", "(me@web:22)", "0.100", "s", "0", "s", "0.500", "s"],
        ["db", "(me@db:22)", "0.300", "s", "9", "s", "failed"],
        ["connection", "local:", "here"],
        ["unreachable:", "gone"],
        ["note:", "x", "(gone)"],
    ]
    assert times({}) == []
