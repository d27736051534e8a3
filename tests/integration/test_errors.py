# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test that errors can be acted on: they name the hop, the problem and the remedy, and have the right class."""

from __future__ import annotations

import contextlib
import re
import socket
import time
from collections.abc import Mapping
from typing import Any

import pytest
from lab import TRUE, Chain3, Lab, RecordingServer, Run, Sink, Sshd, blackhole, closer, play, playbook, saying, stuck
from sessions import opened

# Unhelpful messages of other tools in these situations.
OLD_WORDS = re.compile(
    "UNKNOWN port 65535|banner exchange|Too many authentication failures|kex_exchange_identification"
    "|Failed to connect to the host via ssh|Error reading SSH protocol banner|filedescriptor out of range"
    "|Secsh channel|returned nonzero exit status|mux_client_hello|unix_listener|: Authentication failed\\."
    "|read_passphrase|KeyError|Traceback"
)


def connect(lab: Lab, inventory: Mapping[str, Any]) -> Run:
    return playbook(lab, inventory, play(TRUE))


def message(run: Run, status: str = "unreachable") -> str:
    """Return the message of the only result, after asserting its status and that no vague old error text is shown."""
    (result,) = run.all_results
    assert result.status == status, run
    assert not OLD_WORDS.search(run.text), run
    return str(result.result["msg"])


def via(chain3: Chain3, *, a: Any = None, b: Any = None) -> list[dict[str, Any]]:
    """Return the bastions, some of them replaced by other servers."""
    hops = [dict(hop) for hop in chain3.jump_list]
    for hop, other in zip(hops, (a, b), strict=True):
        if other is not None:
            hop.update(host=other.address, port=other.port)
    return hops


# The order of hops


def test_hops_are_visited_in_the_order_in_which_they_are_written(lab: Lab, chain3: Chain3) -> None:  # trust: T01
    connect(lab, chain3.inventory()).check()
    chain3.settle()
    assert [[forward.port for forward in host.forwards()] for host in chain3.hosts] == [
        [chain3.b.port],
        [chain3.target.port],
        [],
    ]


def test_the_other_order_reaches_nothing_and_names_the_hop(lab: Lab, chain3: Chain3) -> None:  # trust: T01
    text = message(connect(lab, chain3.inventory(ansible_ssh_jump=chain3.jump_list[::-1])))
    # b lets its user in from anywhere, but forwards to the target only.
    assert (
        f"jump host 1 of 2 {chain3.users[1].name}@{chain3.b.endpoint}: it refuses to forward to {chain3.a.endpoint}"
        in text
    )
    assert "AllowTcpForwarding" in text
    assert "PermitOpen" in text
    chain3.settle()
    assert [chain3.a.connections(), chain3.target.connections()] == [0, 0]


# A hop that cannot be reached


@pytest.mark.parametrize("option", [{"AllowTcpForwarding": False}, {"DisableForwarding": True}])
def test_a_bastion_that_forbids_forwarding_is_named(lab: Lab, chain3: Chain3, option: dict[str, bool]) -> None:
    chain3.a.options.update(option)
    chain3.a.reload()
    text = message(connect(lab, chain3.inventory()))
    assert f"jump host 1 of 2 {chain3.users[0].name}@{chain3.a.endpoint}: it refuses to forward" in text
    assert "AllowTcpForwarding" in text


def test_a_name_is_resolved_by_the_hop_before(lab: Lab, chain3: Chain3) -> None:
    chain3.b.options.pop("PermitOpen")
    chain3.b.reload()
    text = message(connect(lab, chain3.inventory(ansible_host="no-such-host.invalid")))
    assert f"target {chain3.users[2].name}@" in text
    assert "Name or service not known" in text
    assert "resolved" in text
    assert chain3.b.forwards()[-1].host == "no-such-host.invalid"


