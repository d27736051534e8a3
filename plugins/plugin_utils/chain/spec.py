# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection.
"""Parse ``ansible_ssh_jump``, a string or a list, and the values of hops."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from urllib.parse import unquote_to_bytes

from ..errors import SettingsError, sanitize
from .model import HostKeyChecking
from .names import check_alias, check_host, check_port, check_user

_URI = "ssh://"
# As OpenSSH's valid_domain, which is stricter than its check of a host outside of a URI.
_URI_HOST = re.compile(r"(?!.*\.\.)[A-Za-z0-9][A-Za-z0-9._-]*")
# A key type and the beginning of the key in base64, as in a line of known_hosts.
_LINE = re.compile(r"\s(?:ssh-|ecdsa-|sk-)\S+\s+AAAA")
_CHECKING = {
    "true": HostKeyChecking.STRICT,
    "yes": HostKeyChecking.STRICT,
    "on": HostKeyChecking.STRICT,
    "strict": HostKeyChecking.STRICT,
    "1": HostKeyChecking.STRICT,
    "accept-new": HostKeyChecking.ACCEPT_NEW,
    "false": HostKeyChecking.OFF,
    "no": HostKeyChecking.OFF,
    "off": HostKeyChecking.OFF,
    "0": HostKeyChecking.OFF,
}


@dataclass(frozen=True)
class HopSpec:
    """Represent one jump host as the user wrote it; None means unset."""

    host: str
    port: int | None = None
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    private_key_file: str | None = None
    private_key: str | None = field(default=None, repr=False)
    passphrase: str | None = field(default=None, repr=False)
    certificate_file: str | None = None
    certificate: str | None = field(default=None, repr=False)
    proxy_command: str | None = None
    host_key_checking: HostKeyChecking | None = None
    known_hosts: tuple[str, ...] | None = None
    known_hosts_lines: tuple[str, ...] = ()
    host_key_alias: str | None = None
    timeout: float | None = None
    prompts: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    setting: str = ""


_KEYS = tuple(item.name for item in fields(HopSpec) if item.name not in ("setting", "known_hosts_lines"))


def is_none(value: object) -> bool:
    """Return whether the value is ``none`` in any case, OpenSSH's word for no jump host and no ProxyCommand."""
    return isinstance(value, str) and value.strip().lower() == "none"


def parse_jump(value: object, setting: str = "ansible_ssh_jump") -> tuple[HopSpec, ...]:
    """Return the jump hosts of a chain, in order.

    :param value: OpenSSH's ``-J`` string, or a list of such strings, of dictionaries, and of lists of these; empty, None and
        ``none`` give no hop.
    :param setting: the variable's name, for errors.
    :raises SettingsError: a malformed hop, named with its index in the list.
    """
    if value is None or is_none(value):
        return ()
    if isinstance(value, str):
        return _parse_text(value, setting) if value.strip() else ()
    if isinstance(value, Mapping):
        raise SettingsError(setting, "expected a string or a list of hops; put the dictionary into a list")
    if not isinstance(value, Sequence) or isinstance(value, (bytes, bytearray)):
        raise SettingsError(setting, f"expected a string or a list of hops, not {type(value).__name__}")
    hops: list[HopSpec] = []
    for index, item in enumerate(_flattened(value)):
        name = f"{setting}[{index}]"
        if isinstance(item, Mapping):
            hops.append(_parse_mapping(item, name))
        elif isinstance(item, str):
            hops.extend(_parse_text(item, name))
        else:
            raise SettingsError(name, f"a hop is a string or a dictionary, not {type(item).__name__}")
    for hop in hops[1:]:
        if hop.proxy_command is not None and not is_none(hop.proxy_command):
            raise SettingsError(
                f"{hop.setting}.proxy_command",
                "only the first hop can have one; this hop is reached through the hop before it",
            )
    return tuple(hops)


def _flattened(items: Sequence[object]) -> Iterator[object]:
    """Yield the items of a list and of the lists in it: ``query`` returns a list of what ``lookup`` returns.

    An empty inner list is kept, to be rejected: a template that came out empty must not drop a hop.
    """
    for item in items:
        if item and isinstance(item, Sequence) and not isinstance(item, (str, bytes, bytearray)):
            yield from item
        else:
            yield item


def _parse_text(text: str, setting: str) -> tuple[HopSpec, ...]:
    """Parse ``[user@]host[:port]`` or ``ssh://[user@]host[:port][/]``, comma separated (ssh(1), -J)."""
    items = text.split(",")
    if len(items) == 1:
        return (_parse_hop(text, setting),)
    return tuple(_parse_hop(item, f"{setting}[{index}]") for index, item in enumerate(items))


