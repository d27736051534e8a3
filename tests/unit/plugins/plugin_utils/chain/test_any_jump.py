# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever stands in a variable is taken in one sense, which can be written down again, or refused as a setting."""

from __future__ import annotations

import re
import shlex
from dataclasses import replace
from typing import Any
from urllib.parse import quote

from corpora import replaying, texts, values
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.bastion.ssh.plugins.plugin_utils.chain.arguments import read_arguments
from ansible_collections.bastion.ssh.plugins.plugin_utils.chain.model import Credentials, Hop
from ansible_collections.bastion.ssh.plugins.plugin_utils.chain.names import (
    check_alias,
    check_host,
    check_port,
    check_user,
)
from ansible_collections.bastion.ssh.plugins.plugin_utils.chain.spec import HopSpec, parse_jump
from ansible_collections.bastion.ssh.plugins.plugin_utils.chain.tokens import (
    Controller,
    TokenValues,
    expand_command,
    expand_early,
    expand_late,
    expand_path,
)
from ansible_collections.bastion.ssh.plugins.plugin_utils.errors import SettingsError
from ansible_collections.bastion.ssh.plugins.plugin_utils.openssh.known_hosts import (
    KnownHosts,
    format_line,
    lookup_names,
)

# As on the wire (RFC 8709).
KEY = b"\0\0\0\x0bssh-ed25519\0\0\0\x20" + bytes(32)
# What a shell, a terminal, known_hosts or another program's options would act on, written down once more.
UNFIT_HOST = re.compile(
    r"""^-|['`"$\\;&<>|(){}*?!#\[\],@/\s\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"""
)
UNFIT_USER = re.compile(r"""^-|\s-|\\$|['`";&<>|(){}\t-\r\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]""")

PIECES = st.sampled_from(
    ["a", "b.c", "u", "-", "@", ":", "22", "0", "65536", "[", "]", "::1", "/", "%", "%41", "%40", "%00", "%2c", ";", "$(x)", "`", "\\",
     " ", "\t", "\n", "\0", ",", "none", "ssh://", "{", "'", "\u202e", "\u2028", "\ud800", "\udcff", "\u0430", "\u212a", "\uff12"]
)  # fmt: skip
ANY_TEXT = st.lists(PIECES, max_size=8).map("".join) | st.text(st.characters(exclude_categories=[]), max_size=30)
PORTS = st.integers() | st.integers(0, 70_000).map(str) | st.integers(min_value=10**400, max_value=10**401) | ANY_TEXT
SCALARS = st.none() | st.booleans() | PORTS | st.floats() | ANY_TEXT | st.binary(max_size=3)
ITEMS = SCALARS | st.lists(SCALARS, max_size=2) | st.dictionaries(SCALARS, SCALARS, max_size=2)
KEYS = [
    "host", "port", "user", "password", "private_key_file", "private_key", "passphrase", "certificate_file", "certificate",
    "proxy_command", "host_key_checking", "known_hosts", "host_key_alias", "timeout", "prompts",
]  # fmt: skip
MAPPINGS = st.dictionaries(st.sampled_from(KEYS), ITEMS, max_size=4).map(lambda item: {"host": "a", **item})
JUMPS = ITEMS | st.lists(ANY_TEXT | MAPPINGS | ITEMS, max_size=4)


def fit(hop: HopSpec) -> bool:
    """Whether a hop may travel, in words of our own."""
    host = not UNFIT_HOST.search(hop.host) and hop.host and hop.host.count(":") != 1
    user = hop.user is None or (hop.user and not UNFIT_USER.search(hop.user))
    return bool(host and user) and (hop.port is None or 1 <= hop.port <= 65535)


def written(hop: HopSpec) -> dict[str, Any]:
    """A hop as the mapping that says all of it."""
    said = {key: getattr(hop, key) for key in KEYS if getattr(hop, key) is not None}
    if hop.host_key_checking is not None:
        said["host_key_checking"] = hop.host_key_checking.value
    if hop.known_hosts is not None:
        said["known_hosts"] = [*hop.known_hosts, *filter(None, ["\n".join(hop.known_hosts_lines)])]
    return said | {"prompts": dict(hop.prompts)}


def unplaced(hops: tuple[HopSpec, ...]) -> list[HopSpec]:
    return [replace(hop, setting="") for hop in hops]


def refusal(work: Any, *arguments: object) -> str | None:
    """The words of a refusal, which may be shown; None if there is none."""
    try:
        work(*arguments)
    except SettingsError as error:
        words = str(error)
    else:
        return None
    assert words.isprintable()
    assert len(words) < 1000
    return words


# trust: T02, T04
@replaying(texts("jump"))
@given(ANY_TEXT)
def test_any_text_is_hops_that_may_travel_or_refused(text: str) -> None:
    if refusal(parse_jump, text):
        return
    hops = parse_jump(text)
    assert all(map(fit, hops))
    assert len(hops) == (text.count(",") + 1 if text.strip() and text.strip().lower() != "none" else 0)
    assert unplaced(parse_jump(list(map(written, hops)))) == unplaced(hops)
    for hop in hops:
        assert parse_jump(as_text(hop), hop.setting) == (hop,)