def test_a_server_that_never_goes_on_ends_within_the_timeout(lab: Lab, chain3: Chain3) -> None:  # trust: T25
    chain3.a.options.pop("PermitOpen")
    chain3.a.reload()
    variables = chain3.variables | {"ansible_ssh_timeout": 2}
    inventory = {
        f"{behaviour.__name__}-{where}": variables | {"ansible_ssh_jump": via(chain3, **{where: lab.sink(behaviour)})}
        for behaviour in (stuck, blackhole)
        for where in ("a", "b")
    }
    started = time.monotonic()
    run = connect(lab, inventory)
    assert time.monotonic() - started < 20  # of which Ansible itself needs some
    assert run.statuses() == {name: ["unreachable"] for name in inventory}
    for name in inventory:
        text = run.result(name).result["msg"]
        assert f"jump host {1 if name.endswith('a') else 2} of 2" in text
        assert "no SSH answer within 2 seconds" in text


def test_one_deadline_for_all_hops_together(lab: Lab, chain3: Chain3) -> None:  # trust: T25
    inventory = chain3.inventory(
        ansible_ssh_jump=via(chain3, a=lab.sink(stuck)), ansible_ssh_timeout=60, ansible_ssh_jump_timeout=2
    )
    assert "no SSH answer within 2 seconds" in message(connect(lab, inventory))


@pytest.mark.parametrize("source", ["--timeout", "ANSIBLE_TIMEOUT", "ANSIBLE_SSH_TIMEOUT", "ANSIBLE_PARAMIKO_TIMEOUT"])
def test_the_timeout_may_come_from_anywhere(lab: Lab, chain3: Chain3, source: str) -> None:
    inventory = chain3.inventory(ansible_ssh_jump=via(chain3, a=lab.sink(stuck)))
    args = ["--timeout", "2"] if source.startswith("-") else []
    run = playbook(lab, inventory, play(TRUE), args=args, env={} if args else {source: "2"})
    assert "no SSH answer within 2 seconds" in message(run)


def test_a_hop_has_a_deadline_of_its_own(lab: Lab, chain3: Chain3) -> None:  # trust: T25
    first, second = via(chain3, a=lab.sink(stuck))
    inventory = chain3.inventory(ansible_ssh_jump=[first | {"timeout": 1.5}, second], ansible_ssh_timeout=60)
    assert "no SSH answer within 1.5 seconds" in message(connect(lab, inventory))


def test_a_silent_address_leaves_time_for_the_next(lab: Lab, chain3: Chain3, monkeypatch: pytest.MonkeyPatch) -> None:
    # A name with several addresses would need a change to the machine's resolver, so the call is replaced.
    known = socket.getaddrinfo
    unsupported = (99, socket.SOCK_STREAM, 6, "", ("::1", 1))
    with socket.socket() as silent, contextlib.ExitStack() as stack:
        silent.bind((lab.address(), 0))
        silent.listen(0)
        for _place in range(4):  # with its backlog full it answers nothing
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(silent.getsockname())
        first = (socket.AF_INET, socket.SOCK_STREAM, 6, "", silent.getsockname())
        monkeypatch.setattr(socket, "getaddrinfo", lambda *a, **k: [unsupported, first, *known(*a, **k)])
        with opened(lab, chain3.variables | {"ansible_ssh_timeout": 6}) as session:
            assert session.run("echo here").stdout == b"here\n"


def test_a_server_that_hangs_in_the_login_ends_within_the_timeout(lab: Lab, chain3: Chain3) -> None:  # trust: T25
    link = lab.forwarder(chain3.a)
    lab.trust(chain3.a.known_hosts_line(f"[{link.address}]:{link.port}"))
    # After the key exchange of about 3 KiB each way nothing comes any more.
    link.stall_after("down", 1500)
    inventory = chain3.inventory(ansible_ssh_jump=via(chain3, a=link), ansible_ssh_jump_timeout=2)
    assert "within 2 seconds" in message(connect(lab, inventory))


