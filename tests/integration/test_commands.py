# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the result of a command on the target: status, both streams, signals, a lost link."""

from __future__ import annotations

import contextlib
import gc
import hashlib
import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import paramiko
import pytest
from lab import Chain3, Forwarder, Lab, Run, play, playbook, processes, raw, wait_until
from lab.chains import hop_name
from sessions import fill, opened

from ansible_collections.bastion.ssh.plugins.plugin_utils.client.become import Stream
from ansible_collections.bastion.ssh.plugins.plugin_utils.client.interface import Exited, Output
from ansible_collections.bastion.ssh.plugins.plugin_utils.errors import HostKeyRefused
from ansible_collections.bastion.ssh.plugins.plugin_utils.patched_paramiko.transport import HopTransport

pytestmark = pytest.mark.ways("broker", "own process")

MEBIBYTE = 1024 * 1024


@pytest.fixture
def link(lab: Lab, chain3: Chain3) -> Forwarder:
    """Put a link that can be cut before the second bastion; the first bastion forwards to it only."""
    forwarder = lab.forwarder(chain3.b)
    chain3.a.options["PermitOpen"] = forwarder.endpoint
    chain3.a.restart()
    name = f"[{forwarder.address}]:{forwarder.port}"
    lab.trust(chain3.a, chain3.b.known_hosts_line(name), chain3.target)
    return forwarder


def over(link: Forwarder, chain3: Chain3, **more: Any) -> dict[str, dict[str, Any]]:
    """Return the inventory of a target whose second jump host is reached over the link."""
    first, second = chain3.jump_list
    return chain3.inventory(ansible_ssh_jump=[first, second | {"host": link.address, "port": link.port}], **more)


def cut_when(event: Callable[[], object], link: Forwarder, run: Callable[[], Run]) -> Run:
    """Run a playbook in the background and cut the link once an event has happened."""
    with ThreadPoolExecutor(1) as pool:
        running: Future[Run] = pool.submit(run)
        wait_until(lambda: event() or running.done(), 60, "the command has started")
        link.cut()
        return running.result()


def test_exit_statuses_are_results(lab: Lab, chain3: Chain3) -> None:  # trust: T46
    codes = [0, 1, 126, 127, 128, 254, 255]
    run = playbook(
        lab, chain3.inventory(), play(*(raw(f"exit {code}", f"{code}", ignore_errors=True) for code in codes))
    )
    assert [result.result["rc"] for result in run.results["target"]] == codes
    assert run.statuses() == {"target": ["ok"] + ["failed"] * (len(codes) - 1)}


def test_all_256_exit_statuses_come_back(lab: Lab, chain3: Chain3) -> None:  # trust: T46
    with opened(lab, chain3.variables) as session:
        assert [session.run(f"exit {code}").status for code in range(256)] == list(range(256))


def test_a_signal_is_a_failure_that_says_so(lab: Lab, chain3: Chain3) -> None:  # trust: T47
    result = playbook(lab, chain3.inventory(), play(raw("kill -9 $$", "Die"))).result("target")
    assert (result.status, result.result["rc"]) == ("failed", 137)
    assert "ended by signal KILL" in result.result["stderr"]


def test_a_lost_link_is_unreachable_and_names_the_hop(
    lab: Lab, chain3: Chain3, link: Forwarder, marker: Path
) -> None:  # trust: T47
    task = raw(f"echo x >> {marker}; exec sleep 60", "Wait")
    run = cut_when(marker.read_text, link, lambda: playbook(lab, over(link, chain3), play(task)))
    result = run.result("target")
    assert result.status == "unreachable"
    assert f"jump host 2 of 2 {chain3.users[1].name}@{link.endpoint}" in result.result["msg"]
    assert "the connection was lost" in result.result["msg"]
    assert "rc" not in result.result


def test_a_command_is_never_run_twice(lab: Lab, chain3: Chain3, link: Forwarder, marker: Path) -> None:  # trust: T48
    task = raw(f"echo x >> {marker}; exec sleep 60", "Append")
    inventory = over(link, chain3, ansible_ssh_retries=3)
    run = cut_when(marker.read_text, link, lambda: playbook(lab, inventory, play(task)))
    assert run.result("target").status == "unreachable"
    assert marker.read_text() == "x\n"


