# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The check of a host key against known_hosts files, and what it adds to them."""

from __future__ import annotations

import base64
import fcntl
import random
import re
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from lab import wait_until

from ansible_collections.bastion.ssh.plugins.plugin_utils.chain.model import (
    Credentials,
    Hop,
    HostKeyChecking,
    HostKeyPolicy,
)
from ansible_collections.bastion.ssh.plugins.plugin_utils.errors import HostKeyRefused
from ansible_collections.bastion.ssh.plugins.plugin_utils.ssh.host_keys import HostKey, HostKeyCheck

STRICT, NEW, OFF = HostKeyChecking.STRICT, HostKeyChecking.ACCEPT_NEW, HostKeyChecking.OFF


def key(number: int, kind: str = "ssh-ed25519") -> HostKey:
    parts = [kind.encode(), bytes([number]) * 32]
    return HostKey(kind, b"".join(len(part).to_bytes(4, "big") + part for part in parts))


def line(name: str, shown: HostKey) -> str:
    return f"{name} {shown.key_type} {base64.b64encode(shown.blob).decode()}\n"


KEY, ANOTHER, RSA = key(1), key(2), key(3, "ssh-rsa")


class Checked:
    """One check and what was warned of."""

    def __init__(
        self, file: Path | str, shown: HostKey, checking: HostKeyChecking, port: int = 22, alias: str | None = None
    ) -> None:
        self.warnings: list[str] = []
        hop = Hop("Bastion", port, Credentials("u", "SENTINEL"), HostKeyPolicy(checking, (str(file),), alias))
        self.secrets_allowed = HostKeyCheck(hop, "the place", self.warnings.append).check(shown)


def refused(
    file: Path | str, shown: HostKey, checking: HostKeyChecking, port: int = 22, alias: str | None = None
) -> str:
    with pytest.raises(HostKeyRefused, match=r"^the place: ") as caught:
        Checked(file, shown, checking, port, alias)
    return str(caught.value)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "known_hosts"


UNREADABLE = "bastion ssh-ed25519 torn\n"

# What the file says; whether STRICT, NEW and OFF let the key pass: True, False (without secrets), or why they refuse.
NOT_KNOWN, CHANGED, REVOKED = "is not known", "has changed", "is marked as revoked"
KNOWLEDGE = {
    "nothing": ("", 22, (NOT_KNOWN, True, True)),
    "the key": (line("bastion", KEY), 22, (True, True, True)),
    "the key, broken lines around": ("x\n" + UNREADABLE + line("bastion", KEY) + "\0\xff\n", 22, (True, True, True)),
    "another key": (line("bastion", ANOTHER), 22, (CHANGED, CHANGED, False)),
    "a key of another type": (line("bastion", RSA), 22, (CHANGED, CHANGED, False)),
    "both": (line("bastion", RSA) + line("bastion", KEY), 22, (True, True, True)),
    "an unreadable line": (UNREADABLE, 22, (CHANGED, CHANGED, False)),
    "revoked": (line("@revoked bastion", KEY), 22, (REVOKED, REVOKED, REVOKED)),
    "revoked and known": (line("bastion", KEY) + line("@revoked *", KEY), 22, (REVOKED, REVOKED, REVOKED)),
    "another key revoked": (line("@revoked bastion", ANOTHER), 22, (NOT_KNOWN, True, True)),
    "an unreadable revocation": (line("bastion", KEY) + "@revoked bastion x y\n", 22, (REVOKED, REVOKED, REVOKED)),
    "an authority": (line("@cert-authority *", KEY), 22, (NOT_KNOWN, True, True)),
    "port: the key": (line("[bastion]:2222", KEY), 2222, (True, True, True)),
    "port: another key": (line("[bastion]:2222", ANOTHER), 2222, (CHANGED, CHANGED, False)),
    "port: the key without it": (line("bastion", KEY), 2222, (True, True, True)),
    "port: another key without it": (line("bastion", ANOTHER), 2222, (NOT_KNOWN, True, True)),
    "port: both ways": (line("bastion", KEY) + line("[bastion]:2222", ANOTHER), 2222, (CHANGED, CHANGED, False)),
    "port: an authority, the key without it": (
        line("@cert-authority [bastion]:*", ANOTHER) + line("bastion", KEY),
        2222,
        (True, True, True),
    ),
    "port: revoked without it": (line("[bastion]:2222", KEY) + line("@revoked bastion", KEY), 2222, (REVOKED,) * 3),
    "another port": (line("[bastion]:2222", ANOTHER), 22, (NOT_KNOWN, True, True)),
}