def test_a_server_that_is_no_ssh_server(lab: Lab, chain3: Chain3) -> None:
    sink = lab.sink(saying(b"HTTP/1.1 400 Bad Request\r\n\r\n" * 200))
    text = message(connect(lab, chain3.inventory(ansible_ssh_jump=via(chain3, a=sink), ansible_ssh_timeout=2)))
    assert "jump host 1 of 2" in text
    assert "SSH server" in text


def test_a_login_that_is_cut_short_says_what_the_server_said(lab: Lab, chain3: Chain3) -> None:
    server: RecordingServer = lab.recorder("late", passwords={}, login_timeout=0.5, banner="closed for today")
    lab.trust(server)
    first, second = via(chain3, a=server)
    text = message(connect(lab, chain3.inventory(ansible_ssh_jump=[first, second])))
    assert "jump host 1 of 2" in text
    assert "closed for today" in text


# What a server says is never acted on


def test_a_banner_is_shown_as_it_is(lab: Lab) -> None:  # trust: T49
    canary = lab.path / "canary"
    words = "{{ lookup('pipe', 'touch " + str(canary) + "') }} {% for x in y %} {# \x1b[31mred\x07"
    host: Sshd = lab.sshd("host", keys=[lab.key("right")], banner=words + "\n")
    lab.trust(host)
    variables = {
        "ansible_connection": "bastion.ssh.jump",
        "ansible_host": host.address,
        "ansible_port": host.port,
        "ansible_user": "root",
        "ansible_ssh_private_key_file": str(lab.key("wrong").path),
    }
    tasks: list[dict[str, Any]] = [
        TRUE | {"register": "told", "ignore_unreachable": True},
        {"name": "Repeat", "ansible.builtin.debug": {"msg": "{{ told.msg }}"}, "delegate_to": "localhost",
         "connection": "local"},
    ]  # fmt: skip
    run = playbook(lab, {"host": variables}, play(*tasks))
    assert "It says: { { lookup(" in run.result("host", "True").result["msg"]
    assert "{ { lookup(" in run.result("host", "Repeat").result["msg"]
    assert "\x1b[31m" not in run.text
    assert "\x07" not in run.text
    assert not canary.exists()


# Bad input


