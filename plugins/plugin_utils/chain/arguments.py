# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection.
"""Parse arguments for the ssh program: ``ansible_ssh_args``, ``ansible_ssh_common_args`` and ``ansible_ssh_extra_args``.

Those with a meaning here are passed to ``ssh -G``, which interprets them (see openssh.py).
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ..errors import SettingsError, sanitize
from .spec import is_none

# The options of ssh(1), with and without a value.
_WITH_VALUE = frozenset("BDEFIJLOPQRSWbceilmopw")
_WITHOUT_VALUE = frozenset("46AaCfGgKkMNnqsTtVvXxYy")
_MEANT = frozenset("46AaCBIJbcilmop")
# Dropped without a warning: terminals, verbosity, and connection sharing, which the broker does.
_NEEDLESS = frozenset("EMSTkqtvx")
_STDIO = "its -W would make it carry something else than the session"


@dataclass(frozen=True)
class Arguments:
    """Hold the parsed arguments for the ssh program.

    :param asked: argv to pass to ``ssh -G``.
    :param config_file: the value of -F.
    :param unused: arguments without effect here, for messages.
    :param jump: arguments that set jump hosts, for messages.
    """

    asked: tuple[str, ...] = ()
    config_file: str | None = None
    unused: tuple[str, ...] = ()
    jump: tuple[str, ...] = ()


def read_arguments(texts: Iterable[tuple[str, str]]) -> Arguments:
    """Parse arguments, split as by a shell.

    :param texts: pairs of (variable, text), in the order in which ``ansible.builtin.ssh`` passes them.
    :raises SettingsError: an unclosed quote, an option unknown to ssh(1), -W, or a word that is no option.
    """
    asked: list[str] = []
    unused: list[str] = []
    jump: list[str] = []
    config_file = None
    for setting, text in texts:
        for letter, value in _options(_words(text, setting), setting):
            option = f"-{letter}"
            if letter == "F":
                config_file = value  # the last one counts, as in ssh(1)
            elif letter == "P" and value is not None:  # before OpenSSH 9.4 it had no value
                asked += ["-o", f"Tag={value}"]
            elif letter == "W":
                raise SettingsError(setting, _STDIO)
            elif letter in _MEANT:
                jump += [f"{option} of {setting}"] if _sets_jump(letter, value or "") else []
                asked += [option] if value is None else [option, value]
            elif letter not in _NEEDLESS:
                unused.append(f"{option} of {setting}")
    return Arguments(tuple(asked), config_file, tuple(unused), tuple(jump))


def _sets_jump(letter: str, value: str) -> bool:
    """Return whether an option names jump hosts, and not ``none``."""
    keyword, hosts = ("proxyjump", value) if letter == "J" else (value.replace("=", " ").partition(" ")[::2])
    return letter in "Jo" and keyword.lower() == "proxyjump" and not is_none(hosts)


def _words(text: str, setting: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as error:
        raise SettingsError(setting, f"it cannot be split into arguments: {error}") from None


def _options(words: list[str], setting: str) -> Iterator[tuple[str, str | None]]:
    """Yield letter and value of each option, as getopt(3) does."""
    left = iter(words)
    for word in left:
        if len(word) < 2 or not word.startswith("-") or word == "--":
            raise SettingsError(setting, f"{sanitize(ascii(word), 60)} is no option of ssh")
        letters = word[1:]
        while letters:
            letter, letters = letters[0], letters[1:]
            if letter in _WITH_VALUE:
                value = letters or next(left, None)
                if value is None:
                    raise SettingsError(setting, f"-{letter} lacks its value")
                yield letter, value
                break
            if letter not in _WITHOUT_VALUE:
                raise SettingsError(setting, f"-{sanitize(letter)} is no option of ssh")
            yield letter, None
