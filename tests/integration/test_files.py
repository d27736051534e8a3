# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test transfers: a complete file, or an error and no partial file."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import asyncssh
import pytest
from lab import Chain3, Lab, chain_of_three, play, playbook, processes, wait_until
from sessions import opened

from ansible_collections.bastion.ssh.plugins.plugin_utils.chain.model import TransferMethod
from ansible_collections.bastion.ssh.plugins.plugin_utils.errors import CommandError, HopUnreachable, LinkLost

pytestmark = pytest.mark.ways("broker", "own process")

MEBIBYTE = 1024 * 1024
METHODS = [TransferMethod.SFTP, TransferMethod.PIPED]
NAMES = ["plain", "with two  spaces", "ünïcødé-漢字-🔑", "quote'\"$(id)`id`;\\", "-dash", "new\nline"]


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def remote(lab: Lab, chain3: Chain3) -> Path:
    """Provide a directory of the target's user."""
    return chain3.users[2].home


@pytest.mark.parametrize("method", METHODS)
def test_files_of_any_name_arrive_and_come_back(
    lab: Lab, chain3: Chain3, remote: Path, method: TransferMethod
) -> None:  # trust: T45
    (lab.path / "empty").touch()
    (lab.path / "some").write_bytes(bytes(range(256)) * 1024)
    with opened(lab, chain3.variables, method) as session:
        for name in NAMES:
            for source in ("empty", "some"):
                session.session.put(str(lab.path / source), f"{remote}/{name}")
                assert digest(remote / name) == digest(lab.path / source)
                session.session.fetch(f"{remote}/{name}", f"{lab.path}/{name}")
                assert digest(lab.path / name) == digest(lab.path / source)


@pytest.mark.ways("broker")
@pytest.mark.once
@pytest.mark.timeout(900)
@pytest.mark.parametrize("method", METHODS)
def test_a_large_file_is_the_same_on_both_sides(
    lab: Lab, chain3: Chain3, remote: Path, method: TransferMethod
) -> None:  # trust: T45
    size = "1G" if method is TransferMethod.SFTP else "64M"
    subprocess.run(["sh", "-c", f"head -c {size} /dev/urandom > {lab.path}/large"], check=True)
    with opened(lab, chain3.variables, method) as session:
        session.session.put(f"{lab.path}/large", f"{remote}/large")
        session.session.fetch(f"{remote}/large", f"{lab.path}/back")
    subprocess.run(["cmp", f"{lab.path}/large", f"{remote}/large"], check=True)
    subprocess.run(["cmp", f"{lab.path}/large", f"{lab.path}/back"], check=True)


@pytest.fixture
def small_disk(lab: Lab) -> Iterator[Path]:
    """Provide a file system of 1 MiB."""
    path = lab.path / "small"
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m,mode=1777", "tmpfs", str(path)], check=True)
    yield path
    subprocess.run(["umount", "-l", str(path)], check=True)


@pytest.mark.parametrize("method", METHODS)
def test_a_full_disk_on_the_target_is_an_error(
    lab: Lab, chain3: Chain3, small_disk: Path, method: TransferMethod
) -> None:  # trust: T45
    (lab.path / "source").write_bytes(bytes(3 * MEBIBYTE))
    with opened(lab, chain3.variables, method) as session, pytest.raises(CommandError, match="cannot write"):
        session.session.put(f"{lab.path}/source", f"{small_disk}/file")


@pytest.mark.parametrize("method", METHODS)
def test_a_full_disk_on_the_controller_leaves_no_file(
    lab: Lab, chain3: Chain3, remote: Path, small_disk: Path, method: TransferMethod
) -> None:  # trust: T45
    (remote / "source").write_bytes(bytes(3 * MEBIBYTE))
    with opened(lab, chain3.variables, method) as session, pytest.raises(CommandError, match="No space left"):
        session.session.fetch(f"{remote}/source", f"{small_disk}/file")
    assert list(small_disk.iterdir()) == []


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("what", ["put", "fetch"])
def test_a_link_cut_in_the_middle_is_an_error(
    lab: Lab, chain3: Chain3, remote: Path, method: TransferMethod, what: str
) -> None:  # trust: T45
    (link, *_behind), variables = chain3.over_links(lab)
    for path in (lab.path / "source", remote / "source"):
        path.write_bytes(bytes(30 * MEBIBYTE))
    with opened(lab, variables, method) as session:
        session.run("true")
        link.cut_after("up" if what == "put" else "down", 5 * MEBIBYTE)
        if what == "put":
            transfer = partial(session.session.put, f"{lab.path}/source", f"{remote}/there")
        else:
            transfer = partial(session.session.fetch, f"{remote}/source", f"{lab.path}/here")
        with pytest.raises(LinkLost, match="jump host 1 of 2"):
            transfer()
    assert not (lab.path / "here").exists()
    assert not list(lab.path.glob(".here*"))


