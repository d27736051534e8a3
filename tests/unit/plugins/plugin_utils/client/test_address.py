# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the broker is, and who may be there."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import socket
import stat
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.bastion.ssh.plugins.plugin_utils.client import address
from ansible_collections.bastion.ssh.plugins.plugin_utils.client.address import (
    BrokerUnavailable,
    Directory,
    broker_name,
    directories,
    open_directory,
)

NOBODY = 65534
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "place"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    return tmp_path / "home"


def refused(path: Path | str) -> str:
    with pytest.raises(BrokerUnavailable) as caught:
        Directory(str(path))
    return str(caught.value)


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


# trust: T26
@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_a_directory_is_made_for_its_user_alone(umask: int, tmp_path: Path) -> None:
    before = os.umask(umask)
    try:
        Directory(str(tmp_path / "a/b")).close()
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a/b").stat().st_mode) == 0o700


def test_a_directory_that_is_there_stays_as_it_is(place: Path) -> None:
    place.mkdir(0o700)
    (place / "file").touch()
    with Directory(str(place)) as directory:
        assert (directory.path, directory.names()) == (str(place), ["file"])
        assert directory.inode("file") == (place / "file").stat().st_ino
        directory.remove("file")
        directory.remove("file")
        assert (directory.names(), directory.inode("file")) == ([], None)
        directory.close()


