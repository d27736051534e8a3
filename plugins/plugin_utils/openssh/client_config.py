# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection.
"""OpenSSH's client is asked for its settings (``ssh -G``): once per name, until a file that it read changes.

Where one of the files has a ``Match exec``, it is asked again before each login: the command may be what makes that possible, as it
pushes a key that is good for a minute (EC2 Instance Connect), or has a certificate signed (cloudflared).

Where there is no such client, paramiko reads the files.
"""

from __future__ import annotations

import contextlib
import math
import os
import re
import shlex
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from ..chain.openssh import (
    BASELINE,
    NO_FILE,
    SOURCE,
    ConfigLookup,
    ConfigQuery,
    HostConfig,
    files_read,
    read_answer,
    refusal,
    warnings_in,
)
from ..errors import SettingsError
from ..recent import digest
from .plain_config import read_plainly
from .user_files import Version, home, version_of

_SECONDS = 15.0
_ANSWERS_KEPT = 4096  # of which each run may have its own, in its own environment
_SYSTEM_FILE = "/etc/ssh/ssh_config"
_INCLUDE = re.compile(r"^\s*include[\s=]+(.*)$", re.IGNORECASE | re.MULTILINE)
# No two shells have the same, and no configuration asks for them.
_VOLATILE = frozenset({"_", "SHLVL", "OLDPWD", "PWD"})
# The client's words where nobody knows who runs it, as in a container whose user has no name.
_NAMELESS = "No user exists for uid"
# ${NAME}, and Match exec, whose command sees the environment.
_EXEC = re.compile(r"^\s*match\b.*\bexec\b", re.IGNORECASE | re.MULTILINE)
_JUST_NOW = 5.0  # seconds for which an answer does for a login, once; ours
_OF_ENVIRONMENT = re.compile(r"\$\{|\bexec\b", re.IGNORECASE)


class _Answer(NamedTuple):
    """What the client says.

    :param of_environment: whether it may say something else in another environment.
    """

    sanitize: HostConfig
    of_environment: bool


class _InRun(NamedTuple):
    """A question that may have another answer in another environment.

    :param around: a digest of the environment, which may have secrets.
    """

    directory: str
    around: str
    query: ConfigQuery


