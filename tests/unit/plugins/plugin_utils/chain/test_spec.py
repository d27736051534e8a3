# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The grammar of ansible_ssh_jump, compared with OpenSSH's own reading of -J."""

from __future__ import annotations

import re
import subprocess
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ansible_collections.bastion.ssh.plugins.plugin_utils.chain.model import HostKeyChecking
from ansible_collections.bastion.ssh.plugins.plugin_utils.chain.spec import (
    HopSpec,
    is_none,
    parse_checking,
    parse_jump,
    parse_known_hosts,
    parse_prompts,
    parse_secret,
    parse_text,
    parse_timeout,
)
from ansible_collections.bastion.ssh.plugins.plugin_utils.errors import SettingsError

LINE = "h ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA=="
HOPS = {
    "a": ("a", None, None),
    "u@a": ("a", None, "u"),
    "a:2222": ("a", 2222, None),
    "u@a:2222": ("a", 2222, "u"),
    "a:022": ("a", 22, None),
    "192.0.2.1:65535": ("192.0.2.1", 65535, None),
    "u@v@a": ("a", None, "u@v"),
    "u:v@a": ("a", None, "u:v"),
    "[::1]": ("::1", None, None),
    "[::1]:2222": ("::1", 2222, None),
    "u@[::1]": ("::1", None, "u"),
    "u@[fe80::1%lo]:2222": ("fe80::1%lo", 2222, "u"),
    "[a]:2222": ("a", 2222, None),
    "ssh://a": ("a", None, None),
    "ssh://a/": ("a", None, None),
    "ssh://u@a": ("a", None, "u"),
    "ssh://a:2222": ("a", 2222, None),
    "ssh://u@a:2222/": ("a", 2222, "u"),
    "ssh://u%40d@a": ("a", None, "u@d"),
    "ssh://u%2Bx@a": ("a", None, "u+x"),
}

# As RFC 3986 and RFC 6874 write an address; OpenSSH takes none in a URI.
URI_ADDRESSES = {
    "ssh://[::1]": ("::1", None, None),
    "ssh://u@[::1]:2222/": ("::1", 2222, "u"),
    "ssh://[fe80::1%25lo]:22": ("fe80::1%lo", 22, None),
}

REFUSED = [
    ",", "a,", ",a", "a,,b", "a, ,b", "u@", "@a", "@", "u@:22", ":22", "[]:22", "[::1", "::1", "a::22", "a:22:33", "[a]b", "[a]22",
    "a]", "a b", "u@a/b", "a/", "a:0", "a:65536", "a:99999999999", "a:abc", "a:http", "a:+22", "a: 22", "a:-1", "a:22/", "a\nb", "a\n",
    "none,a", "a,NONE", "a;id", "-a", "u@-a", "-u@a", "u;v@a", "u\\@a", "a\0",
    "ssh://", "ssh:///", "ssh://a@b@c", "ssh://a/b@c", "ssh://@a", "ssh://u@", "ssh://u@h/path", "ssh://a//", "ssh://a?x", "ssh://a#x",
    "ssh://a:0", "ssh://a:x",
    "ssh://a:65536", "ssh://u%00@h", "ssh://u%@h", "ssh://u%4@h", "ssh://u%zz@h", "ssh://u%ff@h", "ssh://u%0a@h", "ssh://a%3a22", "ssh://a%2cb",
    "ssh://a%2fb", "ssh://-oProxyCommand=x", "ssh://%2doProxyCommand=x", "SSH://a", "http://a", "//a",
]  # fmt: skip


def parsed(value: object) -> list[tuple[str, int | None, str | None]]:
    return [(hop.host, hop.port, hop.user) for hop in parse_jump(value)]


# trust: T02
@pytest.mark.parametrize(("text", "expected"), [*HOPS.items(), *URI_ADDRESSES.items()])
def test_a_hop_has_a_host_and_perhaps_a_port_and_a_user(text: str, expected: tuple[str, int, str]) -> None:
    assert parsed(text) == [expected]
    assert parsed(f" {text}\t") == [expected]
    assert parsed([text]) == [expected]


