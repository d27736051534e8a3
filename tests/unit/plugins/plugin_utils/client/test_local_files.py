# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's files: read in blocks, and there when they are complete."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import resource
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from ansible_collections.bastion.ssh.plugins.plugin_utils.client import local_files
from ansible_collections.bastion.ssh.plugins.plugin_utils.client.local_files import (
    LocalFile,
    complete,
    new_mode,
    source,
)
from ansible_collections.bastion.ssh.plugins.plugin_utils.errors import CommandError, JumpError

CHECK = "Check its path, its permissions and its disk."


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "file"


@pytest.mark.parametrize(
    ("data", "size", "blocks"),
    [
        (b"", 3, []),
        (b"abc", 3, [b"abc"]),
        (b"abcd", 3, [b"abc", b"d"]),
        (b"\r\n\0", 1, [b"\r", b"\n", b"\0"]),
        (b"abc", 1000, [b"abc"]),
    ],
)
def test_a_file_is_read_in_blocks(data: bytes, size: int, blocks: list[bytes], file: Path) -> None:
    file.write_bytes(data)
    with source(str(file)) as local:
        assert local.name == str(file)
        assert list(local.blocks(size)) == blocks
    assert local.stream.closed


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(CommandError) as caught, source(f"{tmp_path}/x"):
        pass
    assert str(caught.value) == f"on the controller: cannot read {tmp_path}/x: No such file or directory. {CHECK}"
    with pytest.raises(CommandError) as caught, source(str(tmp_path)):
        pass
    assert str(caught.value) == f"on the controller: cannot read {tmp_path}: Is a directory. {CHECK}"


class Broken(io.BytesIO):
    def read(self, _size: int | None = -1) -> bytes:
        raise OSError(5, "Input/output error")

    def write(self, _data: object) -> int:
        raise OSError("no number")


def test_a_fault_in_the_middle_names_the_file() -> None:
    local = LocalFile("the file", Broken())
    with pytest.raises(CommandError, match=r"^on the controller: cannot read the file: Input/output error\. Check"):
        list(local.blocks(1))
    with pytest.raises(CommandError, match=r"^on the controller: cannot write the file: no number\. Check"):
        local.write(b"x")


def test_the_error_of_whoever_uses_a_source_is_its_own(file: Path) -> None:
    file.touch()
    with pytest.raises(ConnectionError), source(str(file)):
        raise ConnectionError


@pytest.mark.parametrize("old", [None, b"old"])
def test_a_file_appears_when_it_is_complete(old: bytes | None, file: Path) -> None:
    if old is not None:
        file.write_bytes(old)
    with complete(str(file)) as local:
        assert local.name == str(file)
        for block in (b"new", b"", b"\r\n\0"):
            local.write(block)
        assert (file.read_bytes() if file.exists() else None) == old
    assert file.read_bytes() == b"new\r\n\0"
    assert os.listdir(file.parent) == ["file"]
    assert local.stream.closed


@pytest.fixture
def umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


# trust: T55
@pytest.mark.parametrize(
    ("source_mode", "mask", "mode"),
    [
        (None, 0o022, 0o600),
        (None, 0o000, 0o600),
        (None, 0o777, 0o000),
        (0o600, 0o022, 0o600),
        (0o644, 0o022, 0o644),
        (0o644, 0o077, 0o600),
        (0o666, 0o027, 0o640),
        (0o755, 0o022, 0o755),
        (0o444, 0o022, 0o644),
        (0o000, 0o022, 0o200),
        (0o7777, 0o000, 0o777),
        (-1, 0o000, 0o777),
        (2**70 - 1, 0o022, 0o755),
    ],
)
def test_the_mode_of_a_new_file(source_mode: int | None, mask: int, mode: int) -> None:
    assert new_mode(source_mode, mask) == mode


# trust: T55
@pytest.mark.usefixtures("umask")
@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o755), (0o077, 0o700), (0o027, 0o750)])
def test_it_gets_its_source_s_mode_at_last_and_its_owner_alone_reads_it_before(
    mask: int, mode: int, file: Path
) -> None:
    os.umask(mask)
    with complete(str(file)) as local:
        (half,) = file.parent.iterdir()
        assert stat.S_IMODE(half.stat().st_mode) == 0o600
        local.write(b"x")
        local.mode = 0o4755
    assert stat.S_IMODE(file.stat().st_mode) == mode
    assert os.umask(mask) == mask