BAD: list[tuple[dict[str, Any], str]] = [
    ({"ansible_ssh_jump": "a,,b"}, "ansible_ssh_jump[1]"),
    ({"ansible_ssh_jump": "a,"}, "ansible_ssh_jump[1]"),
    ({"ansible_ssh_jump": "a:0"}, "ansible_ssh_jump"),
    ({"ansible_ssh_jump": "a:65536"}, "ansible_ssh_jump"),
    ({"ansible_ssh_jump": "ssh://a/path"}, "ansible_ssh_jump"),
    ({"ansible_ssh_jump": "ssh://u%00@a"}, "ansible_ssh_jump"),
    ({"ansible_ssh_jump": "a;touch {canary}"}, "ansible_ssh_jump"),
    ({"ansible_ssh_jump": "`touch {canary}`"}, "ansible_ssh_jump"),
    ({"ansible_ssh_jump": "$(touch {canary})"}, "ansible_ssh_jump"),
    ({"ansible_ssh_jump": "-oProxyCommand=touch {canary}"}, "ansible_ssh_jump"),
    ({"ansible_ssh_jump": "a\nb"}, "ansible_ssh_jump"),
    ({"ansible_ssh_jump": {"host": "a"}}, "ansible_ssh_jump"),
    ({"ansible_ssh_jump": 5}, "ansible_ssh_jump"),
    ({"ansible_ssh_jump": [{"hots": "a"}]}, "ansible_ssh_jump[0].hots"),
    ({"ansible_ssh_jump": [{"user": "a"}]}, "ansible_ssh_jump[0].host"),
    ({"ansible_ssh_jump": [{"host": "a", "user": "x$(touch {canary})"}]}, "ansible_ssh_jump[0].user"),
    (
        {"ansible_ssh_jump": ["a", {"host": "b", "proxy_command": "touch {canary}"}]},
        "ansible_ssh_jump[1].proxy_command",
    ),
    ({"ansible_ssh_jump": ["a", {"host": "b", "timeout": 0}]}, "ansible_ssh_jump[1].timeout"),
    ({"ansible_ssh_jump": [{"host": "a", "prompts": {"(": "x"}}]}, "ansible_ssh_jump[0].prompts"),
    ({"ansible_ssh_jump": [{"host": "a", "host_key_checking": "maybe"}]}, "ansible_ssh_jump[0].host_key_checking"),
    ({"ansible_ssh_jump": None, "ansible_host": "`touch {canary}`"}, "ansible_host"),
    ({"ansible_ssh_jump": None, "ansible_user": "-l"}, "ansible_user"),
    ({"ansible_ssh_jump": None, "ansible_port": 70000}, "ansible_port"),
    ({"ansible_ssh_jump": None, "ansible_proxy_command": "touch {canary} %z"}, "ansible_proxy_command"),
    ({"ansible_ssh_host_key_checking": "sometimes"}, "ansible_ssh_host_key_checking"),
    ({"ansible_ssh_transfer_method": "scp"}, "ansible_ssh_transfer_method"),
    ({"ansible_ssh_prompts": ["x"]}, "ansible_ssh_prompts"),
    ({"ansible_ssh_jump_user": "x;y"}, "ansible_ssh_jump_user"),
    ({"ansible_ssh_jump": "", "ansible_ssh_common_args": "-J a -W h:22"}, "ansible_ssh_common_args"),
    ({"ansible_ssh_jump": "", "ansible_ssh_args": "-C -J"}, "ansible_ssh_args"),
    ({"ansible_ssh_jump": "", "ansible_ssh_extra_args": "-o 'ProxyCommand touch {canary}"}, "ansible_ssh_extra_args"),
    ({"ansible_ssh_common_args": "-o 'ProxyCommand touch {canary}'"}, "ansible_ssh_jump"),
    ({"ansible_ssh_common_args": "-o 'HostName=x`>{canary}`'"}, "ssh_config for {target}"),
    ({"ansible_ssh_common_args": "-o Prot=1"}, "ssh_config for {target}"),
]


def test_bad_input_is_one_clear_line_and_starts_nothing(lab: Lab, chain3: Chain3) -> None:  # trust: T02, T04, T49
    canary = lab.path / "canary"

    def filled(value: Any) -> Any:
        return value.replace("{canary}", str(canary)) if isinstance(value, str) else value

    inventory = {
        f"bad{number:02}": chain3.variables | {name: filled(value) for name, value in changes.items()}
        for number, (changes, _setting) in enumerate(BAD)
    }
    run = connect(lab, inventory)
    for result, (_changes, setting) in zip(sorted(run.all_results), BAD, strict=True):
        assert (result.status, result.result["msg"].count("\n")) == ("failed", 0), result
        assert f"{setting.replace('{target}', chain3.target.address)}:" in result.result["msg"], result
    assert not canary.exists()
    assert [host.connections() for host in chain3.hosts] == [0, 0, 0]


def test_a_sink_is_never_reached_without_its_hop(lab: Lab, chain3: Chain3) -> None:
    """Whatever fails on the route, no connection is tried that skips a hop."""
    chain3.a.stop()
    target: Sink = lab.sink(closer)
    inventory = chain3.inventory(ansible_host=target.address, ansible_port=target.port, ansible_ssh_retries=1)
    assert message(connect(lab, inventory))
    assert target.connections == 0


def test_a_message_counts_the_hops_of_its_own_way(lab: Lab, chain3: Chain3) -> None:
    """Another task has opened the connection to the bastion, as part of another chain."""
    short = chain3.target_variables | {"ansible_ssh_jump": chain3.jump_list[:1]}
    inventory = {"long": chain3.variables, "short": short}
    run = playbook(lab, inventory, [play(TRUE, hosts="long"), play(TRUE, hosts="short")])
    assert run.result("long").status == "ok"
    place = f"jump host 1 of 1 {chain3.users[0].name}@{chain3.a.endpoint}: it refuses to forward"
    assert place in run.result("short").result["msg"]