@pytest.mark.parametrize("method", METHODS)
def test_a_missing_file_is_named(lab: Lab, chain3: Chain3, method: TransferMethod) -> None:
    with opened(lab, chain3.variables, method) as session:
        with pytest.raises(
            CommandError, match=r"^target .*: cannot read /nowhere/file: .*No such file.*\. Check its path"
        ):
            session.session.fetch("/nowhere/file", f"{lab.path}/here")
        with pytest.raises(
            CommandError, match=r"^target .*: cannot write /nowhere/file: .*No such file.*\. Check its path"
        ):
            session.session.put(__file__, "/nowhere/file")
        assert session.run("echo alive").stdout == b"alive\n"
    assert not (lab.path / "here").exists()


def test_files_without_a_size_are_read_to_their_end(lab: Lab, chain3: Chain3) -> None:
    with opened(lab, chain3.variables, TransferMethod.SFTP) as session:
        session.session.fetch("/proc/version", f"{lab.path}/version")
    assert (lab.path / "version").read_bytes() == Path("/proc/version").read_bytes()


def test_without_sftp_smart_goes_through_dd_and_sftp_says_so(lab: Lab) -> None:
    chain3 = chain_of_three(lab, same_key=True)
    chain3.target.options.pop("Subsystem")
    chain3.target.restart()
    copy = {"name": "Copy", "ansible.builtin.copy": {"content": "some\n", "dest": "~/file"}}
    fetch = {"name": "Fetch", "ansible.builtin.fetch": {"src": "~/file", "dest": "fetched", "flat": True}}
    run = playbook(lab, chain3.inventory(), play(copy, fetch)).check()
    assert (run.path / "fetched").read_text() == "some\n"
    run = playbook(lab, chain3.inventory(ansible_ssh_transfer_method="sftp"), play(copy))
    assert "offers no SFTP" in run.results["target"][-1].result["msg"]
    assert run.results["target"][-1].status == "failed"


def test_a_server_whose_sftp_says_nothing_is_told_in_time(lab: Lab, chain3: Chain3) -> None:
    chain3.target.options["Subsystem"] = "sftp /bin/sleep 600"
    chain3.target.reload()
    (lab.path / "file").touch()
    with opened(lab, chain3.variables | {"ansible_ssh_timeout": 3}) as session:
        with pytest.raises(HopUnreachable, match=r"^target .*: no session within 3 seconds\."):
            session.session.put(f"{lab.path}/file", "file")
        assert session.run("echo here").stdout == b"here\n"


def test_requests_to_write_do_not_wait_for_answers(lab: Lab, chain3: Chain3, remote: Path) -> None:
    (link, *_behind), variables = chain3.over_links(lab)
    (lab.path / "source").write_bytes(bytes(range(256)) * 4096 * 4)
    with (
        opened(lab, variables, TransferMethod.SFTP) as session,
        ThreadPoolExecutor(1) as pool,
    ):
        link.stall_after("up", 256 * 1024)  # the file is open, and the first blocks are on their way
        running = pool.submit(session.session.put, f"{lab.path}/source", f"{remote}/there")
        wait_until(lambda: link.stalled or running.done(), 30, "the first blocks")
        before = link.passed["up"]
        link.resume()
        link.stall("down")
        wait_until(
            lambda: link.passed["up"] - before > 20 * 32768 or running.done(), 30, "twenty blocks without an answer"
        )
        assert not running.done()
        link.resume()
        running.result()
    assert digest(remote / "there") == digest(lab.path / "source")