# trust: T10, T12, T13, T14
@pytest.mark.timeout(20)
@pytest.mark.parametrize("hashed", [False, True])
@pytest.mark.parametrize(("text", "port", "expected"), KNOWLEDGE.values(), ids=KNOWLEDGE)
def test_a_key_passes_as_far_as_the_file_and_the_policy_let_it(
    text: str, port: int, expected: tuple[bool | str, ...], hashed: bool, file: Path
) -> None:
    for checking, outcome in zip((STRICT, NEW, OFF), expected, strict=True):
        file.write_text(text, "latin-1")
        if hashed:
            subprocess.run(["ssh-keygen", "-H", "-f", file], capture_output=True, check=False)
        before = file.read_bytes()
        if isinstance(outcome, str):
            assert outcome in refused(file, KEY, checking, port)
        else:
            checked = Checked(file, KEY, checking, port)
            assert checked.secrets_allowed is outcome
            assert bool(checked.warnings) == (outcome is False or file.read_bytes() != before)
        added = file.read_bytes()[len(before) :]
        name = "bastion" if port == 22 else f"[bastion]:{port}"
        unknown = checking is NEW and expected[0] == NOT_KNOWN
        assert added.decode().lstrip("\n") == (line(name, KEY) if unknown else "")
        assert file.read_bytes().startswith(before)


# trust: T09, T13
def test_with_checking_off_a_jump_host_with_a_changed_key_is_refused(file: Path) -> None:
    file.write_text(line("bastion", ANOTHER))
    hop = Hop("Bastion", 22, Credentials("u"), HostKeyPolicy(OFF, (str(file),)), setting="ansible_ssh_jump[0]")
    with pytest.raises(HostKeyRefused, match=r"^jump host 1 of 1: the host key has changed") as caught:
        HostKeyCheck(hop, "jump host 1 of 1", lambda _line: None).check(KEY)
    message = str(caught.value)
    assert f"the server shows {KEY}, known is {ANOTHER} ({file}:1)" in message
    assert f"ssh-keygen -f {file} -R bastion" in message
    assert "a jump host is refused all the same" in message


# trust: T09
def test_a_changed_key_is_told_with_both_fingerprints_and_the_way_out(file: Path) -> None:
    file.write_text("# comment\n" + line("bastion", ANOTHER) + UNREADABLE)
    message = refused(file, KEY, NEW)
    assert f"the server shows {KEY}, known is {ANOTHER} ({file}:2), unreadable ({file}:3)" in message
    assert "known_hosts -R bastion" in message
    assert "known_hosts -R '[bastion]:2222'" in refused_on_port(file)


def refused_on_port(file: Path) -> str:
    file.write_text(line("[bastion]:2222", ANOTHER))
    return refused(file, KEY, STRICT, 2222)


def test_an_unknown_key_is_told_with_the_line_that_would_accept_it(file: Path) -> None:
    message = refused(file, KEY, STRICT, 2222)
    wanted = line("[bastion]:2222", KEY).strip()
    assert str(KEY) in message
    assert f"add this line to {file}: {wanted}" in message
    file.write_text(wanted)
    assert Checked(file, KEY, STRICT, 2222).secrets_allowed


# trust: T10
def test_a_revoked_key_is_told_with_the_line_that_revokes_it(file: Path) -> None:
    file.write_text(line("bastion", KEY) + line("@cert-authority *", ANOTHER) + line("@revoked *", KEY))
    assert refused(file, KEY, OFF).endswith(
        f"is marked as revoked in {file}:3. Anyone with that key can pose as this host: give the host a new one."
    )