def test_a_directory_is_not_made_for_one_who_only_looks(place: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Directory(str(place), create=False)
    assert not place.exists()


def symlink(path: Path) -> None:
    path.with_name("elsewhere").mkdir(0o700)
    path.symlink_to("elsewhere")


def dangling(path: Path) -> None:
    path.symlink_to("nowhere")


def below_a_file(path: Path) -> None:
    path.parent.rmdir()
    path.parent.touch()


def foreign(path: Path) -> None:
    path.mkdir(0o700)
    os.chown(path, NOBODY, -1)


def mode(bits: int) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        path.mkdir()
        path.chmod(bits)

    return make


NOT_A_DIRECTORY = "is not a directory"
OPEN = "is open to others than its user; it has to be ours, with mode 0700"


# trust: T26, T27
@pytest.mark.parametrize("create", [True, False])
@pytest.mark.parametrize(
    ("make", "why"),
    [
        (symlink, NOT_A_DIRECTORY),
        (Path.touch, NOT_A_DIRECTORY),
        (mode(0o777), OPEN),
        (mode(0o1777), OPEN),
        (mode(0o750), OPEN),
        (mode(0o710), OPEN),
        (mode(0o701), OPEN),
        (mode(0o704), OPEN),
        (mode(0o702), OPEN),
        pytest.param(foreign, OPEN, marks=as_root),
    ],
)
def test_a_directory_that_others_can_get_at_is_refused(
    make: Callable[[Path], None], why: str, create: bool, place: Path
) -> None:
    make(place)
    before = descriptors()
    with pytest.raises(BrokerUnavailable) as caught:
        Directory(str(place), create)
    assert str(caught.value) == f"{place} {why}"
    assert descriptors() == before
    assert {name.name for name in place.parent.iterdir()} <= {"place", "elsewhere"}


# trust: T27
def test_a_directory_that_cannot_be_made_is_no_broker(tmp_path: Path) -> None:
    dangling(tmp_path / "link")
    (tmp_path / "file").touch()
    assert refused(tmp_path / "link") == f"{tmp_path}/link is not a directory"
    assert refused(tmp_path / "file/below") == f"{tmp_path}/file/below is not a directory"
    assert "Read-only" in refused("/proc/self/x") or "No such file" in refused("/proc/self/x")
    assert not (tmp_path / "nowhere").exists()


# trust: T27
def test_a_directory_stays_the_same_when_another_takes_its_name(place: Path) -> None:
    with Directory(str(place)) as directory:
        place.rename(place.with_name("moved"))
        place.mkdir(0o777)
        os.close(directory.open("file", os.O_CREAT | os.O_WRONLY))
        assert directory.names() == ["file"]
    assert list(place.iterdir()) == []


# trust: T26, T27
def test_a_file_in_it_is_private_and_no_symlink(place: Path) -> None:
    with Directory(str(place)) as directory:
        descriptor = directory.open("file", os.O_CREAT | os.O_WRONLY)
        assert not os.get_inheritable(descriptor)
        os.close(descriptor)
        assert stat.S_IMODE((place / "file").stat().st_mode) == 0o600
        (place / "link").symlink_to("file")
        with pytest.raises(OSError, match="symbolic"):
            directory.open("link", os.O_CREAT | os.O_WRONLY)
        assert directory.inode("link") == (place / "link").lstat().st_ino


# trust: T27
def test_the_users_directory_is_the_only_one(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(home.parent))
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.chdir(home.parent)
    assert list(directories("/wanted", str(home))) == ["/wanted"]
    assert list(directories("~/wanted", str(home))) == ["/home/me/wanted"]
    assert list(directories("wanted/.", str(home))) == [f"{home.parent}/wanted"]
    assert list(directories("", "~/.ansible"))[1:] == ["/home/me/.ansible/bastion-ssh"]
    home.touch()
    with pytest.raises(BrokerUnavailable, match=f"^{home} is not a directory$"):
        open_directory(str(home), str(home.parent))


def test_the_runtime_directory_comes_first_and_ansibles_home_next(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    both = [f"{tmp_path}/bastion-ssh", f"{home}/bastion-ssh"]
    assert list(directories(None, str(home))) == both
    with open_directory(None, str(home)) as directory:
        assert directory.path == both[0]
    os.chmod(both[0], 0o755)
    with open_directory(None, str(home)) as directory:
        assert directory.path == both[1]
    os.chmod(both[1], 0o755)
    with pytest.raises(BrokerUnavailable, match=f"^{both[0]} {OPEN}; {both[1]} {OPEN}$"):
        open_directory(None, str(home))


# trust: T27
@pytest.mark.parametrize("runtime", ["", "/nonexistent", pytest.param("foreign", marks=as_root), "."])
def test_a_runtime_directory_that_is_not_ours_is_passed_over(
    runtime: str, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    if runtime == "foreign":
        foreign(tmp_path / "foreign")
        runtime = str(tmp_path / "foreign")
    monkeypatch.setenv("XDG_RUNTIME_DIR", runtime)
    assert list(directories(None, str(home))) == [f"{home}/bastion-ssh"]


def test_without_a_way_to_know_the_other_end_there_is_no_broker(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(socket, "SO_PEERCRED")
    with pytest.raises(BrokerUnavailable, match="does not tell who is at the other end"):
        open_directory(None, str(home))
    assert not home.exists()


# trust: T30
@pytest.mark.parametrize("length", [1, 100, 108, 240])
def test_a_socket_works_however_long_its_path_is(length: int, tmp_path: Path) -> None:
    wanted = length - len("/name.sock") - len(f"{tmp_path}/")
    path = tmp_path / ("d" * max(1, wanted))
    with Directory(str(path)) as directory, socket.socket(socket.AF_UNIX) as listening:
        at = directory.address("name.sock")
        assert re.fullmatch(r"/proc/self/fd/\d+/name\.sock", at)
        assert directory.connect("name.sock") is None
        listening.bind(at)
        assert directory.connect("name.sock") is None, "nobody listens yet"
        listening.listen()
        assert directory.inode("name.sock") == (path / "name.sock").lstat().st_ino
        sock = directory.connect("name.sock")
        assert sock is not None
        with sock, listening.accept()[0] as served:
            assert (address.peer(sock).uid, address.peer(served).uid) == (os.geteuid(), os.geteuid())


def test_what_is_no_socket_is_no_broker(place: Path) -> None:
    with Directory(str(place)) as directory:
        (place / "name.sock").touch()
        assert directory.connect("name.sock") is None
        (place / "name.sock").unlink()
        (place / "name.sock").symlink_to("name.sock")
        with pytest.raises(BrokerUnavailable, match=f"^{place}/name.sock: Too many levels"):
            directory.connect("name.sock")


LISTENER = """
import os, socket

with socket.socket(socket.AF_UNIX) as listening:
    listening.bind(sys.argv[1])
    os.chmod(sys.argv[1], 0o777)
    os.setgid(65534)
    os.setuid(65534)
    listening.listen()
    go()
    listening.settimeout(30)
    with listening.accept()[0] as worker:
        print(worker.recv(100))
"""


# trust: T26, T27
@as_root
def test_nothing_is_said_to_the_socket_of_another_user(place: Path, start: Callable[..., list[object]]) -> None:
    with Directory(str(place)) as directory:
        (process,) = start(LISTENER, [f"{place}/name.sock"])
        with pytest.raises(BrokerUnavailable, match=f"^{place}/name.sock is the socket of another user$"):
            directory.connect("name.sock")
        assert process.communicate(timeout=30)[0] == "b''\n"  # type: ignore[attr-defined]


# trust: T27
def test_a_socket_is_that_of_the_directory_whatever_has_its_name_now(place: Path) -> None:
    with Directory(str(place)) as directory:
        place.rename(place.with_name("moved"))
        place.mkdir(0o700)
        with socket.socket(socket.AF_UNIX) as planted, socket.socket(socket.AF_UNIX) as ours:
            planted.bind(str(place / "name.sock"))
            planted.listen()
            assert directory.connect("name.sock") is None
            ours.bind(directory.address("name.sock"))
            ours.listen()
            sock = directory.connect("name.sock")
            assert sock
            with sock, ours.accept()[0]:
                assert sorted(path.name for path in place.with_name("moved").iterdir()) == ["name.sock"]


def writable(bits: int) -> Callable[[Path], None]:
    return lambda path: path.chmod(bits)


def given(path: Path) -> None:
    os.chown(path, NOBODY, -1)


def given_to_a_group(path: Path) -> None:
    path.chmod(0o775)
    os.chown(path, -1, NOBODY)


ANOTHERS = "{} belongs to another user, who could replace what is in it"
WRITABLE = "{} can be written by other users, who could replace what is in it"


# trust: T27
@pytest.mark.parametrize("there", [True, False])
@pytest.mark.parametrize(
    ("make", "why"),
    [
        (writable(0o777), WRITABLE),
        (writable(0o702), WRITABLE),
        pytest.param(given_to_a_group, WRITABLE, marks=as_root),
        pytest.param(given, ANOTHERS, marks=as_root),
    ],
)
def test_a_directory_that_others_can_replace_is_refused(
    make: Callable[[Path], None], why: str, there: bool, tmp_path: Path
) -> None:
    above, path = tmp_path / "above", tmp_path / "above/some/place"
    above.mkdir()
    if there:
        Directory(str(path)).close()
    make(above)
    before = descriptors()
    for create in (True, False):
        with pytest.raises(BrokerUnavailable) as caught:
            Directory(str(path), create)
        assert str(caught.value) == why.format(above)
    assert descriptors() == before
    assert path.exists() == there


# trust: T27
@as_root
def test_a_symlink_in_a_directory_of_another_user_leads_nowhere_else_afterwards(tmp_path: Path) -> None:
    theirs, first, second = (tmp_path / name for name in ("theirs", "first", "second"))
    for folder in (theirs, first, second):
        folder.mkdir(0o700)
    (theirs / "link").symlink_to(first)
    given(theirs)
    with Directory(f"{theirs}/link/place") as directory:
        assert directory.path == f"{first}/place"
    (tmp_path / "moved").symlink_to(theirs)
    with pytest.raises(BrokerUnavailable, match=f"^{theirs} belongs to another user"):
        Directory(f"{tmp_path}/moved/place")


@pytest.mark.parametrize(
    "path",
    ["{0}/link/../place", "{0}/link/place", "/{0}/first/in/place", "{0}/first//in/place", "{0}/first/in/./place"],
)
def test_a_path_is_followed_as_the_system_does(path: str, tmp_path: Path) -> None:
    (tmp_path / "first/in").mkdir(parents=True)
    (tmp_path / "link").symlink_to("first/in")
    with Directory(path.format(tmp_path)) as directory:
        assert directory.path == f"{tmp_path}/first/{'place' if '..' in path else 'in/place'}"


def test_no_part_of_a_path_is_looked_at_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Since each task does so."""
    seen: list[object] = []
    lstat = os.lstat
    Directory(f"{tmp_path}/place").close()

    def look(path: Any) -> os.stat_result:
        seen.append(path)
        return lstat(path)

    monkeypatch.setattr(os, "lstat", look)
    Directory(f"{tmp_path}/place").close()
    assert seen == [str(path) for path in [tmp_path, *tmp_path.parents]]


@pytest.mark.parametrize("bits", [0o1777, 0o1770, 0o755])
def test_a_directory_where_others_can_move_nothing_of_ours_will_do(bits: int, tmp_path: Path) -> None:
    """As /tmp."""
    (tmp_path / "above").mkdir()
    (tmp_path / "above").chmod(bits)
    Directory(f"{tmp_path}/above/place").close()


OF_A_GROUP = """
from ansible_collections.bastion.ssh.plugins.plugin_utils.client.address import Directory, BrokerUnavailable
import grp, os, pwd
grp.getgrgid = lambda number: grp.struct_group((sys.argv[2], "x", number, [*filter(None, sys.argv[3].split(","))]))
def user(name, number, group):
    return pwd.struct_passwd((name, "x", number, int(group), "", "/", "/bin/sh"))
pwd.getpwuid = lambda number: user("me", number, sys.argv[4])
pwd.getpwall = lambda: [pwd.getpwuid(os.geteuid()), user("also me", os.geteuid(), sys.argv[4]), user("other", 7, sys.argv[5])]
go()
try:
    Directory(sys.argv[1]).close()
    print("taken")
except BrokerUnavailable as error:
    print(error)
"""


# trust: T27
@as_root
def test_the_group_of_the_user_alone_may_write_above(tmp_path: Path, outputs: Callable[..., list[str]]) -> None:
    """As where each user has a group and a umask of 002; what the system says of its users is played."""
    (tmp_path / "above").mkdir()
    given_to_a_group(tmp_path / "above")
    mine = str(NOBODY)
    groups = [
        ["me", "", mine, "100"],
        ["me", "me", mine, "100"],
        ["me", "other", mine, "100"],
        ["me", "", mine, mine],
        ["users", "", mine, "100"],
        ["me", "", "100", "100"],
    ]
    assert outputs(OF_A_GROUP, *[[f"{tmp_path}/above/place", *words] for words in groups]) == [
        "taken", "taken", *[WRITABLE.format(tmp_path / "above")] * 4
    ]  # fmt: skip


def with_an_acl(path: Path, most: int) -> None:
    """Gives a user all rights to a directory, of which the mask (``most``) leaves some."""
    # linux/posix_acl_xattr.h and posix_acl.h: a version, and entries of tag, permissions and id.
    owner, user, group, mask, others, none = 1, 2, 4, 0x10, 0x20, 0xFFFFFFFF
    entries = [(owner, 7, none), (user, 7, NOBODY), (group, 5, none), (mask, most, none), (others, 5, none)]
    acl = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)
    try:
        os.setxattr(path, "system.posix_acl_access", acl)
    except OSError as error:
        if error.errno != errno.EOPNOTSUPP:
            raise
        pytest.skip(f"the file system of {path} has no access control lists")


# trust: T27
@as_root
def test_an_access_control_list_lets_others_write_above(tmp_path: Path) -> None:
    """Where the mode shows its mask as the rights of root's group."""
    above = tmp_path / "above"
    above.mkdir()
    os.chown(above, -1, 0)
    with_an_acl(above, 5)
    assert stat.S_IMODE(above.stat().st_mode) == 0o755
    Directory(f"{above}/place").close()
    with_an_acl(above, 7)
    assert stat.S_IMODE(above.stat().st_mode) == 0o775
    assert refused(above / "place") == WRITABLE.format(above)
    above.chmod(0o1775)
    Directory(f"{above}/place").close()


@as_root
def test_without_access_control_lists_the_mode_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the file system says is played."""
    above = tmp_path / "above"
    above.mkdir()
    os.chown(above, -1, 0)
    above.chmod(0o775)

    found = [errno.ENODATA, errno.ENOTSUP, errno.EIO]

    def fail(*_arguments: object, **_more: object) -> bytes:
        number = found.pop(0)
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "getxattr", fail)
    Directory(f"{above}/place").close()
    Directory(f"{above}/place").close()
    assert refused(above / "place") == f"{above}/place: {os.strerror(errno.EIO)}"
    assert not found
    monkeypatch.delattr(os, "getxattr")
    Directory(f"{above}/place").close()


@pytest.fixture
def public(tmp_path: Path) -> Iterator[Path]:
    """A directory that every user can get to."""
    with tempfile.TemporaryDirectory(dir="/tmp") as made:
        os.chmod(made, 0o755)
        yield Path(made)


OF_ANY_USER = """
from ansible_collections.bastion.ssh.plugins.plugin_utils.client.address import BrokerUnavailable, open_directory
import os
go()
os.setgroups([])
os.setgid(0)
os.setuid(1000660000)
os.environ["HOME"] = sys.argv[1]
os.environ.pop("XDG_RUNTIME_DIR", None)
try:
    with open_directory(None, "~/.ansible") as directory:
        print(directory.path)
except BrokerUnavailable as error:
    print(error)
"""


# trust: T27
@as_root
def test_roots_group_may_write_above(public: Path, outputs: Callable[..., list[str]]) -> None:
    """As in an image for any user id, which no file of users has."""
    (public / "runner").mkdir()
    (public / "runner/.ansible").mkdir()
    for path in ("runner", "runner/.ansible"):
        (public / path).chmod(0o775)
    place = public / "runner/.ansible/bastion-ssh"
    assert outputs(OF_ANY_USER, [f"{public}/runner"]) == [str(place)]
    assert (place.stat().st_uid, stat.S_IMODE(place.stat().st_mode)) == (1000660000, 0o700)
    (public / "runner").chmod(0o777)
    assert outputs(OF_ANY_USER, [f"{public}/runner"]) == [WRITABLE.format(public / "runner")]


IN_A_NAMESPACE = """
from ansible_collections.bastion.ssh.plugins.plugin_utils.client.address import Directory, BrokerUnavailable
import ctypes, os
go()
(inside, ready), (outside, mapped) = os.pipe(), os.pipe()
child = os.fork()
if child:
    os.read(inside, 1)
    with open(f"/proc/{child}/uid_map", "w") as file:
        file.write(sys.argv[2])
    os.write(mapped, b".")
    os.waitpid(child, 0)
    os._exit(0)
if ctypes.CDLL(None).unshare(0x10000000):  # CLONE_NEWUSER
    print("no namespace", flush=True)
    os._exit(0)
os.write(ready, b".")
os.read(outside, 1)
try:
    Directory(sys.argv[1]).close()
    print("taken", os.stat(os.path.dirname(sys.argv[1])).st_uid, flush=True)
except BrokerUnavailable as error:
    print(error, flush=True)
"""


# trust: T27
@as_root
def test_an_owner_who_has_no_number_in_our_namespace_counts_as_root(
    tmp_path: Path, outputs: Callable[..., list[str]]
) -> None:
    Directory(f"{tmp_path}/above/place").close()
    given(tmp_path / "above")
    users = ["0 0 1", "0 0 70000", "0 0 1\n65000 65000 1000"]
    found = outputs(IN_A_NAMESPACE, *[[f"{tmp_path}/above/place", each] for each in users])
    if "no namespace" in found:
        pytest.skip("there are no user namespaces here")
    assert found == [f"taken {NOBODY}", *[ANOTHERS.format(tmp_path / "above")] * 2]


@pytest.mark.parametrize("umask", [0o000, 0o002])
def test_what_is_made_on_the_way_is_not_open_to_others(umask: int, tmp_path: Path) -> None:
    before = os.umask(umask)
    try:
        for _time in range(2):
            Directory(str(tmp_path / "a/b/c")).close()
    finally:
        os.umask(before)
    assert [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("a", "a/b", "a/b/c")] == [0o755, 0o755, 0o700]


@pytest.fixture
def code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of what a broker runs."""
    copy = tmp_path / "code"
    shutil.copytree(address._PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(address, "_PACKAGE", str(copy))
    return copy


# trust: T20
@pytest.mark.parametrize("variable", ["HOME", "PYTHONPATH"])
def test_those_with_another_environment_have_another_broker(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    names = []
    for value in ("one", "two", ""):
        monkeypatch.setenv(variable, value)
        names.append(broker_name())
    monkeypatch.delenv(variable)
    names.append(broker_name())
    assert len(set(names)) == 4
    assert all(re.fullmatch("[0-9a-f]{16}", name) for name in names)


@as_root
@pytest.mark.parametrize("kind", ["--net", "--mount", "--uts"])
def test_another_network_tree_of_files_or_machine_has_another_broker(kind: str, tmp_path: Path) -> None:
    script = (
        f"import sys; sys.path.insert(0, {address.__file__.partition('/ansible_collections/')[0]!r});"
        f"from {address.__name__} import broker_name; print(broker_name())"
    )
    command = [sys.executable, "-c", script]
    ways = [[], ["unshare", kind, *(["sh", "-c", 'hostname other; exec "$@"', "sh"] if kind == "--uts" else [])]]
    names = [subprocess.run([*way, *command], capture_output=True, text=True, check=True).stdout for way in ways]
    assert len(set(names)) == 2
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == names[0]


def test_a_queue_that_is_full_is_waited_for_no_longer_than_there_is_time(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(address, "_SECONDS", 1)
    with (
        Directory(str(place)) as directory,
        socket.socket(socket.AF_UNIX) as listening,
        contextlib.ExitStack() as queue,
    ):
        listening.bind(directory.address("name.sock"))
        listening.listen(0)
        first = directory.connect("name.sock")
        assert first
        queue.enter_context(first)
        with pytest.raises(TimeoutError):
            directory.connect("name.sock")


def test_those_with_the_same_environment_have_the_same_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    before = broker_name()
    monkeypatch.setenv("ANYTHING", "else")
    monkeypatch.chdir("/")
    assert broker_name() == before


MODULES = sorted(Path(address._PACKAGE).rglob("*.py"))
ONE_OF_EACH_LAYER = {path.parent: str(path.relative_to(address._PACKAGE)) for path in MODULES}.values()


@pytest.mark.parametrize("module", ONE_OF_EACH_LAYER)
def test_another_version_of_the_code_has_another_broker(module: str, code: Path) -> None:
    before = broker_name()
    assert broker_name() == before
    found = (code / module).stat()
    os.utime(code / module, ns=(found.st_atime_ns, found.st_mtime_ns + 1))
    touched = broker_name()
    (code / module).write_text("# another size\n")
    os.utime(code / module, ns=(found.st_atime_ns, found.st_mtime_ns))
    written = broker_name()
    (code / module).unlink()
    assert len({before, touched, written, broker_name()}) == 4


def test_what_no_broker_runs_does_not_matter(code: Path) -> None:
    before = broker_name()
    (code / "__pycache__").mkdir()
    (code / "broker/notes.txt").touch()
    assert broker_name() == before


def test_another_user_or_python_has_another_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    names = {broker_name()}
    monkeypatch.setattr(sys, "executable", "/another")
    names.add(broker_name())
    monkeypatch.setattr(sys, "version", "another")
    names.add(broker_name())
    monkeypatch.setattr(os, "geteuid", lambda: NOBODY)
    names.add(broker_name())
    assert len(names) == 4


@pytest.mark.parametrize(
    ("number", "lasting"), [(errno.EMFILE, False), (errno.ENOMEM, False), (errno.EACCES, True), (errno.ENOENT, True)]
)
def test_what_passes_is_no_lasting_reason_to_have_no_broker(
    number: int, lasting: bool, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_arguments: object, **_more: object) -> None:
        raise OSError(number, os.strerror(number), "/proc/self/status")

    with monkeypatch.context() as patched:
        patched.setattr(address, "own", fail)
        with pytest.raises(BrokerUnavailable, match=r"^the rights of this process cannot be read: ") as caught:
            broker_name()
        assert caught.value.lasting is lasting
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(home.parent))
    monkeypatch.setattr(address, "_checked", fail)
    with pytest.raises(BrokerUnavailable) as caught:
        open_directory(None, str(home))
    assert caught.value.lasting is lasting