def _parse_hop(text: str, setting: str) -> HopSpec:
    text = text.strip(" \t")
    if not text:
        raise SettingsError(setting, "the hop is empty; look for a doubled, leading or trailing comma")
    if is_none(text):
        raise SettingsError(setting, "'none' stands alone; it cannot be one of several hops")
    if text.startswith(("{", '["', "[{")):
        raise SettingsError(
            setting,
            "this is text that looks like JSON; with -e, a list is written as -e '{\"ansible_ssh_jump\": [...]}'",
        )
    rest, uri = (text[len(_URI) :], True) if text.startswith(_URI) else (text, False)
    user, at, place = rest.rpartition("@")
    if "@" in user and len(user.split()) > 1:
        raise SettingsError(setting, f"{sanitize(ascii(text))} has blanks; hops are separated by commas")
    if uri:
        authority, _slash, path = rest.partition("/")
        if path:
            raise SettingsError(setting, f"{sanitize(ascii(text))} has a path; an ssh:// hop is a host and a port only")
        user, at, place = authority.partition("@") if "@" in authority else ("", "", authority)
        user = _decoded(user, setting)
    host, port = _split_port(place, setting)
    if uri and place.startswith("["):
        host = _decoded(host, setting)
    elif uri and not _URI_HOST.fullmatch(host):
        raise SettingsError(setting, f"the host in {sanitize(ascii(text))} is not letters, digits, dots and dashes")
    return HopSpec(
        host=check_host(host, setting),
        port=None if port is None else check_port(port, setting),
        user=check_user(user, setting) if at else None,
        setting=setting,
    )


def _decoded(text: str, setting: str) -> str:
    """Decode percent-encoding (RFC 3986 section 2.1); a broken escape is an error, as in OpenSSH's ``urldecode``."""
    if re.search(r"%(?![0-9A-Fa-f]{2})", text):
        raise SettingsError(setting, f"{sanitize(ascii(text))} has a broken %-escape")
    try:
        return unquote_to_bytes(text).decode("utf-8")
    except UnicodeError:  # also of lone surrogates in the text itself
        raise SettingsError(setting, f"{sanitize(ascii(text))} is not UTF-8 when decoded") from None


def _split_port(place: str, setting: str) -> tuple[str, str | None]:
    if place.startswith("["):
        host, bracket, rest = place[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise SettingsError(setting, f"{sanitize(ascii(place))} is not [address] or [address]:port")
        return host, rest[1:] if rest else None
    if place.count(":") > 1:
        raise SettingsError(
            setting, f"{sanitize(ascii(place))} has several colons; write an IPv6 address as [address]:port"
        )
    host, colon, port = place.partition(":")
    return host, port if colon else None


def _parse_mapping(item: Mapping[object, object], setting: str) -> HopSpec:
    unknown = [str(key) for key in item if key not in _KEYS]
    if unknown:
        raise SettingsError(
            f"{setting}.{sanitize(unknown[0], 40)}", f"no such key of a hop; the keys are {', '.join(_KEYS)}"
        )
    if item.get("host") is None:
        raise SettingsError(f"{setting}.host", "a hop needs a host")
    if item.get("private_key") is not None and item.get("private_key_file") is not None:
        raise SettingsError(f"{setting}.private_key", "give either private_key or private_key_file of one hop")
    if item.get("certificate") is not None and item.get("certificate_file") is not None:
        raise SettingsError(f"{setting}.certificate", "give either certificate or certificate_file of one hop")
    read = _Reader(item, setting)
    files, lines = read.known_hosts()
    return HopSpec(
        host=check_host(item["host"], f"{setting}.host"),
        port=None if item.get("port") is None else check_port(item["port"], f"{setting}.port"),
        user=None if item.get("user") is None else check_user(item["user"], f"{setting}.user"),
        password=read.secret("password"),
        private_key_file=read.text("private_key_file"),
        private_key=read.text("private_key"),
        passphrase=read.secret("passphrase"),
        certificate_file=read.text("certificate_file"),
        certificate=read.text("certificate"),
        proxy_command=read.text("proxy_command"),
        host_key_checking=read.checking(),
        known_hosts=files,
        known_hosts_lines=lines,
        host_key_alias=read.alias(),
        timeout=parse_timeout(item.get("timeout"), f"{setting}.timeout"),
        prompts=parse_prompts(item.get("prompts"), f"{setting}.prompts"),
        setting=setting,
    )


@dataclass(frozen=True)
class _Reader:
    """Read typed values from one dictionary; errors never quote a value, which may be a secret."""

    item: Mapping[object, object]
    setting: str

    def text(self, key: str) -> str | None:
        return parse_text(self.item.get(key), f"{self.setting}.{key}")

    def secret(self, key: str) -> str | None:
        return parse_secret(self.item.get(key), f"{self.setting}.{key}")

    def checking(self) -> HostKeyChecking | None:
        value = self.item.get("host_key_checking")
        return None if value is None else parse_checking(value, f"{self.setting}.host_key_checking")

    def known_hosts(self) -> tuple[tuple[str, ...] | None, tuple[str, ...]]:
        return parse_known_hosts(self.item.get("known_hosts"), f"{self.setting}.known_hosts")

    def alias(self) -> str | None:
        alias = self.text("host_key_alias")
        return None if alias is None else check_alias(alias, f"{self.setting}.host_key_alias")


def parse_text(value: object, setting: str) -> str | None:
    """Return a text without NUL. Integers become text (an unquoted PIN in YAML); empty text becomes None.

    :raises SettingsError: anything else, without quoting it.
    """
    if value is None or value == "":
        return None
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str) or not _has_bytes(value):
        raise SettingsError(setting, f"expected text without NUL, not {type(value).__name__}")
    return value