# trust: T02
@pytest.mark.parametrize("text", REFUSED)
def test_what_is_no_hop_is_refused(text: str) -> None:
    for value in (text, [text], ["a", text]):
        with pytest.raises(SettingsError, match=r"^ansible_ssh_jump(\[\d\])*: ") as caught:
            parse_jump(value)
        assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("a,", "trailing comma"),
        ("2001:db8::1", r"write an IPv6 address as \[address\]:port"),
        ("a,none", "'none' stands alone"),
        ("ssh://a/b", "a host and a port only"),
        ("a:0", "1 to 65535"),
    ],
)
def test_what_is_refused_is_told_with_a_way_out(text: str, hint: str) -> None:
    with pytest.raises(SettingsError, match=hint):
        parse_jump(text)


# trust: T01
def test_hops_are_visited_in_the_order_in_which_they_are_written() -> None:
    a, b, c = ("a", None, None), ("b", 2222, None), ("c", None, "u")
    assert parsed("a,b:2222,u@c") == [a, b, c]
    assert parsed("a , b:2222 ,u@c") == [a, b, c]
    assert parsed(["a,b:2222", {"host": "c", "user": "u"}]) == [a, b, c]
    assert parsed(({"host": "a"}, "b:2222", "u@c")) == [a, b, c]


@pytest.mark.parametrize(
    ("value", "names"),
    [
        ("a", ["ansible_ssh_jump"]),
        ("a,b", ["ansible_ssh_jump[0]", "ansible_ssh_jump[1]"]),
        (["a", {"host": "b"}], ["ansible_ssh_jump[0]", "ansible_ssh_jump[1]"]),
        (["a", "b,c"], ["ansible_ssh_jump[0]", "ansible_ssh_jump[1][0]", "ansible_ssh_jump[1][1]"]),
    ],
)
def test_a_hop_knows_where_it_was_set(value: object, names: list[str]) -> None:
    assert [hop.setting for hop in parse_jump(value)] == names


@pytest.mark.parametrize("value", [[["a", {"host": "b", "port": 2222}]], ["a", [{"host": "b", "port": 2222}]]])
def test_a_list_in_the_list_is_its_hops(value: object) -> None:
    assert parsed(value) == [("a", None, None), ("b", 2222, None)]


# trust: T03
@pytest.mark.parametrize("value", [None, "", " ", "\n", [], (), "none", "NONE", "None", " none\n"])
def test_nothing_and_none_mean_no_hop(value: object) -> None:
    assert parse_jump(value) == ()
    assert is_none(value) == (isinstance(value, str) and "none" in value.lower())


