# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One broker is started, whoever wants it, and it is told nothing that it need not know."""

from __future__ import annotations

import os
import platform
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import paramiko
import pytest

from ansible_collections.bastion.ssh.plugins.plugin_utils.client.address import BrokerUnavailable, Directory
from ansible_collections.bastion.ssh.plugins.plugin_utils.client.spawn import environment, locked, start

COUNT = """
from ansible_collections.bastion.ssh.plugins.plugin_utils.client.address import Directory
from ansible_collections.bastion.ssh.plugins.plugin_utils.client.spawn import locked
import os, time

path, file = sys.argv[1:]
go()
with Directory(path) as directory:
    for _time in range(50):
        with locked(directory, "name"):
            with open(file) as stream:
                count = int(stream.read())
            time.sleep(0.0005)
            with open(file, "w") as stream:
                stream.write(str(count + 1))
print("done")
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "place"


# trust: T30
def test_processes_exclude_each_other(place: Path, tmp_path: Path, outputs: Callable[..., list[str]]) -> None:
    (tmp_path / "count").write_text("0")
    assert outputs(COUNT, *[[str(place), str(tmp_path / "count")]] * 3) == ["done"] * 3
    assert (tmp_path / "count").read_text() == "150"
    assert list(place.iterdir()) == []


# trust: T30
def test_threads_exclude_each_other(place: Path) -> None:
    inside: list[int] = []
    met: list[int] = []

    def work(number: int) -> None:
        for _time in range(20):
            with Directory(str(place)) as directory, locked(directory, "name"):
                inside.append(number)
                time.sleep(0.0005)
                met.append(len(inside))
                inside.remove(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert met == [1] * 80
    assert list(place.iterdir()) == []


# trust: T33
def test_the_lock_goes_with_whoever_has_it(place: Path) -> None:
    with Directory(str(place)) as directory:
        with locked(directory, "name"), locked(directory, "another"):
            assert directory.names() == ["another.lock", "name.lock"]
        assert directory.names() == []
        with pytest.raises(ZeroDivisionError), locked(directory, "name"):
            raise ZeroDivisionError
        assert directory.names() == []


def test_a_lock_that_was_left_behind_holds_nobody(place: Path) -> None:
    with Directory(str(place)) as directory:
        (place / "name.lock").touch()
        with locked(directory, "name"):
            pass
        assert directory.names() == []


def test_whoever_comes_second_takes_the_broker_that_is_there(place: Path) -> None:
    with Directory(str(place)) as directory, socket.socket(socket.AF_UNIX) as listening:
        listening.bind(directory.address("name.sock"))
        listening.listen()
        inode = directory.inode("name.sock")
        with start(directory, "name"), listening.accept()[0]:
            assert directory.names() == ["name.sock"]
        assert directory.inode("name.sock") == inode


# trust: T27
def test_a_lock_that_is_a_symlink_is_no_broker(place: Path, tmp_path: Path) -> None:
    with Directory(str(place)) as directory:
        (place / "name.lock").symlink_to(tmp_path / "elsewhere")
        with pytest.raises(BrokerUnavailable, match=f"^{place}: Too many levels"):
            start(directory, "name")
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize(
    ("file", "says"),
    [
        ("ansible_collections/__init__.py", "No module named 'ansible_collections.bastion'"),
        ("paramiko.py", "paramiko is not installed"),
    ],
)
def test_a_broker_that_cannot_run_is_none_and_says_why(
    place: Path, tmp_path: Path, file: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = tmp_path / "first"
    (first / file).parent.mkdir(parents=True)
    (first / file).write_text("raise ImportError\n" if file == "paramiko.py" else "")
    monkeypatch.setenv("PYTHONPATH", str(first))
    with Directory(str(place)) as directory:
        with pytest.raises(BrokerUnavailable, match=f"^the broker cannot run: .*{says}"):
            start(directory, "name")
        assert [name for name in directory.names() if name != "broker.log"] == []


def test_a_broker_finds_what_only_its_starter_finds(place: Path, tmp_path: Path) -> None:
    """As with a launcher that adds folders: paramiko is in none of those that a bare Python looks into."""
    libraries = str(Path(paramiko.__file__).parent.parent)
    root = start.__globals__["__file__"].partition("/ansible_collections/")[0]
    script = f"""
import sys
sys.path += [{libraries!r}, {root!r}]
from ansible_collections.bastion.ssh.plugins.plugin_utils.client.address import Directory
from ansible_collections.bastion.ssh.plugins.plugin_utils.broker.control import ask
from ansible_collections.bastion.ssh.plugins.plugin_utils.client.spawn import start
with Directory(sys.argv[1]) as directory:
    start(directory, "name").close()
print(*[broker.get("problem", "stopped") for broker in ask([sys.argv[1]], "stop")])
"""
    bare = getattr(sys, "_base_executable", sys.executable)
    env = {"PATH": os.defpath, "HOME": str(tmp_path)}
    told = subprocess.run(
        [bare, "-c", script, str(place)], env=env, capture_output=True, text=True, timeout=60, check=False
    )
    assert (told.stdout, told.stderr) == ("stopped\n", "")


# trust: T21, T31
@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("HOME", True),
        ("LANG", True),
        ("LC_ALL", True),
        ("LC_CTYPE", True),
        ("LD_LIBRARY_PATH", True),
        ("LOGNAME", True),
        ("PATH", True),
        ("PYTHONDONTWRITEBYTECODE", True),
        ("PYTHONHASHSEED", True),
        ("PYTHONPATH", True),
        ("PYTHONWARNINGS", True),
        ("SHELL", True),
        ("TMPDIR", True),
        ("TZ", True),
        ("USER", True),
        ("VIRTUAL_ENV", True),
        ("XDG_RUNTIME_DIR", True),
        ("SSH_AUTH_SOCK", False),
        ("ANSIBLE_PASSWORD", False),
        ("ANSIBLE_VAULT_PASSWORD_FILE", False),
        ("AWS_SECRET_ACCESS_KEY", False),
        ("LD_PRELOAD", False),
        ("PYTHONINSPECT", False),
        ("PYTHONSTARTUP", False),
        ("SSHPASS", False),
        ("home", False),
        ("MY_PATH", False),
        ("", False),
    ],
)
def test_a_broker_gets_what_its_programs_need_and_nothing_else(name: str, kept: bool) -> None:
    assert environment({name: "value"}) == environment({}) | ({name: "value"} if kept else {})


FREED = """
import ctypes, sys
# Of a kind that Python itself would keep for its own next objects, of a thread's, and of the heap's.
for size in (40, 400, 4000):
    text = "SENTINEL" * (size // 8)
    start, length = id(text), sys.getsizeof(text)
    del text
    left = ctypes.string_at(start, length)
    print(left.count(b"SENTINEL"))
"""


# trust: T57
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="no other C library is known to do it")
def test_what_a_broker_frees_is_overwritten() -> None:
    env = environment(os.environ)
    told = subprocess.run([sys.executable, "-c", FREED], env=env, capture_output=True, text=True, check=True)
    assert told.stdout == "0\n0\n0\n", told.stderr


def test_a_broker_has_few_heaps() -> None:
    assert "glibc.malloc.arena_max=2" in environment({"GLIBC_TUNABLES": "x"})["GLIBC_TUNABLES"].split(":")