def test_a_command_whose_request_was_sent_is_not_sent_again(
    lab: Lab, chain3: Chain3, link: Forwarder, marker: Path
) -> None:  # trust: T48
    line = f"echo x >> {marker}; : {'x' * 3000}"
    task = raw(line, "Twice", loop=[1, 2], loop_control={"pause": 3})
    inventory = over(link, chain3, ansible_ssh_retries=3)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(playbook, lab, inventory, play(task))
        wait_until(lambda: chain3.target.count("Close session") or running.done(), 60, "the end of the first command")
        link.cut_after("up", 2000)  # when the second request has passed, and before its answer comes
        result = running.result().result("target")
    assert result.status == "unreachable"
    assert marker.read_text() in ("x\n", "x\nx\n")
    assert link.connections == 1


def test_a_session_that_died_between_two_commands_is_dialled_anew(
    lab: Lab, chain3: Chain3, link: Forwarder, marker: Path
) -> None:  # trust: T48
    task = raw(f"echo x >> {marker}", "Twice", loop=[1, 2], loop_control={"pause": 3})
    ended = partial(chain3.target.count, "Close session")  # which sshd says when both sides have closed the channel
    run = cut_when(ended, link, lambda: playbook(lab, over(link, chain3), play(task)))
    assert run.result("target").status == "ok"
    assert marker.read_text() == "x\nx\n"


def test_a_hop_that_comes_up_late_is_retried(lab: Lab, chain3: Chain3) -> None:  # trust: T48
    chain3.b.stop()
    inventory = chain3.inventory(ansible_ssh_retries=5)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(playbook, lab, inventory, play(raw("echo here", "Late")))
        chain3.a.wait_log("connect_to .* failed")
        chain3.b.start()
        assert running.result().result("target").result["stdout"] == "here\n"


def test_two_big_streams_are_drained_at_once(lab: Lab, chain3: Chain3) -> None:  # trust: T43
    block = "head -c 65536 /dev/zero | tr '\\0'"
    line = f"i=0; while [ $i -lt 160 ]; do {block} o; {block} e >&2; i=$((i+1)); done"
    with opened(lab, chain3.variables) as session:
        result = session.run(line)
    expected = [hashlib.sha256(byte * 10 * MEBIBYTE).digest() for byte in (b"o", b"e")]
    assert [hashlib.sha256(stream).digest() for stream in (result.stdout, result.stderr)] == expected


