# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection.
"""Read ssh_config with paramiko where no OpenSSH client is installed, and reject what paramiko would misread.

paramiko treats Include as an ordinary setting, lets an unknown Match match everything, and loses whether ProxyJump or
ProxyCommand came first (paramiko issues 2632, 2663).
"""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Callable, Iterator, Mapping
from types import SimpleNamespace

from ..chain.openssh import NO_FILE, SOURCE, ConfigQuery
from ..errors import SettingsError, sanitize
from ..patched_paramiko.compat import paramiko
from .user_files import login_name

_USER_FILE = "~/.ssh/config"
_SYSTEM_FILE = "/etc/ssh/ssh_config"
_NO_CLIENT = (
    "that takes the ssh program to read, which is not installed here, or does not know this user; "
    "ansible_ssh_config_file can name another file, or 'none'"
)
_KEYWORD = re.compile(r"\s*(\w+)(?:\s*=\s*|\s+)(.*)")
_PLAIN_PATHS = re.compile(r"/[\w./*?-]*(\s+/[\w./*?-]*)*\s*")
_MATCHES = frozenset({"all", "host", "originalhost", "user", "localuser"})
_LISTS = frozenset(
    {"ciphers", "macs", "kexalgorithms", "hostkeyalgorithms", "pubkeyacceptedalgorithms", "casignaturealgorithms"}
)
# The keywords of ssh_config(5) of OpenSSH 10, which rejects any other as well.
_KEYWORDS = frozenset(
    {
        "addkeystoagent", "addressfamily", "batchmode", "bindaddress", "bindinterface", "canonicaldomains",
        "canonicalizefallbacklocal", "canonicalizehostname", "canonicalizemaxdots", "canonicalizepermittedcnames",
        "casignaturealgorithms", "certificatefile", "channeltimeout", "checkhostip", "ciphers", "clearallforwardings",
        "compression", "connectionattempts", "connecttimeout", "controlmaster", "controlpath", "controlpersist",
        "dynamicforward", "enableescapecommandline", "enablesshkeysign", "escapechar", "exitonforwardfailure",
        "fingerprinthash", "forkafterauthentication", "forwardagent", "forwardx11", "forwardx11timeout",
        "forwardx11trusted", "gatewayports", "globalknownhostsfile", "gssapiauthentication",
        "gssapidelegatecredentials", "hashknownhosts", "host", "hostbasedacceptedalgorithms",
        "hostbasedauthentication", "hostkeyalgorithms", "hostkeyalias", "hostname", "identitiesonly", "identityagent",
        "identityfile", "ignoreunknown", "ipqos", "kbdinteractiveauthentication", "kbdinteractivedevices",
        "kexalgorithms", "knownhostscommand", "localcommand", "localforward", "loglevel", "logverbose", "macs",
        "match", "nohostauthenticationforlocalhost", "numberofpasswordprompts", "obscurekeystroketiming",
        "passwordauthentication", "permitlocalcommand", "permitremoteopen", "pkcs11provider", "port",
        "preferredauthentications", "proxycommand", "proxyjump", "proxyusefdpass", "pubkeyacceptedalgorithms",
        "pubkeyauthentication", "refuseconnection", "rekeylimit", "remotecommand", "remoteforward", "requesttty",
        "requiredrsasize", "revokedhostkeys", "securitykeyprovider", "sendenv", "serveralivecountmax",
        "serveraliveinterval", "sessiontype", "setenv", "stdinnull", "streamlocalbindmask", "streamlocalbindunlink",
        "stricthostkeychecking", "syslogfacility", "tag", "tcpkeepalive", "tunnel", "tunneldevice", "updatehostkeys",
        "user", "userknownhostsfile", "verifyhostkeydns", "versionaddendum", "visualhostkey", "warnweakcrypto",
        "xauthlocation",
    }
)  # fmt: skip
# Options of ssh(1), and the equivalent keywords.
_OPTIONS = {
    "-J": "ProxyJump", "-i": "IdentityFile", "-l": "User", "-p": "Port", "-b": "BindAddress", "-c": "Ciphers", "-m": "MACs",
    "-B": "BindInterface", "-P": "Tag", "-I": "PKCS11Provider",
}  # fmt: skip
_SWITCHES = {
    "-C": "Compression yes", "-4": "AddressFamily inet", "-6": "AddressFamily inet6", "-A": "ForwardAgent yes",
    "-a": "ForwardAgent no",
}  # fmt: skip


def read_plainly(
    query: ConfigQuery, directory: str, environment: Mapping[str, str], read: Callable[[str], None]
) -> str:
    """Return the settings for a name in the format of ``ssh -G``.

    :param read: called with each file before it is read.
    :raises SettingsError: a file cannot be read, or only OpenSSH would read it correctly.
    """
    lines = [f"{_keyword_of(query.user, 'User')}{_keyword_of(query.port, 'Port')}", *_argument_lines(query.arguments)]
    for path in _files(query.config_file, directory, environment):
        read(path)
        lines += ["Host *", *_checked(path, optional=query.config_file is None)]
    _refuse_repetition(lines, query.name)
    # paramiko's getpass.getuser() prefers the environment, and raises if the user has no name.
    paramiko.config.getpass = SimpleNamespace(getuser=login_name)  # type: ignore[attr-defined]
    try:
        found = _Config.from_text("\n".join(lines)).lookup(query.name)
    except Exception as error:
        raise SettingsError(
            f"{SOURCE} for {query.name}", f"it cannot be read: {sanitize(str(error))}; {_NO_CLIENT}"
        ) from error
    if found.get("proxyjump") is not None and found.get("proxycommand") is not None:
        raise SettingsError(f"{SOURCE} for {query.name}", f"both ProxyJump and ProxyCommand apply: {_NO_CLIENT}")
    return "\n".join(f"{keyword} {value}" for keyword, value in _answers(found, environment))