def parse_secret(value: object, setting: str) -> str | None:
    """Return the first line of a text, as OpenSSH's readpass.c does: files and vaults often end in a newline.

    :raises SettingsError: as :func:`parse_text`.
    """
    text = parse_text(value, setting)
    return None if text is None else re.split(r"[\r\n]", text, maxsplit=1)[0] or None


def _has_bytes(text: str) -> bool:
    """Return whether the text can be encoded without NUL; YAML and JSON allow lone surrogates, which cannot."""
    try:
        return b"\0" not in text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False


def parse_checking(value: object, setting: str) -> HostKeyChecking:
    """Parse true, false or ``accept-new``, or OpenSSH's ``yes``, ``no``, ``off`` or ``strict``.

    :raises SettingsError: anything else.
    """
    checking = _CHECKING.get(str(value).strip().lower())
    if checking is None:
        raise SettingsError(setting, f"{sanitize(ascii(value))} is none of true, false, accept-new")
    return checking


def parse_known_hosts(value: object, setting: str) -> tuple[tuple[str, ...] | None, tuple[str, ...]]:
    """Return the files and the lines of known_hosts in a path, lines, or a list of both; (None, ()) if unset.

    An item that contains a key type and the beginning of a key is one or more lines; any other item is a path.

    :raises SettingsError: anything else.
    """
    if value is None:
        return None, ()
    items = [value] if isinstance(value, str) else value
    if not isinstance(items, Sequence) or not all(isinstance(i, str) and i and _has_bytes(i) for i in items):
        raise SettingsError(setting, "expected a path or lines of known_hosts, or a list of them")
    files = tuple(item for item in items if not _LINE.search(item))
    lines = (line.strip() for item in items if _LINE.search(item) for line in item.split("\n"))
    return files, tuple(line for line in lines if line)


def parse_timeout(value: object, setting: str) -> float | None:
    """Return a timeout in seconds, above zero; None stays None.

    :raises SettingsError: anything else.
    """
    if value is None:
        return None
    try:
        seconds = float(value) if isinstance(value, (int, float, str)) and not isinstance(value, bool) else -1.0
    except (ValueError, OverflowError):
        seconds = -1.0
    if not (math.isfinite(seconds) and seconds > 0):
        raise SettingsError(setting, f"{sanitize(ascii(value))} is not a number of seconds above 0")
    return seconds


def parse_prompts(value: object, setting: str) -> tuple[tuple[str, str], ...]:
    """Return a dictionary of regular expression to answer as pairs, in its order.

    :raises SettingsError: not a dictionary, an expression that does not compile, an answer that is not text.
    """
    if value is None:
        return ()
    if not isinstance(value, Mapping):
        raise SettingsError(setting, "expected a dictionary of regular expressions and answers")
    pairs = []
    for pattern, answer in value.items():
        try:
            re.compile(str(pattern))
        except (re.error, OverflowError, RecursionError) as error:  # a repetition too large, or nested too deeply
            raise SettingsError(setting, f"{sanitize(ascii(str(pattern)))} is no regular expression: {error}") from None
        pairs.append((str(pattern), parse_secret(answer, setting) or ""))
    return tuple(pairs)
