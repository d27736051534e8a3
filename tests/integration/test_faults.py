# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test links before each hop that are slow, break or flip a bit: the right result, or an error that names the hop."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from lab import Chain3, Forwarder, Lab
from lab.chains import hop_name
from lab.forwarder import Direction
from sessions import OpenSession, opened

from ansible_collections.bastion.ssh.plugins.plugin_utils.errors import HopError, LinkLost

ALIVE = {"ansible_ssh_server_alive_interval": 0.5, "ansible_ssh_server_alive_count_max": 2}

Break = Callable[[Forwarder, Any, int], None]

#: Damage to a link after a number of bytes in one direction.
BREAKS: dict[str, Break] = {
    "it is reset": lambda link, direction, count: link.cut_after(direction, count),
    "nothing goes up": lambda link, direction, count: link.half_close_after(direction, count, "up"),
    "nothing comes down": lambda link, direction, count: link.half_close_after(direction, count, "down"),
}
#: With damage that only keepalives detect, which start after the login.
BREAKS_IN_MIDWAY = BREAKS | {"it falls silent": lambda link, direction, count: link.stall_after(direction, count)}
#: The links that are slow, how slow, and the size in bytes of a file whose transfer takes some seconds then.
SLOW: dict[str, tuple[list[int], dict[str, Any], int]] = {
    # Not on all links at once: each byte is forwarded in a packet, which the next link would slice again.
    "a byte at a time, to the first hop": ([0], {"slice": 1}, 4096),
    "a byte at a time, to the second hop": ([1], {"slice": 1}, 4096),
    "a byte at a time, to the target": ([2], {"slice": 1}, 4096),
    "0.1 seconds from hop to hop": ([0, 1, 2], {"delay": 0.1}, 200 * 1024),
    "100 kB in a second": ([0, 1, 2], {"rate": 100_000}, 50 * 1024),
}


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def there_and_back(session: OpenSession, lab: Lab, remote: Path, size: int) -> None:
    """Copy a file to the target and back, and assert that it is unchanged."""
    data = bytes(range(256)) * (size // 256)
    (lab.path / "source").write_bytes(data)
    session.session.put(f"{lab.path}/source", f"{remote}/there")
    assert (remote / "there").read_bytes() == data
    session.session.fetch(f"{remote}/there", f"{lab.path}/back")
    assert (lab.path / "back").read_bytes() == data


@pytest.mark.parametrize("how", SLOW)
def test_slow_links_carry_the_right_bytes(lab: Lab, chain3: Chain3, how: str) -> None:  # trust: T36
    links, variables = chain3.over_links(lab)
    which, faults, size = SLOW[how]
    for number in which:
        for name, value in faults.items():
            setattr(links[number], name, value)
    with opened(lab, variables | {"ansible_ssh_timeout": 60}) as session:
        there_and_back(session, lab, chain3.users[2].home, size)
        assert session.run("cat", b"input").stdout == b"input"


@pytest.mark.ways("own process")
@pytest.mark.parametrize("index", [0, 1, 2])
def test_a_link_that_breaks_in_the_dial_is_an_error_or_dialled_again(
    lab: Lab, chain3: Chain3, index: int
) -> None:  # trust: T36
    links, variables = chain3.over_links(lab)
    places: list[str] = []
    for break_after in BREAKS.values():
        for count in (1, 1000, 2500, 4000):  # the version, the key exchange, the login, and after it
            break_after(links[index], "down", count)
            try:
                with opened(
                    lab, variables | ALIVE | {"ansible_ssh_timeout": 5, "ansible_ssh_jump_timeout": 15}
                ) as session:
                    assert session.run("echo here").stdout == b"here\n"
            except HopError as error:
                places.append(error.place)
            for link in links:
                link.renew()  # so that the next one connects anew
    assert places
    assert [place for place in places if f"{hop_name(index, 3)}" not in place] == []
    assert [thread for thread in threading.enumerate() if isinstance(thread, threading.Timer)] == []  # of the library
    with opened(lab, variables) as session:
        assert session.run("echo here").stdout == b"here\n"


@pytest.mark.ways("broker", "own process")
@pytest.mark.parametrize("index", [0, 1, 2])
@pytest.mark.parametrize("how", BREAKS_IN_MIDWAY)
def test_a_link_that_breaks_in_a_transfer_is_an_error_and_no_half_file(
    lab: Lab, chain3: Chain3, index: int, how: str
) -> None:  # trust: T36, T45
    links, variables = chain3.over_links(lab)
    remote = chain3.users[2].home
    for source in (lab.path / "source", remote / "source"):
        source.write_bytes(bytes(2_000_000))
    with opened(lab, variables | ALIVE) as session:
        put = partial(session.session.put, f"{lab.path}/source", f"{remote}/there")
        fetch = partial(session.session.fetch, f"{remote}/source", f"{lab.path}/here")
        for direction, transfer in (("up", put), ("down", fetch)):
            session.run("true")
            BREAKS_IN_MIDWAY[how](links[index], direction, 300_000)
            with pytest.raises(LinkLost, match=f"{hop_name(index, 3)}"):
                transfer()
            for link in links:
                link.renew()
        assert not [path for path in lab.path.iterdir() if "here" in path.name]
        there_and_back(session, lab, remote, 1024 * 1024)


#: Bytes of a connection, either way, by which its messages are protected: before that, what is not used can be changed.
PLAIN = 3000


@pytest.mark.ways("own process")
@pytest.mark.timeout(300)
@pytest.mark.parametrize("direction", ["up", "down"])
def test_a_changed_bit_is_never_a_result(lab: Lab, direction: Any) -> None:  # trust: T44
    """At 300 positions of a connection with data in both directions."""
    user, key = lab.user("target"), lab.key("key")
    host = lab.sshd("host", users=[user], keys=[key], MaxStartups=100)
    link = lab.forwarder(host)
    lab.trust(host.known_hosts_line(f"[{link.address}]:{link.port}"))
    variables = ALIVE | {
        "ansible_host": link.address,
        "ansible_port": link.port,
        "ansible_user": user.name,
        "ansible_ssh_private_key_file": str(key.path),
        "ansible_ssh_timeout": 3,
        "ansible_ssh_jump_timeout": 3,  # in the login, a length that is changed is waited for
    }
    data = bytes(range(256)) * 200

    def command() -> bytes:
        with opened(lab, variables) as session:
            return session.run("sha256sum; head -c 50000 /dev/zero", data).stdout

    right = command()
    link.renew()
    assert right.startswith(digest(data).encode())
    total = link.passed[direction] - 500
    results: dict[int, bytes | HopError] = {}
    for number in range(150):
        offset = number * total // 150
        link.flip_after(direction, offset)
        try:
            results[offset] = command()
        except HopError as error:
            results[offset] = error
        assert not link.is_due, offset
        link.renew()
    unnoticed = {offset: result for offset, result in results.items() if not isinstance(result, HopError)}
    assert [offset for offset in unnoticed if offset > PLAIN] == []
    assert all(result == right for result in unnoticed.values())
    assert len(unnoticed) < 5


@pytest.mark.parametrize("index", [0, 1, 2])
def test_a_changed_bit_is_told_of_the_hop_to_which_it_went(lab: Lab, chain3: Chain3, index: int) -> None:  # trust: T44
    links, variables = chain3.over_links(lab)
    directions: list[Direction] = ["up", "down"]
    with opened(lab, variables | ALIVE | {"ansible_ssh_timeout": 10}) as session:
        for direction in directions:
            session.run("true")
            links[index].flip_after(direction, 100_000)
            with pytest.raises(LinkLost, match=f"^{hop_name(index, 3)}"):
                session.run("head -c 200000 /dev/zero; wc -c", bytes(200_000))
            assert not links[index].is_due
            for link in links:
                link.renew()
        assert session.run("echo here").stdout == b"here\n"