def _refuse_repetition(lines: list[str], name: str) -> None:
    """Reject repeated keywords of which OpenSSH uses all values, and paramiko only the first."""
    keywords = [found[1].lower() for line in lines if (found := _KEYWORD.match(line))]
    for keyword in ("certificatefile", "sendenv", "setenv"):
        if keywords.count(keyword) > 1:
            raise SettingsError(f"{SOURCE} for {name}", f"{keyword} more than once: {_NO_CLIENT}")


class _Config(paramiko.SSHConfig):
    """Expand only ``%h`` of HostName, as ``ssh -G`` does; other tokens are expanded later."""

    TOKENS_BY_CONFIG_KEY = {"hostname": ["%h"]}  # noqa: RUF012


def _keyword_of(value: object, keyword: str) -> str:
    return "" if value is None else f"{keyword} {value}\n"


def _files(config_file: str | None, directory: str, environment: Mapping[str, str]) -> list[str]:
    if config_file == NO_FILE:
        return []
    if config_file is not None:
        return [os.path.join(directory, os.path.expanduser(config_file))]
    home = environment.get("HOME") or os.path.expanduser("~")
    return [_USER_FILE.replace("~", home), _SYSTEM_FILE]


def _checked(path: str, optional: bool) -> Iterator[str]:
    """Yield the lines of a file, and reject those that paramiko would misread."""
    try:
        # Lines end in LF only, as for OpenSSH, lest the rest of a line become a setting.
        with open(path, encoding="utf-8", errors="surrogateescape", newline="\n") as stream:
            text = stream.read()
    except FileNotFoundError as error:
        if optional:
            return
        raise SettingsError(path, f"it cannot be read: {error.strerror}") from error
    except OSError as error:
        raise SettingsError(path, f"it cannot be read: {error.strerror or error}") from error
    for number, line in enumerate(text.split("\n"), 1):
        if not _includes_nothing(line):
            _check(line, f"{path}:{number}")
            yield line


def _includes_nothing(line: str) -> bool:
    """Return whether a line includes only files that do not exist, as the one in Debian's ssh_config may."""
    found = _KEYWORD.match(line)
    if found is None or found[1].lower() != "include" or not _PLAIN_PATHS.fullmatch(found[2]):
        return False
    return not any(glob.glob(pattern) for pattern in found[2].split())


def _check(line: str, where: str) -> None:
    found = _KEYWORD.match(line)
    if found is None:
        return
    keyword, value = found[1].lower(), found[2].strip()
    if keyword == "include" or (keyword == "canonicalizehostname" and value.lower() != "no"):
        raise SettingsError(where, f"{found[1]}: {_NO_CLIENT}")
    if keyword == "match":
        words = [word.lstrip("!").lower() for word in value.split()]
        unknown = [word for word in words[:1] + words[2::2] if word not in _MATCHES]
        if unknown:
            raise SettingsError(where, f"Match {sanitize(unknown[0], 40)}: {_NO_CLIENT}")
    if keyword not in _KEYWORDS:
        raise SettingsError(where, f"no such keyword: {sanitize(found[1], 40)}")
    if keyword in ("host", "match") and "[" in value:
        raise SettingsError(where, f"{found[1]} with [: {_NO_CLIENT}")
    if keyword == "setenv" and len(value.split()) > 1:
        raise SettingsError(where, f"{found[1]} of several: {_NO_CLIENT}")
    if keyword in _LISTS and value[:1] in ("+", "-", "^"):
        raise SettingsError(where, f"{found[1]} {sanitize(value[:1])}: {_NO_CLIENT}")


def _argument_lines(arguments: tuple[str, ...]) -> Iterator[str]:
    """Yield arguments as lines of a file, to be read before all others."""
    left = iter(arguments)
    for option in left:
        if option in _SWITCHES:
            yield _SWITCHES[option]
            continue
        value = next(left, "")
        line = f"{_OPTIONS[option]} {value}" if option in _OPTIONS else value
        if "\n" in line:
            raise SettingsError(f"-o {sanitize(line, 60)}", f"a line of several: {_NO_CLIENT}")
        _check(line, f"-o {sanitize(line, 60)}")
        yield line


def _answers(found: Mapping[str, object], environment: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    home = environment.get("HOME") or os.path.expanduser("~")
    for keyword, value in found.items():
        for each in value if isinstance(value, list) else [value]:
            text = "none" if each is None else str(each)
            if keyword in ("userknownhostsfile", "globalknownhostsfile"):
                text = " ".join(f"{home}{path[1:]}" if path.startswith("~/") else path for path in text.split())
            yield keyword, text
