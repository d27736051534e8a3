# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection.
"""Arguments that were written for the ssh program (``ansible_ssh_common_args`` and its siblings): which of them OpenSSH is
asked about, and which have no meaning here. What they mean is OpenSSH's matter (see openssh.py)."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ..errors import SettingsError, sanitize
from .spec import is_none

# Of ssh(1); all others take no value.
_WITH_VALUE = frozenset("BDEFIJLOPQRSWbceilmopw")
_WITHOUT_VALUE = frozenset("46AaCfGgKkMNnqsTtVvXxYy")
_MEANT = frozenset("46AaCBIJbcilmop")
# They say nothing of a connection that Ansible uses: terminals, verbosity, what the broker does instead.
_NEEDLESS = frozenset("EMSTkqtvx")
_STDIO = "its -W would make it carry something else than the session"


@dataclass(frozen=True)
class Arguments:
    """What was written for the ssh program.

    :param asked: what OpenSSH is asked about, in its order.
    :param config_file: of -F.
    :param unused: arguments that have no effect here.
    :param jump: those that set jump hosts.
    """

    asked: tuple[str, ...] = ()
    config_file: str | None = None
    unused: tuple[str, ...] = ()
    jump: tuple[str, ...] = ()


def read_arguments(texts: Iterable[tuple[str, str]]) -> Arguments:
    """Reads arguments as a shell would split them.

    :param texts: (the variable's name, its text), in the order in which ``ansible.builtin.ssh`` hands them over.
    :raises SettingsError: quotes that do not end, an option that ssh(1) does not have, or a word that is none.
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
    """Whether an option names jump hosts, other than with the word for none of them."""
    keyword, hosts = ("proxyjump", value) if letter == "J" else (value.replace("=", " ").partition(" ")[::2])
    return letter in "Jo" and keyword.lower() == "proxyjump" and not is_none(hosts)


def _words(text: str, setting: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as error:
        raise SettingsError(setting, f"it cannot be split into arguments: {error}") from None


def _options(words: list[str], setting: str) -> Iterator[tuple[str, str | None]]:
    """Letter and value of each option, as getopt(3) finds them."""
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