@pytest.mark.parametrize("what", ["put", "fetch"])
def test_a_server_program_that_dies_in_the_middle_is_an_error(lab: Lab, what: str) -> None:  # trust: T45
    chain3 = chain_of_three(lab, sftp="external")
    (link, *_behind), variables = chain3.over_links(lab)
    remote, here = chain3.users[2].home, lab.path / "here"
    for path in (lab.path / "source", remote / "source"):
        path.write_bytes(bytes(30 * MEBIBYTE))
    with opened(lab, variables) as session, ThreadPoolExecutor(1) as pool:
        link.stall_after("up" if what == "put" else "down", 5 * MEBIBYTE)
        if what == "put":
            running = pool.submit(session.session.put, f"{lab.path}/source", f"{remote}/there")
        else:
            running = pool.submit(session.session.fetch, f"{remote}/source", str(here))
        wait_until(lambda: link.stalled or running.done(), 30, "the middle")
        processes.end(pid for pid in chain3.target.sessions() if b"sftp-server" in processes.command_line(pid))
        link.resume()
        with pytest.raises(CommandError, match=r"^target .*: cannot .*: the server ended SFTP"):
            running.result(30)
        assert session.run("echo here").stdout == b"here\n"
    assert not here.exists()
    assert not list(lab.path.glob(".here*"))


@pytest.mark.ways("broker")
def test_a_copy_whose_server_dies_in_the_middle_leaves_nothing_under_its_name(lab: Lab) -> None:  # trust: T45
    """What was written is in Ansible's temporary directory, from which a module copies complete files only."""
    chain3 = chain_of_three(lab, sftp="external")
    (link, *_behind), variables = chain3.over_links(lab)
    there = chain3.users[2].home / "there"
    (lab.path / "source").write_bytes(bytes(30 * MEBIBYTE))
    copy = {"name": "Copy", "ansible.builtin.copy": {"src": f"{lab.path}/source", "dest": str(there)}}
    with ThreadPoolExecutor(1) as pool:
        link.stall_after("up", 5 * MEBIBYTE)
        running = pool.submit(playbook, lab, {"target": variables}, play(copy))
        wait_until(lambda: link.stalled or running.done(), 60, "the middle")
        processes.end(pid for pid in chain3.target.sessions() if b"sftp-server" in processes.command_line(pid))
        link.resume()
        result = running.result().result("target")
    assert result.status == "failed"
    assert "the server ended SFTP" in result.result["msg"]
    assert not there.exists()


class Hiccup(asyncssh.SFTPServer):
    """Fail one write in the middle of a file, and accept all others."""

    def write(self, file_obj: object, offset: int, data: bytes) -> Any:
        if offset <= 3 * 32768 < offset + len(data):
            raise asyncssh.SFTPFailure("disk hiccup")
        return super().write(file_obj, offset, data)


def test_a_write_that_fails_in_the_middle_is_an_error(lab: Lab) -> None:  # trust: T45
    server = lab.recorder("target", passwords={"root": "x"}, sftp=Hiccup)
    lab.trust(server)
    (lab.path / "small").write_bytes(b"A" * 3 * 32768)
    (lab.path / "source").write_bytes(b"A" * 20 * 32768)
    variables = {"ansible_host": server.address, "ansible_port": server.port, "ansible_user": "root"}
    with opened(lab, variables | {"ansible_password": "x"}, TransferMethod.SFTP) as session:
        with pytest.raises(CommandError, match=r"cannot write .*: disk hiccup"):
            session.session.put(f"{lab.path}/source", f"{lab.path}/there")
        session.session.put(f"{lab.path}/small", f"{lab.path}/small.there")
    assert digest(lab.path / "small.there") == digest(lab.path / "small")


@pytest.mark.parametrize("method", METHODS)
def test_a_file_of_the_controller_that_cannot_be_read_is_an_error(
    lab: Lab, chain3: Chain3, remote: Path, method: TransferMethod
) -> None:  # trust: T45
    with opened(lab, chain3.variables, method) as session:
        # Opens, and then fails to be read.
        with pytest.raises(CommandError, match=r"^on the controller: cannot read /proc/self/mem: "):
            session.session.put("/proc/self/mem", f"{remote}/there")
        with pytest.raises(CommandError, match=r"^on the controller: cannot read /nowhere: "):
            session.session.put("/nowhere", f"{remote}/there")
        assert session.run("echo alive").stdout == b"alive\n"
