# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection.
"""Validate host and user names by the rules of OpenSSH's ``valid_hostname`` and ``valid_ruser`` (ssh.c).

A name may become part of a ProxyCommand's shell command, so it is checked wherever it comes from (CVE-2023-51385,
CVE-2025-61984, CVE-2025-61985).
"""

from __future__ import annotations

import itertools
import re

from ..errors import SettingsError, sanitize

_SHELL_HOST = frozenset("'`\"$\\;&<>|(){}")
# Never part of a name or address, and special in known_hosts.
_PATTERN = frozenset("*?!#")
_SHELL_USER = frozenset("'`\";&<>|(){}")
_HIGHEST_PORT = 65535


def _is_control(character: str) -> bool:
    return not character.isprintable() and not character.isspace()


def check_host(host: object, setting: str) -> str:
    """Return a host name or address, without the brackets around an IPv6 address.

    :raises SettingsError: it is not text, is empty, starts with ``-``, contains a user, a scheme or a port, or a character
        special to a shell, a terminal or known_hosts.
    """
    if isinstance(host, str) and host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    if isinstance(host, str) and ("@" in host or "://" in host):
        problem = "has more in it than a name; user and port are settings of their own"
        raise SettingsError(setting, f"the host name {sanitize(ascii(host))} {problem}")
    name = _check_name(host, setting, "/")
    if name.count(":") == 1:
        raise SettingsError(
            setting, f"the host name {sanitize(ascii(name))} has a port in it, which is a setting of its own"
        )
    return name


def _check_name(name: object, setting: str, refused: str) -> str:
    """Return a name if it has no character special to a shell, a terminal or known_hosts.

    :param refused: further characters that are refused.
    """
    if not isinstance(name, str):
        raise SettingsError(setting, f"a host name is text, not {type(name).__name__}")
    if not name:
        raise SettingsError(setting, "the host name is empty")
    if name.startswith("-"):
        raise SettingsError(setting, f"the host name {sanitize(name)!r} starts with '-'")
    if any(c in _SHELL_HOST or c in _PATTERN or c.isspace() or _is_control(c) or c in "[]," + refused for c in name):
        raise SettingsError(
            setting, f"the host name {sanitize(ascii(name))} has a character that is not allowed in one"
        )
    return name


def check_alias(alias: object, setting: str) -> str:
    """Return a name to look up in known_hosts: ``[name]:port``, or a name, which may contain ``/``, ``:`` and ``@``.

    :raises SettingsError: anything else.
    """
    bracketed = re.fullmatch(r"\[([^\]]*)\]:(.*)", alias, re.DOTALL) if isinstance(alias, str) else None
    if bracketed is None:
        # At the beginning of a line, @ introduces a marker (sshd(8)).
        return _check_name(alias, setting, "@" if isinstance(alias, str) and alias.startswith("@") else "")
    return f"[{check_host(bracketed[1], setting)}]:{check_port(bracketed[2], setting)}"


def check_user(user: object, setting: str) -> str:
    """Return a user name unchanged.

    :raises SettingsError: it is not text, is empty, starts with ``-``, has one after a blank, ends in a backslash, or has a
        character special to a shell or a terminal.
    """
    if not isinstance(user, str):
        raise SettingsError(setting, f"a user name is text, not {type(user).__name__}")
    if not user:
        raise SettingsError(setting, "the user name is empty")
    dashed = any(first.isspace() and second == "-" for first, second in itertools.pairwise(user))
    if user.startswith("-") or user.endswith("\\") or dashed:
        raise SettingsError(setting, f"the user name {sanitize(ascii(user))} is not allowed")
    if any(c in _SHELL_USER or (not c.isprintable() and c != " ") for c in user):
        raise SettingsError(
            setting, f"the user name {sanitize(ascii(user))} has a character that is not allowed in one"
        )
    return user


def check_port(port: object, setting: str) -> int:
    """Return a port from 1 to 65535, given as a number or as ASCII digits.

    :raises SettingsError: anything else.
    """
    number = port
    if isinstance(port, str) and port.isascii() and port.isdigit():
        number = int(port.lstrip("0")[:6] or "0")
    if isinstance(number, bool) or not isinstance(number, int) or not 1 <= number <= _HIGHEST_PORT:
        raise SettingsError(setting, f"{sanitize(ascii(port))} is not a port (1 to {_HIGHEST_PORT})")
    return number