# trust: T55
@pytest.mark.usefixtures("umask")
@pytest.mark.parametrize("told", [True, False])
def test_the_umask_changes_only_where_nothing_else_tells_it(
    told: bool, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Since other threads may make files. A system that does not tell it is played."""
    umask, calls = os.umask, list[int]()

    def called(mask: int) -> int:
        calls.append(mask)
        return umask(mask)

    os.umask(0o027)
    monkeypatch.setattr(os, "umask", called)
    if not told:
        monkeypatch.setattr(local_files, "open", lambda *_name, **_mode: io.StringIO("Name:\tx\n"), raising=False)
    with complete(str(file)) as local:
        local.mode = 0o666
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    assert calls == ([] if told else [0o077, 0o027])


# trust: T55
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o666, 0o755])
def test_a_file_that_exists_keeps_its_mode(mode: int, file: Path) -> None:
    file.write_bytes(b"old")
    file.chmod(mode)
    with complete(str(file)) as local:
        (half,) = set(file.parent.iterdir()) - {file}
        assert stat.S_IMODE(half.stat().st_mode) == 0o600
        local.write(b"x")
        local.mode = 0o644
    assert stat.S_IMODE(file.stat().st_mode) == mode


def fail(name: str, error: BaseException) -> None:
    with complete(name) as local:
        local.write(b"half")
        raise error


@pytest.mark.parametrize(
    "error", [ValueError(), KeyboardInterrupt(), CommandError("the target", "it said no", "Ask it.")], ids=repr
)
@pytest.mark.parametrize("old", [None, b"old"])
def test_on_an_error_nothing_is_left_behind(error: BaseException, old: bytes | None, file: Path) -> None:
    if old is not None:
        file.write_bytes(old)
    with pytest.raises(type(error)) as caught:
        fail(str(file), error)
    assert caught.value is error
    assert os.listdir(file.parent) == ([] if old is None else ["file"])
    assert old is None or file.read_bytes() == old


def directory(path: Path) -> None:
    path.mkdir()


def nowhere(path: Path) -> None:
    path.parent.rmdir()


def below_a_file(path: Path) -> None:
    path.parent.rmdir()
    path.parent.touch()


@pytest.mark.parametrize(
    ("make", "why"),
    [(directory, "Is a directory"), (nowhere, "No such file or directory"), (below_a_file, "Not a directory")],
)
def test_a_file_that_cannot_be_written_is_named(make: object, why: str, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    assert callable(make)
    make(tmp_path / "in/file")
    with pytest.raises(JumpError) as caught, complete(f"{tmp_path}/in/file") as local:
        local.write(b"x")
    assert caught.type is CommandError
    assert str(caught.value) == f"on the controller: cannot write {tmp_path}/in/file: {why}. {CHECK}"
    assert [name for _path, _folders, names in os.walk(tmp_path / "in") for name in names] == []


@pytest.fixture
def full() -> Iterator[None]:
    """Files hold no more than 1000 bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.usefixtures("full")
def test_a_file_that_is_found_too_large_at_the_last_moment_does_not_appear(file: Path) -> None:
    file.write_bytes(b"old")
    with pytest.raises(CommandError) as caught, complete(str(file)) as local:
        local.write(bytes(1001))
    assert str(caught.value) == f"on the controller: cannot write {file}: File too large. {CHECK}"
    assert (os.listdir(file.parent), file.read_bytes()) == (["file"], b"old")


@pytest.mark.parametrize("name", ["x" * 255, "ü" * 127, ".hidden", "with space", "-n"])
def test_any_name_will_do(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with complete(name) as local:
        local.write(b"x")
    assert os.listdir(tmp_path) == [name]


# trust: T55
@pytest.mark.parametrize("old", [None, b"old"])
@pytest.mark.parametrize("link", ["folder/other", "{0}/folder/other", "../{1}/folder/other", "second"])
def test_a_link_is_followed(link: str, old: bytes | None, tmp_path: Path, file: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "second").symlink_to("folder/other")
    if old is not None:
        (tmp_path / "folder/other").write_bytes(old)
    file.symlink_to(link.format(tmp_path, tmp_path.name))
    with complete(str(file)) as local:
        local.write(b"x")
    assert file.is_symlink()
    assert (tmp_path / "folder/other").read_bytes() == b"x"
    assert os.listdir(tmp_path / "folder") == ["other"]


# trust: T55
@pytest.mark.parametrize(
    ("link", "why"),
    [("file", "Too many levels of symbolic links"), (".", "Is a directory"), ("no/where", "No such file or directory")],
)
def test_a_link_that_leads_to_no_file_is_named(link: str, why: str, tmp_path: Path, file: Path) -> None:
    file.symlink_to(link)
    with pytest.raises(CommandError) as caught, complete(str(file)):
        pass
    assert str(caught.value) == f"on the controller: cannot write {file}: {why}. {CHECK}"
    assert os.listdir(tmp_path) == ["file"]


@pytest.fixture
def other(tmp_path: Path, file: Path) -> Path:
    """Another name of the file."""
    file.write_bytes(b"old" * 1000)
    os.link(file, tmp_path / "other")
    return tmp_path / "other"


# trust: T55
@pytest.mark.parametrize("size", [0, 1, 3000, 3001, 3 * 1024 * 1024 + 1])
def test_a_file_keeps_its_other_names(size: int, file: Path, other: Path) -> None:
    with complete(str(file)) as local:
        local.write(b"x" * size)
        assert other.read_bytes() == b"old" * 1000
    assert other.read_bytes() == file.read_bytes() == b"x" * size
    assert other.samefile(file)
    assert sorted(os.listdir(file.parent)) == ["file", "other"]


def fetch_with_room(name: str, size: int, room: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a disk that has room for the temporary file, and for so much of the other; a real one is in tests/integration."""
    write = os.pwrite

    def until_full(descriptor: int, data: bytes, offset: int) -> int:
        if offset + len(data) > room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(descriptor, data, offset)

    with complete(name) as local:
        local.write(bytes(size))
        monkeypatch.setattr(os, "pwrite", until_full)


# trust: T45 T55
def test_a_file_that_is_written_into_and_has_no_room_to_grow_stays_as_it_was(
    file: Path, other: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(CommandError, match="No space left"):
        fetch_with_room(str(file), 4 * 1024 * 1024, 3 * 1024 * 1024, monkeypatch)
    assert other.read_bytes() == file.read_bytes() == b"old" * 1000
    assert sorted(os.listdir(file.parent)) == ["file", "other"]


# trust: T55
@pytest.mark.parametrize("number", [errno.EOPNOTSUPP, errno.EINVAL, errno.EBADF, None])
def test_where_no_room_can_be_taken_a_file_is_written_into_nevertheless(
    number: int | None, file: Path, other: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_range: int) -> None:
        raise AttributeError if number is None else OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "posix_fallocate", fail)
    with complete(str(file)) as local:
        local.write(b"new" * 2000)
    assert other.read_bytes() == file.read_bytes() == b"new" * 2000


# trust: T55
@pytest.mark.parametrize("name", ["/dev/fd/{}", "/proc/self/fd/{}"])
def test_what_is_open_already_is_written_to(name: str, file: Path, tmp_path: Path) -> None:
    file.write_bytes(b"old and longer")
    with file.open("r+b") as opened:
        before = os.fstat(opened.fileno())
        with complete(name.format(opened.fileno())) as local:
            local.write(b"x")
        assert os.path.samestat(before, file.stat())
        file.unlink()  # now there is no name that leads to it
        with complete(name.format(opened.fileno())) as local:
            local.write(b"yz")
        assert os.pread(opened.fileno(), 10, 0) == b"yz"
    assert os.listdir(tmp_path) == []


# trust: T55
def test_a_pipe_that_is_open_already_is_written_to() -> None:
    read, write = os.pipe()
    with complete(f"/dev/fd/{write}") as local:
        local.write(b"x")
    os.close(write)
    assert os.read(read, 10) == b"x"
    os.close(read)


def write_to_none(name: str, reader: int) -> None:
    with complete(name) as local:
        os.close(reader)
        local.write(b"x")


# trust: T55
def test_what_takes_no_more_is_named(file: Path) -> None:
    os.mkfifo(file)
    reader = os.open(file, os.O_RDONLY | os.O_NONBLOCK)
    with pytest.raises(CommandError) as caught:
        write_to_none(str(file), reader)
    assert str(caught.value) == f"on the controller: cannot write {file}: Broken pipe. {CHECK}"
    assert file.is_fifo()


# trust: T55
def test_no_descriptor_stays_open(tmp_path: Path, file: Path) -> None:
    before = os.listdir("/proc/self/fd")
    (tmp_path / "link").symlink_to("file")
    for name in ("file", "file", "link", "no/where"):
        with contextlib.suppress(CommandError), complete(f"{tmp_path}/{name}") as local:
            local.write(b"x")
    assert os.listdir("/proc/self/fd") == before