def test_an_alias_is_looked_up_and_recorded_in_place_of_the_name(file: Path) -> None:
    file.write_text(line("bastion", ANOTHER) + line("[bastion]:2222", ANOTHER))
    assert Checked(file, KEY, NEW, 2222, alias="Other").secrets_allowed
    assert file.read_text().endswith(line("other", KEY))
    assert Checked(file, KEY, STRICT, 22, alias="other").secrets_allowed
    assert CHANGED in refused(file, ANOTHER, STRICT, 2222, alias="OTHER")


def test_all_files_are_read_and_the_first_is_written(tmp_path: Path) -> None:
    first, second = tmp_path / "sub" / "first", tmp_path / "second"

    def check(shown: HostKey, checking: HostKeyChecking, *files: Path) -> bool:
        hop = Hop("bastion", 22, Credentials("u"), HostKeyPolicy(checking, tuple(map(str, files))))
        return HostKeyCheck(hop, "the place", lambda _line: None).check(shown)

    assert check(KEY, NEW, first, second)
    assert (first.read_text(), second.exists()) == (line("bastion", KEY), False)
    assert (first.stat().st_mode & 0o777, first.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert check(KEY, STRICT, second, first)
    with pytest.raises(HostKeyRefused, match=CHANGED):
        check(ANOTHER, NEW, second, first)
    with pytest.raises(HostKeyRefused, match="no known_hosts file to record"):
        check(KEY, NEW)


def test_a_file_that_keeps_nothing_can_be_the_one_to_write() -> None:
    assert Checked("/dev/null", KEY, NEW).secrets_allowed


# trust: T11
@pytest.mark.parametrize(
    ("known", "expected"),
    [
        ("", ["ssh-ed25519", "ecdsa-sha2-nistp256", "rsa-sha2-512", "rsa-sha2-256"]),
        (line("bastion", RSA), ["rsa-sha2-512", "rsa-sha2-256", "ssh-ed25519", "ecdsa-sha2-nistp256"]),
        (line("bastion", KEY), ["ssh-ed25519", "ecdsa-sha2-nistp256", "rsa-sha2-512", "rsa-sha2-256"]),
        (line("@revoked bastion", RSA), ["ssh-ed25519", "ecdsa-sha2-nistp256", "rsa-sha2-512", "rsa-sha2-256"]),
        ("bastion ssh-rsa torn\n", ["ssh-ed25519", "ecdsa-sha2-nistp256", "rsa-sha2-512", "rsa-sha2-256"]),
    ],
)
def test_a_server_is_asked_first_for_the_key_that_is_known(known: str, expected: list[str], file: Path) -> None:
    file.write_text(known)
    hop = Hop("bastion", 2222, Credentials("u"), HostKeyPolicy(STRICT, (str(file),)))
    offered = ["ssh-ed25519", "ecdsa-sha2-nistp256", "rsa-sha2-512", "rsa-sha2-256"]
    assert list(HostKeyCheck(hop, "the place", print).prefer(offered, offered)) == expected


ED_CERTIFIED, RSA_CERTIFIED = "ssh-ed25519-cert-v01@openssh.com", "rsa-sha2-512-cert-v01@openssh.com"


@pytest.mark.parametrize(
    ("known", "wanted", "expected"),
    [
        # As OpenSSH: certificates of authorities that are known first, whatever else is known.
        (line("@cert-authority *", KEY), None, [ED_CERTIFIED, RSA_CERTIFIED, "ssh-ed25519", "rsa-sha2-512"]),
        (
            line("@cert-authority *", KEY) + line("[bastion]:2222", RSA), None,
            [ED_CERTIFIED, RSA_CERTIFIED, "rsa-sha2-512", "ssh-ed25519"],
        ),
        (line("@cert-authority other", KEY), None, ["ssh-ed25519", "rsa-sha2-512"]),
        # Of what somebody wants (HostKeyAlgorithms), what is known first, as far as the library has it.
        (line("bastion", RSA), ("ssh-ed25519", "sk-ssh-ed25519@openssh.com", "rsa-sha2-512"), ["rsa-sha2-512", "ssh-ed25519"]),
        ("", (RSA_CERTIFIED,), [RSA_CERTIFIED]),
        # A key of the name without its port is another server's, if the name with its port is known.
        (line("[bastion]:2222", RSA) + line("bastion", KEY), None, ["rsa-sha2-512", "ssh-ed25519"]),
        ("", ("ssh-rsa", "ssh-dss"), []),
    ],
)  # fmt: skip
def test_a_server_is_asked_for_certificates_and_for_what_is_wanted(
    known: str, wanted: tuple[str, ...] | None, expected: list[str], file: Path
) -> None:
    file.write_text(known)
    hop = Hop("bastion", 2222, Credentials("u"), HostKeyPolicy(STRICT, (str(file),), algorithms=wanted))
    usual = ["ssh-ed25519", "rsa-sha2-512"]
    there = [*usual, ED_CERTIFIED, RSA_CERTIFIED]
    assert list(HostKeyCheck(hop, "the place", print).prefer(usual, there)) == expected


# trust: T14
@pytest.mark.parametrize("checking", [STRICT, NEW, OFF])
@pytest.mark.parametrize(
    ("name", "why"),
    [
        (".", "Is a directory"),
        ("loop", "Too many levels of symbolic links"),
        ("/proc/self/mem", "Input/output error"),
        ("x" * 300, "File name too long"),
    ],
)
def test_a_file_that_cannot_be_read_denies(name: str, why: str, checking: HostKeyChecking, tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    message = refused(tmp_path / name, KEY, checking)
    assert re.search(rf"the host key could not be checked: \[Errno \d+\] {why}", message)


# trust: T14
def test_no_memory_for_the_file_denies(outputs: Callable[..., list[str]], file: Path) -> None:
    with file.open("w") as stream:
        stream.write(line("bastion", KEY))
        stream.truncate(1 << 32)
    script = f"""{PREAMBLE}
import resource
resource.setrlimit(resource.RLIMIT_AS, (1 << 29, 1 << 29))
go()
try:
    check("bastion", 1)
except HostKeyRefused as error:
    print(error)
"""
    assert outputs(script, [str(file)]) == [
        "the place: the host key could not be checked: MemoryError. A host that cannot be checked is not trusted."
    ]


# trust: T14
@pytest.mark.parametrize("fault", [OSError(5, "EIO"), MemoryError(), ValueError("x"), RecursionError()])
def test_a_fault_in_the_middle_of_the_check_denies(fault: Exception, file: Path) -> None:
    def warn(_line: str) -> None:
        raise fault

    file.write_text(line("bastion", ANOTHER))
    hop = Hop("bastion", 22, Credentials("u"), HostKeyPolicy(OFF, (str(file),)))
    with pytest.raises(HostKeyRefused, match=r"^the place: the host key could not be checked: "):
        HostKeyCheck(hop, "the place", warn).check(KEY)


# trust: T14
def test_a_file_that_has_become_unreadable_by_the_time_of_recording_denies(file: Path) -> None:
    hop = Hop("bastion", 22, Credentials("u"), HostKeyPolicy(NEW, (str(file),)))
    check = HostKeyCheck(hop, "the place", print)
    file.mkdir()
    with pytest.raises(HostKeyRefused, match=r"could not be checked: .*Is a directory"):
        check.check(KEY)


PREAMBLE = """
from ansible_collections.bastion.ssh.plugins.plugin_utils.chain.model import Credentials, Hop, HostKeyChecking, HostKeyPolicy
from ansible_collections.bastion.ssh.plugins.plugin_utils.errors import HostKeyRefused
from ansible_collections.bastion.ssh.plugins.plugin_utils.ssh.host_keys import HostKey, HostKeyCheck

def prepared(host, number):
    parts = [b"ssh-ed25519", bytes([number]) * 32]
    key = HostKey("ssh-ed25519", b"".join(len(part).to_bytes(4, "big") + part for part in parts))
    hop = Hop(host, 22, Credentials("u"), HostKeyPolicy(HostKeyChecking.ACCEPT_NEW, (sys.argv[1],)))
    check = HostKeyCheck(hop, "the place", lambda line: None)
    return lambda: check.check(key)

def check(host, number):
    return prepared(host, number)()
"""

OLD = b"# by hand \xff\xfe\n\n" + line("other", ANOTHER).encode() + b"torn"  # no final newline


# trust: T15
def test_20_processes_add_their_lines_whole_and_keep_the_old_bytes(
    outputs: Callable[..., list[str]], file: Path
) -> None:
    file.write_bytes(OLD)
    script = f"{PREAMBLE}\ngo()\nfor round in range(5):\n    check(f'host-{{sys.argv[2]}}-{{round}}', 1)\n"
    assert outputs(script, *[[str(file), str(number)] for number in range(20)]) == [""] * 20
    added = file.read_bytes()[len(OLD) :].decode()
    assert file.read_bytes().startswith(OLD)
    assert added.startswith("\n")
    wanted = [line(f"host-{number}-{turn}", KEY) for number in range(20) for turn in range(5)]
    assert sorted(added[1:].splitlines(keepends=True)) == sorted(wanted)


def waits_for_a_lock(pid: int) -> bool:
    locks = Path("/proc/locks").read_text().splitlines()
    return any(words[1] == "->" and words[5] == str(pid) for words in map(str.split, locks))


# trust: T15
def test_a_line_is_added_under_the_lock_after_one_more_look(
    start: Callable[..., list[subprocess.Popen[str]]], file: Path
) -> None:
    script = f"{PREAMBLE}\ncheck = prepared('bastion', 1)\ngo()\nprint(check())\n"
    with file.open("ab") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        (process,) = start(script, [str(file)])
        wait_until(lambda: waits_for_a_lock(process.pid), 20, "it waits for the lock")
        stream.write(line("bastion", KEY).encode())
    assert process.communicate(timeout=20)[0] == "True\n"
    assert file.read_text() == line("bastion", KEY)


# trust: T15
def test_of_20_processes_with_as_many_keys_for_one_host_one_is_believed(
    outputs: Callable[..., list[str]], file: Path
) -> None:
    script = f"""{PREAMBLE}
check = prepared("bastion", int(sys.argv[2]))  # when nothing is known yet
go()
try:
    print(check())
except HostKeyRefused as error:
    print(error)
"""
    said = outputs(script, *[[str(file), str(number)] for number in range(20)])
    (first,) = [number for number, words in enumerate(said) if words == "True"]
    assert file.read_text() == line("bastion", key(first))
    assert sum(CHANGED in words for words in said) == 19


def is_larger(file: Path, size: int) -> bool:
    return file.stat().st_size > size


# trust: T15
def test_writers_that_are_killed_leave_no_torn_line(
    start: Callable[..., list[subprocess.Popen[str]]], file: Path
) -> None:
    file.write_bytes(OLD)
    script = f"{PREAMBLE}\nimport itertools\ngo()\nfor round in itertools.count():\n    check(f'host-{{sys.argv[2]}}-{{round}}', 1)\n"
    processes = start(script, *[[str(file), str(number)] for number in range(10)])
    random.Random(15).shuffle(processes)
    for number, process in enumerate(processes):
        size = len(OLD) + 1000 * (number + 1)
        wait_until(partial(is_larger, file, size), 30, "the writers write")
        process.kill()
    for process in processes:
        process.wait()
    added = file.read_bytes()[len(OLD) :].decode()
    assert file.read_bytes().startswith(OLD)
    lines = added[1:].splitlines(keepends=True)
    assert len(lines) > 50
    assert [each for each in lines if each != line(each.split()[0], KEY)] == []


# trust: T15
def test_a_line_for_which_there_is_no_room_is_not_added_in_part(outputs: Callable[..., list[str]], file: Path) -> None:
    file.write_bytes(OLD)
    script = f"""{PREAMBLE}
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, ({len(OLD) + 20}, {len(OLD) + 20}))
go()
try:
    check("bastion", 1)
except HostKeyRefused as error:
    print(error)
"""
    (said,) = outputs(script, [str(file)])
    assert said.startswith("the place: the host key could not be checked: [Errno 28]")
    assert file.read_bytes() == OLD
