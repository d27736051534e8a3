# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test what a fetch leaves on the controller, compared with ansible.builtin.ssh."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import stat
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import asyncssh
import pytest
from lab import Chain3, Lab, User, environment
from sessions import opened

from ansible_collections.bastion.ssh.plugins.plugin_utils.chain.model import TransferMethod
from ansible_collections.bastion.ssh.plugins.plugin_utils.client.local_files import complete
from ansible_collections.bastion.ssh.plugins.plugin_utils.errors import CommandError, LinkLost

pytestmark = pytest.mark.ways("broker", "own process")

METHODS = [TransferMethod.SFTP, TransferMethod.PIPED]
BUILTIN = "ansible.builtin.ssh"
OURS = "bastion.ssh.jump"
FETCHES = Path(__file__).parent / "lab/fetches.py"
SECRET = b"secret\n"
MEBIBYTE = 1024 * 1024
# acl(5), as Linux keeps it (uapi/linux/posix_acl_xattr.h): rw- for the owner and for user 1, r-- for the group, and a mask.
ACL = struct.pack("<I" + "HHI" * 5, 2, 1, 6, 2**32 - 1, 2, 6, 1, 4, 4, 2**32 - 1, 16, 6, 2**32 - 1, 32, 0, 2**32 - 1)


@dataclass(frozen=True)
class Case:
    """Describe what exists before a fetch to ``file``, in a directory of the user who fetches."""

    name: str
    prepare: Callable[[Path], object] = lambda directory: None
    mode: int = 0o600  # of the source
    umask: int = 0o022
    foreign: bool = False  # whether what is prepared is another user's


def some(path: Path, mode: int, size: int = 30) -> Path:
    """Write a file of ``size`` bytes with a mode."""
    path.write_bytes(b"x" * size)
    path.chmod(mode)
    return path


def existing(mode: int, size: int = 30) -> Callable[[Path], object]:
    """Return a preparation: a file exists already."""
    return lambda directory: some(directory / "file", mode, size)


def link_to(target: str, mode: int | None = None) -> Callable[[Path], object]:
    """Return a preparation: a symlink to a file, or a dangling one."""

    def prepare(directory: Path) -> None:
        (directory / "sub").mkdir()
        if mode is not None:
            some(directory / target, mode)
        (directory / "file").symlink_to(target)

    return prepare


def hard_link(directory: Path) -> None:
    os.link(some(directory / "other", 0o640), directory / "file")


def attribute(name: str, value: bytes) -> Callable[[Path], object]:
    """Return a preparation: a file with an extended attribute."""
    return lambda directory: os.setxattr(some(directory / "file", 0o640), name, value)


def unwritable_directory(directory: Path) -> None:
    some(directory / "file", 0o666)
    directory.chmod(0o555)


def mounted(directory: Path) -> None:
    """Bind-mount a single file, as container engines do."""
    other, file = some(directory / "other", 0o640), some(directory / "file", 0o640)
    subprocess.run(["mount", "--bind", str(other), str(file)], check=True)


def null(directory: Path) -> None:
    os.mknod(directory / "file", stat.S_IFCHR, os.makedev(1, 3))
    (directory / "file").chmod(0o666)


NEW = [
    *(Case(f"new, of a {mode:o}", mode=mode) for mode in (0o600, 0o640, 0o644, 0o755, 0o4755, 0o400)),
    *(Case(f"new with umask 077, of a {mode:o}", mode=mode, umask=0o077) for mode in (0o640, 0o755)),
    Case("link to nothing", link_to("sub/target"), mode=0o640),
]
OLD = [
    *(Case(f"existing {mode:o}", existing(mode)) for mode in (0o600, 0o640, 0o666, 0o444, 0o4755)),
    Case("existing 600, of a 644", existing(0o600), mode=0o644),
    Case("existing and shorter", existing(0o640, 3)),
    Case("another's", existing(0o666), foreign=True),
    Case("another's, not to be written", existing(0o644), foreign=True),
    Case("hard link", hard_link),
    Case("access list", attribute("system.posix_acl_access", ACL)),
    Case("attribute", attribute("user.some", b"value")),
    Case("mount", mounted),
    Case("unwritable directory", unwritable_directory),
    Case("link", link_to("sub/target", 0o640)),
    Case("link to nowhere", link_to("none/target")),
    Case("link to itself", link_to("file")),
    Case("device", null),
]
SOME = [NEW[0], NEW[3], *(case for case in OLD if case.name in ("existing 640", "hard link", "link", "device"))]


