# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection.
"""Expand OpenSSH's tokens (ssh_config(5), TOKENS) in one pass; an unknown token is an error."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from ..errors import SettingsError
from .model import Hop

# Tokens of KnownHostsCommand that are known only once connected.
_LATE = "HIKft"
# Characters special to a shell that valid_ruser (ssh.c) allows in a user name.
_SHELL = re.compile(r"[$\\*?\[\]~#!\s]")


@dataclass(frozen=True)
class Controller:
    """Describe the local side of connections.

    :param user: the local login name.
    :param uid: the local user's ID.
    :param home: the local user's home directory in the user database.
    :param host: this machine's name.
    :param environment: (name, value) pairs.
    """

    user: str
    uid: int = 0
    home: str = "/"
    host: str = "localhost"
    environment: tuple[tuple[str, str], ...] = field(default=(), repr=False)


@dataclass(frozen=True)
class TokenValues:
    """Hold the values of one host's tokens.

    :param host: the name or address to connect to.
    :param name: the host as the user wrote it.
    :param alias: HostKeyAlias.
    :param jump: the value of ProxyJump.
    """

    host: str
    name: str
    port: int
    user: str
    alias: str | None = None
    jump: str | None = None


def expand_command(template: str, hop: Hop) -> str:
    """Return the command line of a hop's ProxyCommand: ``%h`` host, ``%n`` host as given, ``%p`` port, ``%r`` user, ``%%``.

    :raises SettingsError: another token, a lone ``%`` at the end, or a user name with characters special to the shell.
    """
    user = hop.credentials.user
    if "%r" in template.replace("%%", "") and _SHELL.search(user):
        raise SettingsError(
            hop.proxy_setting, f"%r would put {user!r} into a shell command; write the user out, quoted"
        )
    return expand_route(template, TokenValues(hop.host, hop.name or hop.host, hop.port, user), hop.proxy_setting)


def expand_route(template: str, place: TokenValues, setting: str) -> str:
    """Return a ProxyCommand or ProxyJump with the tokens of one host expanded.

    :raises SettingsError: an unknown token.
    """
    return _expanded(template, _of_host(place), setting)


def _of_both(place: TokenValues, controller: Controller) -> dict[str, str]:
    short = controller.host.partition(".")[0]
    values = _of_host(place) | {
        "d": controller.home,
        "i": str(controller.uid),
        "j": place.jump or "",
        "k": place.alias or place.name,
        "L": short,
        "l": controller.host,
        "u": controller.user,
    }
    hashed = "".join(values[token] for token in "lhprj")
    values["C"] = hashlib.sha1(hashed.encode(), usedforsecurity=False).hexdigest()
    return values


def expand_path(template: str, place: TokenValues, controller: Controller, setting: str) -> str:
    """Return a path of ssh_config with tokens, ``${NAME}`` and ``~`` expanded.

    :raises SettingsError: an unknown token, or an environment variable that is not set.
    """
    path = _expanded(_with_environment(template, controller, setting), _of_both(place, controller), setting)
    return controller.home + path[1:] if path == "~" or path.startswith("~/") else path


def expand_early(template: str, place: TokenValues, controller: Controller, setting: str) -> str:
    """Return an argument of KnownHostsCommand, leaving the tokens of the connection to :func:`expand_late`.

    :raises SettingsError: an unknown token, or an environment variable that is not set.
    """
    values = {token: value.replace("%", "%%") for token, value in _of_both(place, controller).items()}
    values |= {token: f"%{token}" for token in _LATE}
    return _expanded(_with_environment(template, controller, setting), values, setting)


def expand_late(template: str, values: Mapping[str, str]) -> str:
    """Return an argument of KnownHostsCommand with the tokens of the connection expanded.

    :param values: the values of H (the name that is looked up), I (the reason), t, f and K (type, fingerprint and text of the host key).
    """
    return _expanded(template, {**values, "%": "%"}, "KnownHostsCommand")


def _of_host(place: TokenValues) -> dict[str, str]:
    return {"h": place.host, "n": place.name, "p": str(place.port), "r": place.user, "%": "%"}


def _expanded(template: str, values: Mapping[str, str], setting: str) -> str:
    known = " ".join(f"%{token}" for token in sorted(values, key=str.swapcase) if token != "%")

    def value(match: re.Match[str]) -> str:
        if match.group(1) not in values:
            raise SettingsError(setting, f"unknown token {match.group(0)!r}; known are {known} and %%")
        return values[match.group(1)]

    return re.sub(r"%(.?)", value, template, flags=re.DOTALL)


def _with_environment(template: str, controller: Controller, setting: str) -> str:
    environment = dict(controller.environment)

    def value(match: re.Match[str]) -> str:
        if match[1] not in environment:
            raise SettingsError(setting, f"the environment has no {match[1]}")
        return environment[match[1]].replace("%", "%%")

    return re.sub(r"\$\{([A-Za-z0-9_]+)\}", value, template)
