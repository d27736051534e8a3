# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection.
"""One family of errors: what went wrong, at which hop, and what a person can do about it."""

from __future__ import annotations

import re

# Enough of a server's words to act on; a hostile banner must not fill a terminal.
_SAID_LIMIT = 300
_LOOKED_AT = 20  # times as much, as blanks are taken out; a packet may have a thousand times as much

#: The place of what goes wrong on this side.
CONTROLLER = "on the controller"


def sanitize(text: str | bytes | None, limit: int = _SAID_LIMIT) -> str:
    """Words of a server or a local command, made safe to show in one line.

    Control characters (terminal escapes among them) and bidirectional overrides become spaces, template
    delimiters are taken apart so that no later templating renders them, and the length is bounded.

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
    """The family: whatever this collection raises on purpose."""


class SettingsError(JumpError):
    """A variable or option that cannot be used; raised before any process or socket.

    :param setting: the name of the variable as the user wrote it, such as ``ansible_ssh_jump[1].port``.
    :param problem: what is wrong with it, never quoting a secret.
    """

    def __init__(self, setting: str, problem: str) -> None:
        super().__init__(f"{setting}: {problem}")
        self.setting = setting
        self.problem = problem


class LocatedError(JumpError):
    """Something that went wrong at a place.

    :param place: a hop, as ``jump host 2 of 2 user@host:port (via user@host:port)``, or :data:`CONTROLLER`.
    :param problem: what happened there.
    :param advice: what a person can do about it.
    """

    def __init__(self, place: str, problem: str, advice: str) -> None:
        super().__init__(f"{place}: {problem.rstrip('.')}. {advice}")
        self.place = place
        self.problem = problem
        self.advice = advice


class CommandError(LocatedError):
    """What was asked for failed, and no connection is at fault: privilege escalation, a file, a defect."""


class EscalationTimeout(CommandError):
    """A privilege escalation program that showed neither its prompt nor the start of the command in time."""


class HopError(LocatedError):
    """A hop that could not be reached, trusted, logged in to, or that was lost.

    :cvar retry: whether dialling once more can help.
    """

    retry = False


class HopUnreachable(HopError):
    """No connection, no SSH conversation, or no answer in time; nothing was refused."""

    retry = True


class HopTemporarilyUnavailable(HopUnreachable):
    """The hop took no connection, and may take one a moment later: it restarts, or has too many logins at once."""


class SessionLimitReached(HopUnreachable):
    """The hop opens no further session on this connection; on another one it may."""


class ForwardingRefused(HopError):
    """The hop before it may not, or will not, forward to this one."""


class AlgorithmsRefused(HopError):
    """Both sides share no algorithm that is safe to use."""


class HostKeyRefused(HopError):
    """The host key is unknown, changed or revoked, or could not be checked."""


class HostKeyUnknown(HostKeyRefused):
    """Nothing is known of the host, for or against its key."""


class LoginRefused(HopError):
    """The hop refused every credential that it was offered."""


class LinkLost(HopError):
    """The connection ended while something was under way on it; it may or may not have taken effect."""


def to_wire(error: JumpError) -> dict[str, object]:
    """An error as JSON's types, to be told by another process."""
    if isinstance(error, LocatedError):
        values = [error.place, error.problem, error.advice]
    elif isinstance(error, SettingsError):
        values = [error.setting, error.problem]
    else:
        values = [str(error)]
    return {"kind": type(error).__name__, "values": values}


def from_wire(data: dict[str, object]) -> JumpError:
    """The error that was packed."""
    kinds = {kind.__name__: kind for kind in _family(JumpError)}
    values = data["values"]
    if not isinstance(values, list):
        raise TypeError("no error")
    return kinds[str(data["kind"])](*map(str, values))


def _family(kind: type[JumpError]) -> list[type[JumpError]]:
    return [kind, *(member for child in kind.__subclasses__() for member in _family(child))]