def as_text(hop: HopSpec) -> str:
    """A hop as an ``ssh://`` hop where it can be one, else as -J has it."""
    port = f":{hop.port}" if hop.port else ""
    if re.fullmatch(r"(?!.*\.\.)[A-Za-z0-9][\w.-]*", hop.host, re.ASCII):
        return f"ssh://{quote(hop.user, safe='') + '@' if hop.user else ''}{hop.host}{port}"
    user = f"{hop.user}@" if hop.user else ""
    return f"{user}[{hop.host}]{port}" if ":" in hop.host else f"{user}{hop.host}{port}"


# trust: T02, T04, T21
@replaying(values("hops"))
@given(JUMPS)
def test_any_value_is_hops_that_may_travel_or_refused(value: object) -> None:
    before = repr(value)
    words = refusal(parse_jump, value)
    assert repr(value) == before
    if words is None:
        hops = parse_jump(value)
        assert all(map(fit, hops))
        assert unplaced(parse_jump(list(map(written, hops)))) == unplaced(hops)


# trust: T21
@given(st.sampled_from(["password", "passphrase", "private_key", "prompts"]), MAPPINGS)
def test_no_refusal_tells_a_secret(key: str, item: dict[str, object]) -> None:
    secret = "S3CRET\0"
    words = refusal(parse_jump, [item | {key: {"x": secret} if key == "prompts" else secret}])
    assert words
    assert "S3CRET" not in words


# trust: T04
@replaying(texts("jump"))
@given(ANY_TEXT | st.from_regex(r"\[.{0,4}\]:\d{0,6}"))
def test_any_name_is_taken_as_it_is_or_refused(name: str) -> None:
    if not refusal(check_host, name, "x"):
        host = check_host(name, "x")
        assert fit(HopSpec(host))
        assert name in (host, f"[{host}]")
        assert check_host(host, "x") == host
    assert refusal(check_user, name, "x") or (check_user(name, "x") == name and fit(HopSpec("a", user=name)))
    if not refusal(check_alias, name, "x"):
        alias = check_alias(name, "x")
        assert check_alias(alias, "x") == alias
        # A line of known_hosts that names it is about this name, and about no other.
        known = KnownHosts([format_line(alias, "ssh-ed25519", KEY)], "x")
        (looked_up,) = lookup_names("host", 22, alias)
        assert [(entry.marker, entry.key) for entry in known.entries(looked_up)] == [("", KEY)]
        assert looked_up == "other" or known.entries("other") == []


# trust: T02
@given(PORTS)
def test_any_port_is_a_number_in_its_range_or_refused(port: object) -> None:
    digits = str(port) if isinstance(port, str) or (isinstance(port, int) and abs(port) < 10**6) else ""
    fits = re.fullmatch(r"0*[1-9][0-9]{0,4}", digits, re.ASCII) and int(digits) <= 65535
    words = refusal(check_port, port, "x")
    assert bool(words) != bool(fits)
    assert words or check_port(port, "x") == int(digits)


TEMPLATES = st.lists(
    st.sampled_from(["%", "h", "p", "r", "n", "%%", "x", "${A}", "${B}", "$", "{", "~", "/", "\n", "%C", "%d"])
).map("".join)
HOP = Hop("2001:db8::1%h", 2222, Credentials("u%%"))
PLACE = TokenValues("2001:db8::1%h", "n%p", 2222, "u%%", None, "%h")
HERE = Controller("me%", environment=(("A", "%h${B}%%"),))


# trust: T08
@given(TEMPLATES)
def test_any_template_is_expanded_in_one_pass_or_refused(template: str) -> None:
    if not refusal(expand_command, template, HOP):
        parts = re.findall(r"%.|[^%]+", template, re.DOTALL)
        values = {"%h": HOP.host, "%n": HOP.host, "%p": "2222", "%r": "u%%", "%%": "%"}
        assert expand_command(template, HOP) == "".join(values.get(part, part) for part in parts)
    if not refusal(expand_path, template, PLACE, HERE, "x"):
        early = expand_early(template, PLACE, HERE, "x")
        late = expand_late(early, dict.fromkeys("HIKft", "never"))
        path = expand_path(template, PLACE, HERE, "x")
        assert late == path or template.startswith("~")


WORDS = st.lists(
    st.sampled_from(
        ["-J", "-J a", "-J ' a '", "-o", "-F", "-C", "-4C", "-CJ", "-P", "-W", "-z", "-", "--", "a", "' a '", "'", '"a b"', '"', "\\", "\n", "\0", "=", "é"]
    ),
    max_size=5,
).map(" ".join)  # fmt: skip


# trust: T08
@replaying(texts("arguments"))
@given(WORDS | ANY_TEXT)
def test_any_arguments_are_read_as_a_shell_splits_them_or_refused(text: str) -> None:
    if not refusal(read_arguments, [("x", text)]):
        read = read_arguments([("x", text)])
        again = [*read.asked, *(["-F", read.config_file] if read.config_file is not None else [])]
        assert read_arguments([("x", shlex.join(again))]) == replace(read, unused=())
        given = [value.removeprefix("Tag=") for value in read.asked if not value.startswith("-")]
        assert all(any(word.endswith(value) for word in shlex.split(text)) for value in given)
