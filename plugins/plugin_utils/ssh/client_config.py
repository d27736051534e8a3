# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""OpenSSH's client is asked for its settings (``ssh -G``): once per name, until a file that it read changes.

Where there is no such client, paramiko reads the files.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any, NamedTuple

from ..chain.openssh import NO_FILE, SOURCE, Ask, Effective, Query, files_read, read_answer, refusal
from ..errors import SettingsError
from .plain_config import read_plainly

_SECONDS = 30.0
# No two shells have the same, and no configuration asks for them.
_VOLATILE = frozenset({"_", "SHLVL", "OLDPWD", "PWD"})
# The client's words where nobody knows who runs it, as in a container whose user has no name.
_NAMELESS = "No user exists for uid"
# ${NAME}, and Match exec, whose command sees the environment.
_OF_ENVIRONMENT = re.compile(r"\$\{|\bexec\b", re.IGNORECASE)
_Stamp = tuple[int, ...]


class _Answer(NamedTuple):
    """What the client says.

    :param of_environment: whether it may say something else in another environment.
    """

    said: Effective
    of_environment: bool


class NoClient(Exception):
    """There is no OpenSSH client that can be asked."""


class ClientConfig:
    """What OpenSSH's client says of names. Everything here may be called from any thread.

    :param program: the client.
    """

    def __init__(self, program: str = "ssh") -> None:
        self._program = program
        self._lock = threading.Lock()
        self._known: dict[object, Future[Any]] = {}
        self._files: dict[str, _Stamp | None] = {}
        self._version = 0

    def version(self) -> int:
        """Another number when a file that was read has changed; what was known is forgotten then."""
        with self._lock:
            if any(_stamp(path) != stamp for path, stamp in self._files.items()):
                self._version += 1
                self._known.clear()
                self._files.clear()
            return self._version

    def asker(self, directory: str, environment: Mapping[str, str]) -> Ask:
        """Asks in the surroundings of a play."""
        around = tuple(sorted((name, value) for name, value in environment.items() if name not in _VOLATILE))

        def ask(query: Query) -> Effective:
            if query.config_file == NO_FILE and not query.arguments:
                return Effective(query.name)
            known = self._known.get(_everywhere(query, directory))
            answer: _Answer = (
                known.result()
                if known
                else self._once((directory, around, query), lambda: self._answer(query, directory, environment))
            )
            return answer.said

        return ask

    def _answer(self, query: Query, directory: str, environment: Mapping[str, str]) -> _Answer:
        nothing = Query("nothing", config_file=NO_FILE)
        started = time.time_ns()
        try:
            usual = self._once(nothing, lambda: self._run(nothing, "/", environment)[0])
            output, files = self._run(query, directory, environment)
        except NoClient:
            usual, files = "", []
            output = read_plainly(query, directory, environment, lambda path: self._read(path, started))
        answer = _Answer(read_answer(output, usual, query.name), _speak_of_the_environment(query, files))
        if not answer.of_environment:
            done: Future[Any] = Future()
            done.set_result(answer)
            with self._lock:
                self._known[_everywhere(query, directory)] = done
        return answer

    def _once(self, key: object, work: Callable[[], Any]) -> Any:
        """One asks; whoever else wants to know the same meanwhile, or later, has the same answer."""
        mine: Future[Any] = Future()
        with self._lock:
            future = self._known.setdefault(key, mine)
        if future is mine:
            try:
                mine.set_result(work())
            except BaseException as error:
                with self._lock:  # an error is for those who wait for it
                    if self._known.get(key) is mine:
                        del self._known[key]
                mine.set_exception(error)
        return future.result()

    def _run(self, query: Query, directory: str, environment: Mapping[str, str]) -> tuple[str, list[str]]:
        """What the client prints, and the files that it has read.

        :raises SettingsError: it refuses what it reads, or does not end.
        :raises NoClient: there is none.
        """
        setting = f"{SOURCE} for {query.name}"
        started = time.time_ns()
        try:
            process = subprocess.Popen(
                [self._program, *query.argv],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd=directory,
                env=environment,
                start_new_session=True,  # so that nothing that Match exec starts can ask, or go on
                encoding="utf-8",
                errors="surrogateescape",
            )
        except FileNotFoundError:
            raise NoClient from None
        except OSError as error:
            raise SettingsError(setting, f"{self._program} cannot be started: {error.strerror or error}") from error
        try:
            output, words = process.communicate(timeout=_SECONDS)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            raise SettingsError(
                setting, f"'ssh -G' did not end within {_SECONDS:g} seconds; does a Match exec, or a name server, hang?"
            ) from None
        if process.returncode:
            if _NAMELESS in words:
                raise NoClient
            raise SettingsError(setting, f"OpenSSH refuses it: {refusal(words)}")
        files = [os.path.join(directory, path) for path in files_read(words)]
        for path in files:
            self._read(path, started)
        return output, files

    def _read(self, path: str, started: int) -> None:
        """Takes note that a file was read, and how it was then; None for one that may have changed meanwhile."""
        stamp = _stamp(path)
        with self._lock:
            self._files.setdefault(path, stamp if max(stamp[-2:]) < started else None)


def _stamp(path: str) -> _Stamp:
    try:
        found = os.stat(path)
    except OSError as error:
        return error.errno or 0, 0, 0
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _everywhere(query: Query, directory: str) -> object:
    """A question in any environment; the path of an argument may be relative."""
    return query, directory if query.arguments else ""


def _speak_of_the_environment(query: Query, files: list[str]) -> bool:
    try:
        texts = [Path(path).read_text("utf-8", "surrogateescape") for path in files]
    except OSError:  # it has changed since
        return True
    return any(map(_OF_ENVIRONMENT.search, [*texts, *query.arguments]))