def found(directory: Path) -> dict[str, object]:
    """Describe everything in a directory, by path."""
    return {str(path.relative_to(directory)): described(path) for path in sorted(directory.rglob("*"))}


def described(path: Path) -> tuple[object, ...]:
    status = path.lstat()
    more: object = None
    if path.is_symlink():
        more = os.readlink(path)
    elif path.is_file():
        more = (path.read_bytes(), {name: os.getxattr(path, name) for name in os.listxattr(path)})
    return stat.filemode(status.st_mode), status.st_uid, status.st_gid, status.st_nlink, status.st_rdev, more


Found = tuple[bool, dict[str, object]]


@dataclass(frozen=True)
class Controller:
    """Fetch files from a server as a user of the controller."""

    lab: Lab
    user: User | None  # None for root
    variables: dict[str, Any]
    sources: Path

    def fetch(self, method: TransferMethod, cases: Sequence[Case], **variables: Any) -> dict[str, Found]:
        """Run cases, and return for each whether it succeeded, and what exists then."""
        place = Path(tempfile.mkdtemp(prefix="fetched-", dir=self.lab.path))
        place.chmod(0o755)
        fetches = []
        for case in cases:
            directory = place / case.name
            directory.mkdir()
            case.prepare(directory)
            self._own(directory, case.foreign)
            fetches.append([method.value, case.umask, str(self.sources / f"{case.mode:o}"), f"{directory}/file"])
        answers = self._run(fetches, variables)
        return {case.name: (not answer, found(place / case.name)) for case, answer in zip(cases, answers, strict=True)}

    def _own(self, directory: Path, foreign: bool) -> None:
        """Give what was prepared to the user, or, if ``foreign``, its content to another user."""
        mine, others = ((self.user.uid, self.user.gid), (0, 0)) if self.user else ((0, 0), (1, 1))
        for path in (directory, *directory.rglob("*")):
            mode = path.lstat().st_mode
            os.lchown(path, *others if foreign and path != directory else mine)
            if not path.is_symlink():
                path.chmod(stat.S_IMODE(mode))  # a new owner takes setuid away

    def _run(self, fetches: list[list[Any]], variables: dict[str, Any]) -> list[str]:
        """Fetch in a process of the user; return the errors."""
        home = self.user.home if self.user else self.lab.home
        done = subprocess.run(
            [*self._become(), sys.executable, str(FETCHES)],
            cwd="/",
            env=environment(self.lab) | {"HOME": str(home), "ANSIBLE_HOME": f"{home}/.ansible"},
            input=json.dumps({"variables": self.variables | variables, "fetches": fetches}),
            stdout=subprocess.PIPE,
            text=True,
            timeout=60,
            check=True,
        )
        answers: list[str] = json.loads(done.stdout)
        return answers

    def _become(self) -> list[str]:
        """Return a command line prefix that runs a program as the user, able to read all files, as this Python may be readable by root only."""
        if not self.user:
            return []
        ids = [f"--reuid={self.user.uid}", f"--regid={self.user.gid}", "--clear-groups"]
        return ["setpriv", *ids, "--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]


def controller(lab: Lab, user: User | None) -> Controller:
    """Start a target with a source of each mode, for a user of the controller."""
    login, key = lab.user("target"), lab.key("key")
    host = lab.sshd("target", users=[login], keys=[key])
    known_hosts = lab.known_hosts([host])
    mine = shutil.copy(key.path, (user.home if user else lab.home) / "key")
    if user:
        shutil.chown(mine, user.uid, user.gid)
    for mode in {case.mode for case in NEW + OLD}:
        path = login.home / f"{mode:o}"
        path.write_bytes(SECRET)
        shutil.chown(path, login.uid, login.gid)
        path.chmod(mode)
    variables = {
        "ansible_host": host.address,
        "ansible_port": host.port,
        "ansible_user": login.name,
        "ansible_ssh_private_key_file": str(mine),
        "ansible_ssh_common_args": f"-F none -o UserKnownHostsFile={known_hosts}",
        "ansible_ssh_known_hosts": str(known_hosts),
        "ansible_ssh_config_file": "none",
    }
    return Controller(lab, user, variables, login.home)


# trust: T55
@pytest.mark.ways("broker")
@pytest.mark.parametrize("role", ["root", "controller"])
def test_it_leaves_what_builtin_ssh_leaves(lab: Lab, role: str) -> None:
    there = controller(lab, None if role == "root" else lab.user(role))
    theirs = there.fetch(TransferMethod.SFTP, NEW + OLD, ansible_connection=BUILTIN)
    ours = there.fetch(TransferMethod.SFTP, NEW + OLD, ansible_connection=OURS)
    for case in NEW + OLD:
        assert ours[case.name] == theirs[case.name], case.name
    alone = there.fetch(TransferMethod.SFTP, SOME, ansible_connection=OURS, ansible_ssh_persist=0)
    assert alone == {case.name: theirs[case.name] for case in SOME}


# trust: T55
@pytest.mark.ways("broker")
def test_without_sftp_it_leaves_what_builtin_ssh_leaves_and_a_new_file_to_its_owner(lab: Lab) -> None:
    there = controller(lab, lab.user("controller"))
    theirs = there.fetch(TransferMethod.PIPED, SOME, ansible_connection=BUILTIN)
    ours = there.fetch(TransferMethod.PIPED, SOME, ansible_connection=OURS)
    alone = there.fetch(TransferMethod.PIPED, SOME, ansible_connection=OURS, ansible_ssh_persist=0)
    for case in SOME:
        if case in OLD:
            assert alone[case.name] == ours[case.name] == theirs[case.name], case.name
        else:
            assert alone[case.name] == ours[case.name], case.name
            assert theirs[case.name][1]["file"][0] == "-rw-r--r--"  # type: ignore[index]
            assert ours[case.name][1]["file"][0] == "-rw-------"  # type: ignore[index]


@pytest.mark.parametrize("method", METHODS)
def test_a_pipe_takes_the_bytes(lab: Lab, chain3: Chain3, method: TransferMethod) -> None:  # trust: T55
    (chain3.users[2].home / "source").write_bytes(bytes(MEBIBYTE))
    os.mkfifo(lab.path / "here")
    with opened(lab, chain3.variables, method) as session, ThreadPoolExecutor(1) as pool:
        read = pool.submit((lab.path / "here").read_bytes)
        session.session.fetch("source", f"{lab.path}/here")
        assert read.result(30) == bytes(MEBIBYTE)
    assert (lab.path / "here").is_fifo()


@pytest.mark.ways("broker")
@pytest.mark.parametrize(
    ("owner", "directory_owner", "followed"), [(1, 0, False), (1, 2, False), (0, 1, True), (1, 1, True)]
)
@pytest.mark.parametrize("target", ["there", "nothing"])
def test_another_users_link_where_all_may_write_is_not_followed(
    lab: Lab, owner: int, directory_owner: int, followed: bool, target: str
) -> None:  # trust: T55
    """As Linux does with fs.protected_symlinks (proc(5)), whatever that is set to here."""
    (lab.path / "there").write_bytes(b"old")
    shared = lab.path / "shared"
    shared.mkdir()
    (shared / "here").symlink_to(lab.path / target)
    os.lchown(shared / "here", owner, owner)
    os.chown(shared, directory_owner, directory_owner)
    shared.chmod(0o1777)
    refused = pytest.raises(CommandError, match="it is another user's link")
    with contextlib.nullcontext() if followed else refused, complete(f"{shared}/here") as file:
        file.write(SECRET)
    assert (lab.path / "there").read_bytes() == (SECRET if followed and target == "there" else b"old")
    assert (lab.path / "nothing").exists() == (followed and target == "nothing")
    assert [path.name for path in shared.iterdir()] == ["here"]


@pytest.mark.parametrize("method", METHODS)
def test_a_link_cut_in_the_middle_leaves_what_was_there(
    lab: Lab, chain3: Chain3, method: TransferMethod
) -> None:  # trust: T45 T55
    (link, *_behind), variables = chain3.over_links(lab)
    (chain3.users[2].home / "source").write_bytes(bytes(6 * MEBIBYTE))
    for number, prepare in enumerate([existing(0o640), link_to("sub/target"), hard_link]):
        directory = lab.path / f"fetched{number}"
        directory.mkdir()
        prepare(directory)
        before = found(directory)
        with opened(lab, variables, method) as session:
            link.cut_after("down", MEBIBYTE)
            with pytest.raises(LinkLost):
                session.session.fetch("source", f"{directory}/file")
        assert found(directory) == before


@pytest.mark.parametrize("room", ["128k", "512k"])
def test_a_full_disk_leaves_what_was_there(lab: Lab, chain3: Chain3, room: str) -> None:  # trust: T45 T55
    """There may be space for the temporary file, but not for the growth of another file."""
    (chain3.users[2].home / "source").write_bytes(bytes(300 * 1024))
    directory = lab.disk(room)
    hard_link(directory)
    before = found(directory)
    with opened(lab, chain3.variables) as session, pytest.raises(CommandError, match="No space left"):
        session.session.fetch("source", f"{directory}/file")
    assert found(directory) == before


def test_a_full_disk_leaves_a_file_with_holes_as_it_was(lab: Lab, chain3: Chain3) -> None:  # trust: T45 T55
    """There is no space for its whole size."""
    (chain3.users[2].home / "source").write_bytes(bytes(300 * 1024))
    directory = lab.disk("512k")
    hard_link(directory)
    os.truncate(directory / "file", 400 * 1024)
    before = found(directory)
    with opened(lab, chain3.variables) as session, pytest.raises(CommandError, match="No space left"):
        session.session.fetch("source", f"{directory}/file")
    assert found(directory) == before


class Claims(asyncssh.SFTPServer):
    """Serve files that all have the same attributes."""

    def __init__(self, channel: Any, permissions: int | None) -> None:
        super().__init__(channel)
        self._permissions = permissions

    def fstat(self, file_obj: object) -> asyncssh.SFTPAttrs:
        return asyncssh.SFTPAttrs(size=len(SECRET), permissions=self._permissions)


@pytest.mark.parametrize(
    ("claimed", "mode"), [(2**32 - 1, 0o777), (0o107777, 0o777), (0, 0o200), (None, 0o600)], ids=str
)
def test_of_what_a_server_claims_nothing_but_permissions_counts(
    lab: Lab, claimed: int | None, mode: int
) -> None:  # trust: T55
    server = lab.recorder("target", passwords={"root": "x"}, sftp=partial(Claims, permissions=claimed))
    lab.trust(server)
    (lab.path / "source").write_bytes(SECRET)
    variables = {"ansible_host": server.address, "ansible_port": server.port, "ansible_user": "root"}
    before = os.umask(0)
    try:
        with opened(lab, variables | {"ansible_password": "x"}, TransferMethod.SFTP, first=None) as session:
            session.session.fetch(f"{lab.path}/source", f"{lab.path}/here")
    finally:
        os.umask(before)
    assert stat.S_IMODE((lab.path / "here").stat().st_mode) == mode
    assert (lab.path / "here").read_bytes() == SECRET
