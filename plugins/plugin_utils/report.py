# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection.
"""Combine the results of many hosts into one report: routes with the hosts behind them, each jump host and key once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

#: Inventory name -> the result of a module of this collection.
Results = Mapping[str, Mapping[str, Any]]

_CONTROLLER = "controller"
_PROXY = "ProxyCommand"
_INDENT = "    "
# By priority: a key that was refused for one host is not shown as known, even if it was for another host.
_STATUSES = ("refused", "unreachable", "new", "added", "known")
_QUESTION = "Does the host show the same (ssh-keygen -lf, of its key in /etc/ssh)? Type yes to add the key"


def routes(results: Results) -> list[str]:
    """Return a line for each route, with the hosts behind it, shortest routes first."""
    behind: dict[tuple[str, ...], list[str]] = {}
    for host, result in results.items():
        if result.get("chain"):
            behind.setdefault(_route(result), []).append(host)
    found = sorted(behind.items(), key=lambda item: (len(item[0]), item[0]))
    return [f"{_joined(route)}: {', '.join(hosts)}" for route, hosts in found] + _others(results) + _notes(results)


def details(results: Results) -> list[str]:
    """Return the lines of each host."""
    return [
        line
        for host, result in results.items()
        if result.get("lines")
        for line in (f"{host}: {result['lines'][0]}", *(f"{_INDENT}{line}" for line in result["lines"][1:]))
    ]


def picture(results: Results) -> dict[str, list[dict[str, Any]]]:
    """Return the nodes and edges of all routes; a jump host that is also a host of the inventory is one node."""
    graph = _Graph(_proxied_once(results))
    for host, result in results.items():
        if result.get("chain"):
            graph.add(host, result["chain"], bool(result["legs"][0]["proxied"]))
    return {"nodes": graph.nodes(), "edges": graph.edges()}


@dataclass
class _Node:
    number: int
    labels: dict[str, None] = field(default_factory=dict)
    hosts: dict[str, None] = field(default_factory=dict)

    @property
    def name(self) -> str:
        label = ", ".join(self.labels)
        return f"{', '.join(self.hosts)}: {label}" if self.hosts else label


class _Graph:
    """Collect nodes and edges. Nodes are identified by route and address: one address behind two bastions is two hosts.

    :param shared: addresses of exactly one target behind a ProxyCommand alone. Several such targets with one address are
        nodes of their own, as their commands may lead to different hosts.
    """

    def __init__(self, shared: set[str]) -> None:
        self._shared = shared
        self._nodes: dict[tuple[str, ...], _Node] = {}
        self._edges: dict[tuple[int, int], bool] = {}

    def add(self, host: str, chain: Sequence[str], proxied: bool) -> None:
        key: tuple[str, ...] = (_PROXY,) if proxied else ()
        before = 1  # the controller
        for number, label in enumerate(chain, 1):
            is_target = number == len(chain)
            key = (*key, _address(label))
            if is_target and number == 1 and proxied and _address(label) not in self._shared:
                key = (*key, host)
            node = self._nodes.setdefault(key, _Node(len(self._nodes) + 2))
            node.labels[label] = None
            if is_target:
                node.hosts[host] = None
            self._edges[before, node.number] = proxied and number == 1
            before = node.number

    def nodes(self) -> list[dict[str, Any]]:
        return [{"id": f"h{node.number}", "name": node.name} for node in self._nodes.values()]

    def edges(self) -> list[dict[str, Any]]:
        return [
            {"from": f"h{before}", "to": f"h{after}", "proxied": proxied}
            for (before, after), proxied in self._edges.items()
        ]


def _proxied_once(results: Results) -> set[str]:
    targets = [
        _address(result["chain"][0])
        for result in results.values()
        if len(result.get("chain") or ()) == 1 and result["legs"][0]["proxied"]
    ]
    return {address for address in targets if targets.count(address) == 1}


@dataclass
class _Key:
    """Hold a host key, as presented by one hop on one route."""

    route: tuple[str, ...]
    label: str
    status: str
    key: str
    fingerprint: str
    targets: dict[str, None] = field(default_factory=dict)
    behind: dict[str, None] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return _named(list(self.targets), self.label)


def keys(results: Results) -> list[str]:
    """Return the host keys by route, each once, however many hosts are behind it."""
    lines: list[str] = []
    shown: tuple[str, ...] | None = None
    for key in _keys(results):
        if key.route != shown:
            shown = key.route
            lines.append(_joined(shown))
        lines.append(f"{_INDENT}{key.name}: {key.key + ': ' if key.key else ''}{key.status}")
    return lines + _others(results)


def questions(results: Results) -> list[dict[str, str]]:
    """Return a question for each new key, which several hosts may share."""
    new: dict[str, list[_Key]] = {}
    for key in _keys(results):
        if key.status == "new":
            new.setdefault(key.fingerprint, []).append(key)
    return [{"fingerprint": fingerprint, "question": _question(places)} for fingerprint, places in new.items()]


def _question(places: Sequence[_Key]) -> str:
    lines = [f"New host key: {places[0].key}"]
    for place in places:
        behind = [host for host in place.behind if host not in place.targets]
        lines.append(f"{_INDENT}of {place.name}" + (f", before {', '.join(behind)}" if behind else ""))
    return "\n".join([*lines, _QUESTION])


def _keys(results: Results) -> list[_Key]:
    found: dict[tuple[object, ...], _Key] = {}
    for host, result in results.items():
        route: tuple[str, ...] = ()
        hops = result.get("hops") or ()
        for hop in hops:
            label, fingerprint = hop["label"], hop.get("fingerprint", "")
            certified = ", with a certificate" if hop.get("certified") else ""
            shown = f"{hop['key_type']} {fingerprint}{certified}" if fingerprint else ""
            place = (tuple(map(_address, route)), _address(label), fingerprint)
            key = found.setdefault(place, _Key(route, label, hop["status"], shown, fingerprint))
            key.status = min(key.status, hop["status"], key=_STATUSES.index)
            (key.targets if hop["target"] else key.behind)[host] = None
            route = (*route, label)
    return sorted(found.values(), key=lambda key: (len(key.route), key.route))


def times(results: Results) -> list[str]:
    """Return a table, by route, of how long each hop took to log in and has been connected, in seconds."""
    by_route: dict[tuple[str, ...], list[_Row]] = {}
    for row in sorted((row for item in results.items() for row in _rows(*item)), key=lambda row: not row.reached):
        rows = by_route.setdefault(row.route, [])
        if row.reached or (row.label, row.login) not in [(other.label, other.login) for other in rows]:
            rows.append(row)
    table = sorted(by_route.items(), key=lambda item: (len(item[0]), item[0]))
    width = max((len(_INDENT + row.name) for _route, rows in table for row in rows), default=0)
    lines = [f"{'':{width}}  {'login':>9}  {'connected for':>13}  {'reached in':>10}"] if table else []
    for route, rows in table:
        lines.append(_joined(route))
        # Jump hosts sort after the targets of a route, just before the routes through them.
        lines += [
            f"{_INDENT + row.name:{width}}  {row.login:>9}  {row.age:>13}  {row.reached:>10}".rstrip() for row in rows
        ]
    return lines + _others(results) + _unreached(results) + _notes(results)


@dataclass(frozen=True)
class _Row:
    route: tuple[str, ...]
    name: str
    label: str
    login: str
    age: str
    reached: str = ""


def _rows(host: str, result: Mapping[str, Any]) -> Iterator[_Row]:
    hops = result.get("hops") or ()
    route: tuple[str, ...] = ()
    for number, hop in enumerate(hops, 1):
        label, login, age = hop["label"], f"{hop['login']:.3f} s", f"{hop['age']:.0f} s"
        if number < len(hops):
            yield _Row(route, label, label, login, age)
        else:
            reached = f"{result['seconds']:.3f} s" if "seconds" in result else "failed"
            yield _Row(route, _named([host], label), label, login, age, reached)
        route = (*route, label)


def _unreached(results: Results) -> list[str]:
    hosts = [host for host, result in results.items() if result.get("unreachable")]
    return [f"unreachable: {', '.join(hosts)}"] if hosts else []


def _route(result: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the jump hosts of a host, preceded by the ProxyCommand, if any."""
    return (*((_PROXY,) if result["legs"][0]["proxied"] else ()), *result["chain"][:-1])


def _joined(route: Iterable[str]) -> str:
    return " -> ".join([_CONTROLLER, *route])


def _address(label: str) -> str:
    """Return the label without its user."""
    return label.rpartition("@")[2]


def _named(hosts: Sequence[str], label: str) -> str:
    return f"{', '.join(hosts)} ({label})" if hosts else label


def _others(results: Results) -> list[str]:
    """Return a line for each other connection plugin, with its hosts."""
    found: dict[str, list[str]] = {}
    for host, result in results.items():
        if result.get("connection"):
            found.setdefault(str(result["connection"]), []).append(host)
    return [f"connection {name}: {', '.join(hosts)}" for name, hosts in sorted(found.items())]


def _notes(results: Results) -> list[str]:
    found: dict[str, list[str]] = {}
    for host, result in results.items():
        for note in result.get("notes") or ():
            found.setdefault(str(note), []).append(host)
    return [f"note: {note} ({', '.join(hosts)})" for note, hosts in found.items()]


#: Name -> report.
REPORTS: dict[str, Callable[[Results], Any]] = {
    "routes": routes, "details": details, "picture": picture, "keys": keys, "questions": questions, "times": times,
}  # fmt: skip
