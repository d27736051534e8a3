# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's files: read in blocks, and there when they are complete."""

from __future__ import annotations

import io
import os
import resource
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from ansible_collections.bastion.ssh.plugins.plugin_utils.errors import CommandError, JumpError
from ansible_collections.bastion.ssh.plugins.plugin_utils.ssh.local_files import LocalFile, complete, source

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


@pytest.mark.usefixtures("umask")
@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o000, 0o666), (0o027, 0o640)])
def test_its_mode_is_that_of_any_new_file_and_nobody_reads_it_before(mask: int, mode: int, file: Path) -> None:
    os.umask(mask)
    with complete(str(file)) as local:
        (half,) = file.parent.iterdir()
        assert stat.S_IMODE(half.stat().st_mode) == 0o600
        local.write(b"x")
    assert stat.S_IMODE(file.stat().st_mode) == mode
    assert os.umask(mask) == mask


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


def test_a_symlink_is_replaced_and_not_followed(tmp_path: Path, file: Path) -> None:
    (tmp_path / "other").write_bytes(b"other")
    file.symlink_to("other")
    with complete(str(file)) as local:
        local.write(b"x")
    assert not file.is_symlink()
    assert (tmp_path / "other").read_bytes() == b"other"