def test_a_mebibyte_of_stdin_arrives_whole(lab: Lab, chain3: Chain3) -> None:  # trust: T51
    data = bytes(range(256)) * (MEBIBYTE // 256)
    with opened(lab, chain3.variables) as session:
        assert session.run("sha256sum; echo end >&2", data).stdout[:64].decode() == hashlib.sha256(data).hexdigest()
        assert session.run("true", data).status == 0  # a command need not read it
        assert session.run("cat").stdout == b""  # without any, a command that reads does not wait


def test_a_silent_link_is_given_up_after_unanswered_keepalives(
    lab: Lab, chain3: Chain3, link: Forwarder, marker: Path
) -> None:
    inventory = over(link, chain3, ansible_ssh_server_alive_interval=0.5, ansible_ssh_server_alive_count_max=2)
    task = raw(f"echo x >> {marker}; exec sleep 60", "Wait")
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(playbook, lab, inventory, play(task))
        wait_until(lambda: marker.read_text() or running.done(), 60, "the command has started")
        link.stall()
        result = running.result().result("target")
    assert result.status == "unreachable"
    assert f"jump host 2 of 2 {chain3.users[1].name}@{link.endpoint}" in result.result["msg"]
    assert "no answer to keepalives for 1 seconds" in result.result["msg"]


def test_every_hop_is_asked_to_show_itself_alive(lab: Lab, chain3: Chain3) -> None:
    with opened(lab, chain3.variables | {"ansible_ssh_server_alive_interval": 0.1}) as session:
        process = session.session.start("cat")
        for host in chain3.hosts:
            host.wait_log("rtype keepalive@openssh.com want_reply 1", times=2)
        process.write(b"still here")
        process.close_stdin()
        output = process.read(10)
        assert isinstance(output, Output)
        assert (output.stream, output.data) == (Stream.STDOUT, b"still here")
        process.close()


@pytest.mark.ways("own process")
@pytest.mark.parametrize("index", [0, 1, 2])
def test_a_dial_that_fails_leaves_nothing_open(lab: Lab, chain3: Chain3, index: int) -> None:
    def ours() -> list[str]:
        names = (thread.name for thread in threading.enumerate())
        return [name for name in names if name.startswith(("Thread-", "keepalive", "proxy"))]

    def descriptors() -> int:
        gc.collect()
        return processes.descriptors(os.getpid())

    with opened(lab, chain3.variables):
        pass
    wait_until(lambda: ours() == [], 30, "the end of the first session's threads")
    before = descriptors()
    chain3.hosts[index].swap_keys()
    for _time in range(5):
        with pytest.raises(HostKeyRefused, match=f"{hop_name(index, 3)}"), opened(lab, chain3.variables):
            pass
    chain3.settle()
    wait_until(lambda: ours() == [], 30, "the end of all threads")
    assert descriptors() == before


def test_a_command_may_write_before_it_reads(lab: Lab, chain3: Chain3) -> None:  # trust: T51
    with opened(lab, chain3.variables) as session:
        result = session.run("head -c 20000000 /dev/zero; cat >/dev/null", bytes(5 * MEBIBYTE))
    assert (result.status, len(result.stdout)) == (0, 20000000)


@pytest.mark.ways("own process")
def test_a_link_that_takes_nothing_does_not_hold_up_the_end(lab: Lab, chain3: Chain3, link: Forwarder) -> None:
    with opened(lab, over(link, chain3)["target"]) as session:
        process = session.session.start("cat > /dev/null")
        link.stall()
        full = threading.Thread(target=fill, args=(process,), daemon=True)
        full.start()
        full.join(3)  # longer than any buffer on the way takes to fill
        started = time.monotonic()
        session.session.close()
        assert time.monotonic() - started < 5


def test_a_signal_is_acted_on_even_if_another_thread_gets_it(lab: Lab, chain3: Chain3) -> None:
    class Interrupted(Exception):
        pass

    def interrupt(_number: int, _frame: object) -> None:
        raise Interrupted

    before = signal.signal(signal.SIGUSR1, interrupt)
    try:
        with opened(lab, chain3.variables) as session:
            process = session.session.start("sleep 20")
            other = threading.Timer(0.3, lambda: signal.pthread_kill(threading.get_ident(), signal.SIGUSR1))
            other.start()
            started = time.monotonic()
            with pytest.raises(Interrupted):
                process.read(None)
            assert time.monotonic() - started < 10  # and not when the command ends
            process.close()
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_an_interrupted_play_ends(lab: Lab, chain3: Chain3, marker: Path) -> None:
    """Ctrl-C reaches Ansible's main process only; its workers follow, and no process is left on the controller."""
    inventory = chain3.inventory()
    task = raw(f"echo x >> {marker}; exec sleep 60", "Wait")
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(playbook, lab, inventory, play(task))
        wait_until(lambda: marker.read_text() or running.done(), 60, "the command has started")
        (main,) = [pid for pid in processes.descendants(os.getpid()) if processes.parent(pid) == os.getpid()
                   and b"ansible-playbook" in processes.command_line(pid)]  # fmt: skip
        os.kill(main, signal.SIGINT)
        run = running.result(30)
    assert run.rc not in (0, 4)
    chain3.target.wait_log("Connection closed|Read error|session_close_by_channel", 10)


@pytest.mark.ways("own process")
@pytest.mark.parametrize("kind", [94, 96], ids=["data", "end of input"])
def test_input_that_comes_after_the_end_of_a_command_ends_no_connection(
    lab: Lab, chain3: Chain3, kind: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OpenSSH disconnects a client that writes to a closed channel; here the input is sent as late as possible."""
    send, late = HopTransport._send_user_message, threading.Event()

    def sends_late(transport: HopTransport, message: paramiko.Message) -> None:
        data = message.asbytes()
        channels = [each for each in transport._channels.values() if each.remote_chanid == data[4]]
        if data[0] == kind and transport is target and not late.is_set():
            late.set()
            wait_until(lambda: channels[0].closed, 30, "the end of the command")
            time.sleep(0.3)  # for the answer to go out, if nothing holds it back
        send(transport, message)

    with opened(lab, chain3.variables) as session:
        process: Any = session.session.start("exec <&-; sleep 0.2")
        target = process._lease.session._target.transport
        monkeypatch.setattr(HopTransport, "_send_user_message", sends_late)
        with contextlib.suppress(OSError):
            process.write(b"data")
        process.close_stdin()
        assert isinstance(process.read(10), Exited)
        process.close()
        assert late.is_set()
        assert session.run("true").status == 0
    chain3.settle()
    assert chain3.login_counts() == [1, 1, 1]