class _Printed(NamedTuple):
    """One run of the client."""

    output: str
    files: tuple[str, ...]
    warnings: tuple[str, ...]


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
        self._asked: set[_InRun] = set()  # since :meth:`forget_runs`
        self._unused: dict[
            _InRun, float
        ] = {}  # when what runs a Match exec was asked, for a login that has not come yet
        self._files: dict[str, Version | None] = {}
        self._version = 0

    def version(self) -> int:
        """Another number when a file that was read has changed; what was known is forgotten then."""
        with self._lock:
            files, version = dict(self._files), self._version
        if any(version_of(path) != stamp for path, stamp in files.items()):
            with self._lock:
                if self._version == version:
                    self._version += 1
                    self._known.clear()
                    self._files.clear()
        return self._version

    def config_lookup(self, directory: str, environment: Mapping[str, str]) -> ConfigLookup:
        """Asks in the exec_context of a play."""
        around = _around(environment)

        def ask(query: ConfigQuery) -> HostConfig:
            if query.config_file == NO_FILE and not query.arguments:
                return HostConfig(query.name)
            known = self._known.get(_everywhere(query, directory))
            if known is None:
                key = _InRun(directory, around, query)
                self._asked.add(key)
                known = self._once(key, lambda: self._answer(key, environment))
            answer: _Answer = known.result()
            return answer.sanitize

        return ask

    def ask_anew(self, query: ConfigQuery, directory: str, environment: Mapping[str, str]) -> bool:
        """Asks once more, for a login, unless that was done just now and for no login yet; whether the answer is another one."""
        key = _InRun(directory, _around(environment), query)
        with self._lock:
            asked, known = self._unused.pop(key, -math.inf), self._known.get(key)
        if time.monotonic() - asked < _JUST_NOW:
            return False
        answer = self._answer(key, environment)
        before = known.result() if known is not None and known.done() and known.exception() is None else None
        changed = before != answer
        done: Future[Any] = Future()
        done.set_result(answer)
        with self._lock:
            self._asked.add(key)
            self._known[key] = done
            if changed:
                self._version += 1
            else:
                self._unused.pop(key, None)  # it was for this login
        return changed

    def forget_runs(self, unused: bool) -> None:
        """Lets go of answers that may have something of an environment.

        :param unused: of those only that were not asked for since the last time.
        """
        with self._lock:
            kept, self._asked = self._asked if unused else set(), set()
            self._known = {
                key: known for key, known in self._known.items() if not isinstance(key, _InRun) or key in kept
            }
            self._unused = {key: asked for key, asked in self._unused.items() if key in kept}

    def _answer(self, key: _InRun, environment: Mapping[str, str]) -> _Answer:
        query, directory = key.query, key.directory
        version, started = self._version, time.time_ns()
        warnings: tuple[str, ...] = ()
        try:
            found = self._run(query, directory, environment)
            usual = self._once(BASELINE, lambda: self._run(BASELINE, "/", environment).output).result()
            output, warnings = found.output, found.warnings
            files = {*found.files, *_usual_files(query)}
        except NoClient:
            usual, files = "", set()
            output = read_plainly(query, directory, environment, files.add)
        runs = any(map(_EXEC.search, map(_text, files)))
        sanitize = replace(
            read_answer(output, usual, query.name), warnings=warnings, before_login=query if runs else None
        )
        if runs:
            with self._lock:
                self._unused[key] = time.monotonic()
        unseen = not files and query.config_file != NO_FILE  # the client does not say what it has read
        answer = _Answer(sanitize, unseen or _speak_of_the_environment(query, files))
        self._keep(answer, query, directory, files, version, started)
        return answer

    def _keep(
        self, answer: _Answer, query: ConfigQuery, directory: str, files: Collection[str], version: int, started: int
    ) -> None:
        """Takes note of the files, and of an answer that holds in every environment, unless they have changed meanwhile."""
        watched = {path: self._noted(path, started) for path in (*files, *_included_directories(files))}
        # One whose name ssh has cut off is read anew; the usual ones need not be there.
        torn = {path for path in files if path not in _usual_files(query) and not os.path.exists(path)}
        done: Future[Any] = Future()
        done.set_result(answer)
        with self._lock:
            if self._version != version:
                return
            for path, stamp in watched.items():
                self._files.setdefault(path, None if path in torn else stamp)
            if not answer.of_environment:
                self._known[_everywhere(query, directory)] = done

    @staticmethod
    def _noted(path: str, started: int) -> Version | None:
        """The version of a file that was read; None for one that may have changed since, and so is read anew."""
        version = version_of(path)
        return version if max(version[-2:]) < started else None

    def _once(self, key: object, work: Callable[[], Any]) -> Future[Any]:
        """One asks; whoever else wants to know the same meanwhile, or later, has the same answer."""
        mine: Future[Any] = Future()
        with self._lock:
            future = self._known.setdefault(key, mine)
            while len(self._known) > _ANSWERS_KEPT:
                del self._known[next(iter(self._known))]  # the oldest
        if future is mine:
            try:
                mine.set_result(work())
            except BaseException as error:
                with self._lock:  # an error is for those who wait for it
                    if self._known.get(key) is mine:
                        del self._known[key]
                mine.set_exception(error)
        return future

    def _run(self, query: ConfigQuery, directory: str, environment: Mapping[str, str]) -> _Printed:
        """What the client prints, and the files that it has read.

        :raises SettingsError: it refuses what it reads, or does not end.
        :raises NoClient: there is none.
        """
        setting = f"{SOURCE} for {query.name}"
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
        return _Printed(output, tuple(os.path.join(directory, path) for path in files_read(words)), warnings_in(words))


def _around(environment: Mapping[str, str]) -> str:
    """A digest of an environment, without what says nothing of it."""
    return digest(sorted((name, value) for name, value in environment.items() if name not in _VOLATILE))


def _everywhere(query: ConfigQuery, directory: str) -> object:
    """A question in any environment; the path of an argument may be relative."""
    return query, directory if query.arguments else ""


def _usual_files(query: ConfigQuery) -> tuple[str, ...]:
    """Files that are looked for, whether or not they are there."""
    return () if query.config_file is not None else (os.path.join(home(), ".ssh/config"), _SYSTEM_FILE)


def _included_directories(files: Collection[str]) -> set[str]:
    """Where a further file would be included, as far as no pattern is in the way there."""
    patterns = [
        (path, pattern)
        for path in files
        for line in _INCLUDE.findall(_text(path))
        for pattern in shlex.split(line, comments=True)
    ]
    bases = {_SYSTEM_FILE: os.path.dirname(_SYSTEM_FILE)}
    beside = os.path.join(home(), ".ssh")
    whole = (os.path.join(bases.get(path, beside), os.path.expanduser(pattern)) for path, pattern in patterns)
    return {os.path.dirname(re.split(r"[*?\[]", pattern)[0]) for pattern in whole}


def _text(path: str) -> str:
    try:
        return Path(path).read_text("utf-8", "surrogateescape")
    except OSError:
        return ""


def _speak_of_the_environment(query: ConfigQuery, files: Collection[str]) -> bool:
    return any(map(_OF_ENVIRONMENT.search, [*map(_text, files), *query.arguments]))
