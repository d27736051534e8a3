# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection.
"""Define the errors of the collection: what went wrong, at which hop, and what the user can do about it."""

from __future__ import annotations

import re

# Characters: enough of a server's message to act on, and too few for a hostile banner to fill a terminal.
_SAID_LIMIT = 300
_LOOKED_AT = 20  # examine at most this multiple of the limit: blanks collapse, and a packet may be huge

#: The ``place`` of errors on the controller.
CONTROLLER = "on the controller"


def sanitize(text: str | bytes | None, limit: int = _SAID_LIMIT) -> str:
    """Return the text of a server or a local command, made safe to show on one line.

    Control characters (such as terminal escapes) and bidirectional overrides become spaces, template
    delimiters are separated so that no later templating renders them, and the length is limited.

    :param limit: characters kept.
    """
    if text is None:
        return ""
    if isinstance(text, bytes):
        text = text.decode("utf-8", "replace")
    text = text[: _LOOKED_AT * limit]
    text = "".join(character if character.isprintable() else " " for character in text)
    text = re.sub(r"([{}])(?=[{}%#])|([%#])(?=})", r"\1\2 ", " ".join(text.split()))
    return text if len(text) <= limit else text[:limit] + "..."


class JumpError(Exception):
    """Serve as the base class of all errors of this collection."""


class SettingsError(JumpError):
    """Report a variable or option that cannot be used; raised before any process or socket is opened.

    :param setting: the name of the variable as the user wrote it, such as ``ansible_ssh_jump[1].port``.
    :param problem: what is wrong with it, never quoting a secret.
    """

    def __init__(self, setting: str, problem: str) -> None:
        super().__init__(f"{setting}: {problem}")
        self.setting = setting
        self.problem = problem


class LocatedError(JumpError):
    """Report a problem at a hop or on the controller.

    :param place: a hop, as ``jump host 2 of 2 user@host:port (via user@host:port)``, or :data:`CONTROLLER`.
    :param problem: what happened there.
    :param advice: what the user can do about it.
    """

    def __init__(self, place: str, problem: str, advice: str) -> None:
        super().__init__(f"{place}: {problem.rstrip('.')}. {advice}")
        self.place = place
        self.problem = problem
        self.advice = advice


class CommandError(LocatedError):
    """Report a failure that is not the connection's: privilege escalation, a file, a bug."""


class EscalationTimeout(CommandError):
    """Report that a privilege escalation program neither prompted nor started the command in time."""


class HopError(LocatedError):
    """Report a hop that could not be reached, trusted or logged in to, or whose connection was lost.

    :cvar retry: whether another connection attempt can help.
    """

    retry = False


class HopUnreachable(HopError):
    """Report that there was no connection, no SSH server, or no answer in time; nothing was refused."""

    retry = True


class HopTemporarilyUnavailable(HopUnreachable):
    """Report a hop that accepts no connection for now, as it restarts or has too many logins at once."""


class SessionLimitReached(HopUnreachable):
    """Report that the hop opens no further session on this connection; a new connection may help."""


class ForwardingRefused(HopError):
    """Report that the previous hop does not forward to this one."""


class AlgorithmsRefused(HopError):
    """Report that both sides have no safe algorithm in common."""


class HostKeyRefused(HopError):
    """Report a host key that is unknown, changed or revoked, or that could not be checked."""


class HostKeyUnknown(HostKeyRefused):
    """Report a host of which no key is known."""


class LoginRefused(HopError):
    """Report that the hop refused every credential offered."""


class LinkLost(HopError):
    """Report that the connection ended during an operation, which may or may not have taken effect."""


def to_wire(error: JumpError) -> dict[str, object]:
    """Return the error as JSON types, for :func:`from_wire` in another process."""
    if isinstance(error, LocatedError):
        values = [error.place, error.problem, error.advice]
    elif isinstance(error, SettingsError):
        values = [error.setting, error.problem]
    else:
        values = [str(error)]
    return {"kind": type(error).__name__, "values": values}


def from_wire(data: dict[str, object]) -> JumpError:
    """Return the error that :func:`to_wire` serialized.

    :raises KeyError: the kind is unknown or an item is missing.
    :raises TypeError: the data is malformed.
    """
    kinds = {kind.__name__: kind for kind in _family(JumpError)}
    values = data["values"]
    if not isinstance(values, list):
        raise TypeError("no error")
    return kinds[str(data["kind"])](*map(str, values))


def _family(kind: type[JumpError]) -> list[type[JumpError]]:
    return [kind, *(member for child in kind.__subclasses__() for member in _family(child))]
