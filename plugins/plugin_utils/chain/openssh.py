# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection.
"""Build ``ssh -G`` queries for OpenSSH's settings for a name, and parse the answers (ssh(1), ssh_config(5)).

This leaves Include, Match, canonicalisation and the order of files to OpenSSH. The answer lists all keywords with their
defaults; a value counts as set if it differs from ``ssh -G`` with no file and no arguments.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from ..errors import SettingsError, sanitize
from .model import HostKeyChecking

#: The name for no configuration file (ssh(1), -F).
NO_FILE = "none"
#: The name of OpenSSH's configuration in messages.
SOURCE = "ssh_config"

_CHECKING = {
    "true": HostKeyChecking.STRICT,
    "yes": HostKeyChecking.STRICT,
    "ask": HostKeyChecking.STRICT,  # a worker cannot prompt
    "accept-new": HostKeyChecking.ACCEPT_NEW,
    "false": HostKeyChecking.OFF,
    "no": HostKeyChecking.OFF,
    "off": HostKeyChecking.OFF,
}

# Keywords that are not supported, and would change where or how securely to connect if ignored.
_REFUSED = {
    "bindinterface": "connections cannot be bound to an interface; BindAddress can be used",
    "refuseconnection": "the connection is refused there",
    "proxyusefdpass": "a ProxyCommand cannot hand its connection over; let it carry the bytes",
}
# Not reported as unused: without meaning here, done by other means, or about checks that are always strict here.
_NOT_NAMED = frozenset(
    {
        "addkeystoagent", "batchmode", "canonicaldomains", "canonicalizefallbacklocal", "canonicalizehostname",
        "canonicalizemaxdots", "canonicalizepermittedcnames", "controlmaster", "controlpath", "escapechar", "exitonforwardfailure",
        "fingerprinthash", "host", "loglevel", "logverbose", "requesttty", "updatehostkeys", "visualhostkey", "xauthlocation",
    }
)  # fmt: skip


@dataclass(frozen=True)
class ConfigQuery:
    """Describe a query for OpenSSH's settings for one name.

    :param name: the host as the user wrote it.
    :param user: the remote user, if set elsewhere; Match may depend on it.
    :param port: the port, if set elsewhere.
    :param config_file: in place of the user's and the system's file; ``none`` for no file.
    :param arguments: further arguments of the ssh program.
    :param direct: whether to ignore ProxyJump, as the route is already known: a host may be its own jump host in ssh_config.
    """

    name: str
    user: str | None = None
    port: int | None = None
    config_file: str | None = None
    arguments: tuple[str, ...] = ()
    direct: bool = False

    @property
    def argv(self) -> tuple[str, ...]:
        """Return the arguments of the ssh program, of which the first value counts (ssh_config(5))."""
        file = ("-F", self.config_file) if self.config_file is not None else ()
        user = ("-l", self.user) if self.user is not None else ()
        port = ("-p", str(self.port)) if self.port is not None else ()
        # Before all others, so that it counts. ssh(1) rejects a second -J, so those of the arguments are removed.
        way = ("-o", "ProxyJump=none") if self.direct else ()
        arguments = _without_jump(self.arguments) if self.direct else self.arguments
        return ("-v", "-G", *file, *user, *port, *way, *arguments, "--", self.name)


def _without_jump(arguments: tuple[str, ...]) -> tuple[str, ...]:
    places = [place for place, word in enumerate(arguments) if word == "-J"]
    return tuple(word for place, word in enumerate(arguments) if place not in places and place - 1 not in places)


class RekeyLimit(NamedTuple):
    """Hold the bytes and seconds after which keys are renegotiated; 0 for the default limit."""

    bytes: int = 0
    seconds: int = 0


@dataclass(frozen=True)
class HostConfig:
    """Hold OpenSSH's settings for one name. Unset values are None or empty.

    :param host: HostName with its tokens expanded, or else the name.
    :param proxy_jump: with its tokens; None for ``none``.
    :param identity_files: paths with their tokens, as those of all files.
    :param connect_timeout: seconds.
    :param alive_interval: seconds.
    :param expanded: whether the tokens of known_hosts, identity_agent and forward_agent are already expanded.
    :param set_env: items are ``NAME=value``.
    :param persist: ControlPersist in seconds.
    :param unused: keywords that are set but have no effect here.
    :param warnings: warnings of the ssh program.
    :param before_login: query to repeat before each login, whose ``Match exec`` command may be what permits the login.
    """

    host: str
    user: str | None = None
    port: int | None = None
    proxy_jump: str | None = None
    proxy_command: str | None = None
    identity_files: tuple[str, ...] | None = None
    identities_only: bool | None = None
    identity_agent: str | None = None
    certificate_files: tuple[str, ...] = ()
    known_hosts: tuple[str, ...] | None = None
    global_known_hosts: tuple[str, ...] | None = None
    known_hosts_command: str | None = None
    checking: HostKeyChecking | None = None
    host_key_alias: str | None = None
    check_host_ip: bool | None = None
    hash_known_hosts: bool | None = None
    revoked_host_keys: str | None = None
    connect_timeout: float | None = None
    connection_attempts: int | None = None
    alive_interval: float | None = None
    alive_count: int | None = None
    compression: bool | None = None
    rekey_limit: RekeyLimit | None = None
    authentications: tuple[str, ...] | None = None
    refused_authentications: tuple[str, ...] = ()
    ciphers: tuple[str, ...] | None = None
    macs: tuple[str, ...] | None = None
    kex: tuple[str, ...] | None = None
    host_key_algorithms: tuple[str, ...] | None = None
    public_key_algorithms: tuple[str, ...] | None = None
    ca_algorithms: tuple[str, ...] | None = None
    rsa_bits: int | None = None
    address_family: str | None = None
    bind_address: str | None = None
    forward_agent: str | None = None
    set_env: tuple[str, ...] = ()
    send_env: tuple[str, ...] = ()
    persist: float | None = None
    unused: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    before_login: ConfigQuery | None = field(default=None, compare=False)
    expanded: bool = field(default=False, compare=False)  # about notation, not meaning


#: Returns the settings for a query; raises SettingsError if OpenSSH rejects its configuration.
ConfigLookup = Callable[[ConfigQuery], HostConfig]


def no_config(query: ConfigQuery) -> HostConfig:
    """Return the settings without any configuration."""
    return HostConfig(query.name)


#: Query for the default values. The answer also shows whether OpenSSH expands tokens in the paths it prints, as it does since 8.4.
BASELINE = ConfigQuery("nothing", config_file=NO_FILE, arguments=("-o", "IdentityAgent=%%"))


def read_answer(output: str, baseline: str, name: str) -> HostConfig:
    """Return the settings that ``ssh -G`` printed, without defaults.

    :param output: what it printed.
    :param baseline: what it printed for :data:`BASELINE`.
    :param name: the host that it was asked about.
    :raises SettingsError: an unsupported setting that must not be ignored, an unreadable value, or an answer about another host.
    """
    lines = _keywords(output)
    if lines.get("host", [name]) != [name]:
        raise SettingsError(
            f"{SOURCE} for {name}",
            f"ssh takes {sanitize(ascii(lines['host'][0]))} for the host; look at the arguments for ssh",
        )
    usual = _keywords(baseline)
    set_here = {keyword: values for keyword, values in lines.items() if usual.get(keyword) != values}
    for keyword, why in _REFUSED.items():
        if keyword in set_here:
            raise SettingsError(f"{SOURCE} for {name}: {keyword}", why)
    read = {
        field: _converted(convert, keyword, set_here[keyword], name)
        for keyword, (field, convert) in _FIELDS.items()
        if keyword in set_here
    }
    refused = tuple(method for keyword, method in _METHODS.items() if set_here.get(keyword, [""])[0] in ("no", "false"))
    known = {"hostname", *_FIELDS, *_METHODS, *_NOT_NAMED, *_REFUSED}
    found = HostConfig(
        host=lines.get("hostname", [name])[0],
        refused_authentications=refused,
        unused=tuple(keyword for keyword in set_here if keyword not in known),
        expanded=usual.get("identityagent") == ["%"],
    )
    said_here: dict[str, Any] = {field: value for field, value in read.items() if value is not None}
    return replace(found, **said_here)


def _converted(convert: Callable[[list[str]], object], keyword: str, values: list[str], name: str) -> object:
    try:
        return convert(values)
    except (ValueError, OverflowError):
        raise SettingsError(f"{SOURCE} for {name}: {keyword}", f"{sanitize(ascii(values[0]))} cannot be read") from None


def _keywords(output: str) -> dict[str, list[str]]:
    """Return a dictionary of keyword, in lower case, to its values, in order."""
    keywords: dict[str, list[str]] = {}
    for line in filter(None, output.split("\n")):
        keyword, _blank, value = line.partition(" ")
        keywords.setdefault(keyword.lower(), []).append(value)
    return keywords


def _one(values: list[str]) -> str | None:
    return None if values[0].lower() == "none" else values[0]


def _word(values: list[str]) -> str:
    return values[0]


def _all(values: list[str]) -> tuple[str, ...]:
    return tuple(values)


def _files(values: list[str]) -> tuple[str, ...]:
    """Return the paths, one per line; ``none`` is no file."""
    return tuple(value for value in values if value.lower() != "none")


def _paths(values: list[str]) -> tuple[str, ...]:
    """Return the paths of one line. ssh(1) prints no quotes, so a path that contains a blank looks like two.

    :raises ValueError: a path after the first is relative, so it may be the rest of another.
    """
    paths = tuple(path for path in values[0].split(" ") if path and path.lower() != "none")
    if not all(path.startswith(("/", "~")) for path in paths[1:]):
        raise ValueError("a path with a blank")
    return paths


def _names(values: list[str]) -> tuple[str, ...]:
    return tuple(name for name in values[0].split(",") if name)


def _flag(values: list[str]) -> bool:
    return values[0].lower() in ("yes", "true")


def _whole(values: list[str]) -> int | None:
    return None if values[0] == "none" else int(values[0])


def _seconds(values: list[str]) -> float | None:
    return None if values[0] in ("none", "no") else float(int(values[0]))


def _persist(values: list[str]) -> float | None:
    """Return ControlPersist in seconds; ``yes`` and 0 mean no limit."""
    if values[0] in ("yes", "0"):
        return float("inf")
    return _seconds(values)


def _rekey(values: list[str]) -> RekeyLimit:
    size, _blank, seconds = values[0].partition(" ")
    return RekeyLimit(int(size), int(seconds or 0))


def _checking(values: list[str]) -> HostKeyChecking:
    return _CHECKING.get(values[0].lower(), HostKeyChecking.STRICT)


_FIELDS: Mapping[str, tuple[str, Callable[[list[str]], object]]] = {
    "user": ("user", _word),
    "port": ("port", _whole),
    "proxyjump": ("proxy_jump", _one),
    "proxycommand": ("proxy_command", _one),
    "identityfile": ("identity_files", _files),
    "identitiesonly": ("identities_only", _flag),
    "identityagent": ("identity_agent", _word),
    "certificatefile": ("certificate_files", _files),
    "userknownhostsfile": ("known_hosts", _paths),
    "globalknownhostsfile": ("global_known_hosts", _paths),
    "knownhostscommand": ("known_hosts_command", _one),
    "stricthostkeychecking": ("checking", _checking),
    "hostkeyalias": ("host_key_alias", _one),
    "checkhostip": ("check_host_ip", _flag),
    "hashknownhosts": ("hash_known_hosts", _flag),
    "revokedhostkeys": ("revoked_host_keys", _one),
    "connecttimeout": ("connect_timeout", _seconds),
    "connectionattempts": ("connection_attempts", _whole),
    "serveraliveinterval": ("alive_interval", _seconds),
    "serveralivecountmax": ("alive_count", _whole),
    "compression": ("compression", _flag),
    "rekeylimit": ("rekey_limit", _rekey),
    "preferredauthentications": ("authentications", _names),
    "ciphers": ("ciphers", _names),
    "macs": ("macs", _names),
    "kexalgorithms": ("kex", _names),
    "hostkeyalgorithms": ("host_key_algorithms", _names),
    "pubkeyacceptedalgorithms": ("public_key_algorithms", _names),
    "casignaturealgorithms": ("ca_algorithms", _names),
    "requiredrsasize": ("rsa_bits", _whole),
    "addressfamily": ("address_family", _word),
    "bindaddress": ("bind_address", _one),
    "forwardagent": ("forward_agent", _word),
    "setenv": ("set_env", _all),
    "sendenv": ("send_env", _all),
    "controlpersist": ("persist", _persist),
}
_METHODS = {
    "pubkeyauthentication": "publickey",
    "passwordauthentication": "password",
    "kbdinteractiveauthentication": "keyboard-interactive",
}


def refusal(words: str) -> str:
    """Return why ssh(1) rejected a configuration, from its stderr: ``file line 3: Bad configuration option: x``."""
    lines = [line for line in words.splitlines() if not line.startswith(("debug", "OpenSSH_", "Pseudo-terminal"))]
    return sanitize("; ".join(line for line in lines if "terminating" not in line)) or "it gave no reason"


def files_read(words: str) -> tuple[str, ...]:
    """Return the configuration files that ``ssh -v`` read, from its stderr, where non-ASCII bytes are octal escapes."""
    names = re.findall(r"^debug1: Reading configuration data (.*?)\r?$", words, re.MULTILINE)
    return tuple(_from_octal(name) for name in names)


def warnings_in(words: str) -> tuple[str, ...]:
    """Return the warnings in ssh's stderr, such as of a missing key file of -i."""
    return tuple(sanitize(line) for line in words.splitlines() if line.startswith("Warning: "))


def _from_octal(name: str) -> str:
    data = re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), name)
    return data.encode("latin-1", "replace").decode("utf-8", "surrogateescape") if data != name else name