@pytest.mark.parametrize(
    ("value", "setting"),
    [
        (7, "ansible_ssh_jump"),
        (False, "ansible_ssh_jump"),
        (b"a", "ansible_ssh_jump"),
        (bytearray(b"a"), "ansible_ssh_jump"),
        ({"a"}, "ansible_ssh_jump"),
        ({"host": "a"}, "ansible_ssh_jump"),
        ([None], "ansible_ssh_jump[0]"),
        (["a", ""], "ansible_ssh_jump[1]"),
        (["a", "none"], "ansible_ssh_jump[1]"),
        (["none"], "ansible_ssh_jump[0]"),
        (["a", [["b"]]], "ansible_ssh_jump[1]"),
        (["a", []], "ansible_ssh_jump[1]"),
        ([[]], "ansible_ssh_jump[0]"),
        (["a", ["b", "none"]], "ansible_ssh_jump[2]"),
        ([{}], "ansible_ssh_jump[0].host"),
        ([{"host": None}], "ansible_ssh_jump[0].host"),
        ([{"host": "a,b"}], "ansible_ssh_jump[0].host"),
        ([{"host": "u@a"}], "ansible_ssh_jump[0].host"),
        ([{"host": "a:22"}], "ansible_ssh_jump[0].host"),
        ([{"host": 7}], "ansible_ssh_jump[0].host"),
        ([{"host": "a", "port": 0}], "ansible_ssh_jump[0].port"),
        ([{"host": "a", "port": True}], "ansible_ssh_jump[0].port"),
        ([{"host": "a", "user": ""}], "ansible_ssh_jump[0].user"),
        ([{"host": "a", "name": "b"}], "ansible_ssh_jump[0].name"),
        ([{"host": "a", "setting": "b"}], "ansible_ssh_jump[0].setting"),
        ([{"host": "a", 5: "b"}], "ansible_ssh_jump[0].5"),
        ([{"host": "a", "password": True}], "ansible_ssh_jump[0].password"),
        ([{"host": "a", "password": ["s3cret"]}], "ansible_ssh_jump[0].password"),
        ([{"host": "a", "passphrase": "s3cret\0"}], "ansible_ssh_jump[0].passphrase"),
        ([{"host": "a", "private_key": "s3cret", "private_key_file": "f"}], "ansible_ssh_jump[0].private_key"),
        ([{"host": "a", "host_key_checking": "ask"}], "ansible_ssh_jump[0].host_key_checking"),
        ([{"host": "a", "known_hosts": ""}], "ansible_ssh_jump[0].known_hosts"),
        ([{"host": "a", "host_key_alias": "*"}], "ansible_ssh_jump[0].host_key_alias"),
        ([{"host": "a", "timeout": 0}], "ansible_ssh_jump[0].timeout"),
        ([{"host": "a", "prompts": "s3cret"}], "ansible_ssh_jump[0].prompts"),
        ([{"host": "a"}, {"host": "b", "proxy_command": "nc"}], "ansible_ssh_jump[1].proxy_command"),
        (["a,b", {"host": "c", "proxy_command": "nc"}], "ansible_ssh_jump[1].proxy_command"),
    ],
)
def test_a_mistake_is_told_with_its_place_and_without_a_secret(value: object, setting: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parse_jump(value)
    assert caught.value.setting == setting
    assert "s3cret" not in str(caught.value)


def test_a_mapping_says_all_that_a_hop_can_say_of_itself() -> None:
    item = {
        "host": "[2001:db8::1]", "port": "2222", "user": "u", "password": 1234, "private_key_file": "~/k", "passphrase": "pp",
        "certificate_file": "c", "proxy_command": "nc %h %p", "host_key_checking": "accept-new", "known_hosts": ["x", "y"],
        "host_key_alias": "[b]:22", "timeout": "2.5", "prompts": {"code": 5},
    }  # fmt: skip
    expected = HopSpec(
        host="2001:db8::1", port=2222, user="u", password="1234", private_key_file="~/k", passphrase="pp",
        certificate_file="c", proxy_command="nc %h %p", host_key_checking=HostKeyChecking.ACCEPT_NEW, known_hosts=("x", "y"),
        host_key_alias="[b]:22", timeout=2.5, prompts=(("code", "5"),), setting="ansible_ssh_jump[0]",
    )  # fmt: skip
    assert parse_jump([item]) == (expected,)
    unset: dict[str, object] = dict.fromkeys(item)
    assert parse_jump([unset | {"host": "a", "private_key": "text"}]) == (
        HopSpec("a", private_key="text", setting="ansible_ssh_jump[0]"),
    )
    (certified,) = parse_jump([{"host": "a", "certificate": "text"}])
    assert certified.certificate == "text"
    (no_proxy,) = parse_jump([item | {"proxy_command": "None"}])
    assert no_proxy == replace(expected, proxy_command="None")


# trust: T21
def test_no_secret_is_in_the_repr_of_a_hop() -> None:
    secrets: dict[str, Any] = {"password": "S1", "private_key": "S2", "passphrase": "S3", "prompts": {"S4": "S5"}}
    (hop,) = parse_jump([{"host": "a", **secrets}])
    assert repr(hop) == (
        "HopSpec(host='a', port=None, user=None, private_key_file=None, certificate_file=None, proxy_command=None, "
        "host_key_checking=None, known_hosts=None, known_hosts_lines=(), host_key_alias=None, timeout=None, setting='ansible_ssh_jump[0]')"
    )


STRICT, NEW, OFF = HostKeyChecking.STRICT, HostKeyChecking.ACCEPT_NEW, HostKeyChecking.OFF
BAD: Any = SettingsError


@pytest.mark.parametrize(
    ("parse", "value", "expected"),
    [
        *[(parse_checking, value, STRICT) for value in (True, "true", "True", "yes", "on", "strict", 1, "1", " YES ")],
        *[(parse_checking, value, OFF) for value in (False, "false", "False", "no", "off", 0, "0")],
        *[(parse_checking, value, NEW) for value in ("accept-new", "ACCEPT-NEW")],
        *[(parse_checking, value, BAD) for value in (None, "", "ask", 2, "accept_new", [True])],
        (parse_text, None, None),
        (parse_text, "", None),
        (parse_text, " ", " "),
        (parse_text, 123456, "123456"),
        (parse_secret, "secret\n", "secret"),
        (parse_secret, " s \r\n", " s "),
        (parse_secret, "first\nsecond\n", "first"),
        (parse_secret, 123456, "123456"),
        *[(parse_secret, value, None) for value in (None, "", "\n", "\r\n")],
        *[(parse_secret, value, BAD) for value in (True, b"x", ["x"], "a\0")],
        *[(parse_text, value, BAD) for value in (True, 1.5, b"x", ["x"], "a\0")],
        (parse_known_hosts, None, (None, ())),
        (parse_known_hosts, "a b", (("a b",), ())),
        (parse_known_hosts, ["a", "b"], (("a", "b"), ())),
        (parse_known_hosts, [], ((), ())),
        (parse_known_hosts, LINE, ((), (LINE,))),
        (parse_known_hosts, f"a\u2028{LINE}", ((), (f"a\u2028{LINE}",))),
        (parse_known_hosts, f"# ours\n\n  {LINE}\n{LINE}\n", ((), ("# ours", LINE, LINE))),
        (
            parse_known_hosts,
            ["a", LINE, f"@cert-authority *.x {LINE[2:]}"],
            (("a",), (LINE, f"@cert-authority *.x {LINE[2:]}")),
        ),
        *[(parse_known_hosts, value, BAD) for value in ("", 7, [""], ["a\0"], [None], {"a": 1}, b"a")],
        (parse_timeout, None, None),
        (parse_timeout, 5, 5.0),
        (parse_timeout, "0.5", 0.5),
        *[(parse_timeout, value, BAD) for value in (0, -1, "0", "x", "", True, "nan", "inf", float("inf"), [1])],
        (parse_prompts, None, ()),
        (parse_prompts, {}, ()),
        (parse_prompts, {"Code": "123456\n"}, (("Code", "123456"),)),
        (parse_prompts, {"Code: ?": "x", 7: 8, "c": None}, (("Code: ?", "x"), ("7", "8"), ("c", ""))),
        *[(parse_prompts, value, BAD) for value in ("x", ["x"], {"(": "x"}, {"x": ["y"]}, {"x": True})],
        (parse_prompts, {"(" * 3000: "x"}, BAD),
    ],
)
def test_a_value_is_of_its_kind_or_refused(parse: Any, value: object, expected: object) -> None:
    if expected is not BAD:
        assert parse(value, "x") == expected
        return
    with pytest.raises(SettingsError, match=r"^the variable: "):
        parse(value, "the variable")


def openssh(jump: str) -> str | None:
    """ProxyJump as ssh(1) understands it; None where it refuses."""
    command = ["ssh", "-F", "none", "-G", "-J", jump, "target"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = [line.partition(" ")[2] for line in result.stdout.splitlines() if line.startswith("proxyjump ")]
    # It puts an IPv4 address into brackets, too.
    return re.sub(r"\[([^:]*)\]", r"\1", lines[0]) if result.returncode == 0 and lines else None


def written(text: str) -> str:
    """A hop in the words of ssh -G."""
    (hop,) = parse_jump(text)
    host = f"[{hop.host}]" if ":" in hop.host else hop.host
    return "".join([f"{hop.user}@" if hop.user else "", host, f":{hop.port}" if hop.port else ""])


# trust: T02
@pytest.mark.parametrize("text", HOPS)
def test_openssh_reads_a_hop_the_same_way(text: str) -> None:
    assert written(text) == openssh(text)


# Without what ssh's reader of configuration lines acts on before it looks at the hop: # and \.
PARTS = st.sampled_from(
    [
        "a", "b.c", "u", "-", "@", ":", "22", "0", "65536", "[", "]", "::1", "/", "%", "%41", "%40", "%00", ";", "$", "=", "~",
        "none", "'", "|", "ü", "?", "*", "!", "+",
    ]
)  # fmt: skip
TEXTS = st.builds(lambda uri, parts: uri + "".join(parts), st.sampled_from(["", "ssh://"]), st.lists(PARTS, max_size=7))


# trust: T02, T04
@given(TEXTS)
@example("ssh://a%3a22")
@example("ssh://a@b@c")
@example("ssh://a/b@c")
def test_whatever_is_taken_openssh_takes_in_the_same_sense(text: str) -> None:
    try:
        ours = written(text)
    except (SettingsError, ValueError):  # refused, or "none"
        return
    uri_address = text.startswith("ssh://") and "[" in text
    if not uri_address:
        assert ours == openssh(text)
