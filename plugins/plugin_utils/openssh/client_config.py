# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection.
"""Query OpenSSH's client for its settings (``ssh -G``), and cache the answers until a file that it read changes.

If a file has a ``Match exec``, the query is repeated before each login, as the command may be what permits it: it pushes a key that
is valid for a minute (EC2 Instance Connect), or has a certificate signed (cloudflared).

Without an OpenSSH client, paramiko reads the files.
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
_ANSWERS_KEPT = 4096  # runs with different environments may have different answers
_SYSTEM_FILE = "/etc/ssh/ssh_config"
_INCLUDE = re.compile(r"^\s*include[\s=]+(.*)$", re.IGNORECASE | re.MULTILINE)
# Variables that differ between shells and that no configuration depends on.
_VOLATILE = frozenset({"_", "SHLVL", "OLDPWD", "PWD"})
# ssh's message for a user without an entry in the user database, as in some containers.
_NAMELESS = "No user exists for uid"
_EXEC = re.compile(r"^\s*match\b.*\bexec\b", re.IGNORECASE | re.MULTILINE)
_JUST_NOW = 5.0  # seconds for which an answer may be used for one login
# ${NAME}, and Match exec, whose command inherits the environment.
_OF_ENVIRONMENT = re.compile(r"\$\{|\bexec\b", re.IGNORECASE)


class _Answer(NamedTuple):
    """Hold an answer of the client.

    :param of_environment: whether the answer may depend on the environment.
    """

    config: HostConfig
    of_environment: bool


class _InRun(NamedTuple):
    """Identify a query whose answer may depend on directory and environment.

    :param around: a digest of the environment, as that may contain secrets.
    """

    directory: str
    around: str
    query: ConfigQuery


class _Printed(NamedTuple):
    """Hold the output of one run of the client, the files that it read, and its warnings."""

    output: str
    files: tuple[str, ...]
    warnings: tuple[str, ...]


class NoClient(Exception):
    """Report that no OpenSSH client can be queried."""


class ClientConfig:
    """Query OpenSSH's client and cache its answers. All methods may be called from any thread.

    :param program: the client's name or path.
    """

    def __init__(self, program: str = "ssh") -> None:
        self._program = program
        self._lock = threading.Lock()
        self._known: dict[object, Future[Any]] = {}
        self._asked: set[_InRun] = set()  # since :meth:`forget_runs`
        self._unused: dict[
            _InRun, float
        ] = {}  # query that runs a Match exec -> time of an answer not yet used for a login
        self._files: dict[str, Version | None] = {}
        self._version = 0

    def version(self) -> int:
        """Return a number that changes with the answers. If a file that was read has changed, all answers are dropped."""
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
        """Return a lookup that queries the client in a play's directory and environment."""
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
            return answer.config

        return ask

    def ask_anew(self, query: ConfigQuery, directory: str, environment: Mapping[str, str]) -> bool:
        """Query again before a login, unless an answer of the last 5 seconds is still unused. Return whether the answer changed."""
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
                self._unused.pop(key, None)  # used for this login
        return changed

    def forget_runs(self, unused: bool) -> None:
        """Drop the answers that may depend on an environment.

        :param unused: whether to drop only those not requested since the last call.
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
        config = replace(
            read_answer(output, usual, query.name), warnings=warnings, before_login=query if runs else None
        )
        if runs:
            with self._lock:
                self._unused[key] = time.monotonic()
        unseen = not files and query.config_file != NO_FILE  # the client did not report which files it read
        answer = _Answer(config, unseen or _speak_of_the_environment(query, files))
        self._keep(answer, query, directory, files, version, started)
        return answer

    def _keep(
        self, answer: _Answer, query: ConfigQuery, directory: str, files: Collection[str], version: int, started: int
    ) -> None:
        """Record the files, and an answer that does not depend on the environment, unless a file has changed meanwhile."""
        watched = {path: self._noted(path, started) for path in (*files, *_included_directories(files))}
        # ssh truncates long names: such a file has no version, so the next check drops the answers. The default files may be missing.
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
        """Return the version of a file that was read; None if it may have changed since, to have it read again."""
        version = version_of(path)
        return version if max(version[-2:]) < started else None

    def _once(self, key: object, work: Callable[[], Any]) -> Future[Any]:
        """Run the work once per key. Concurrent and later callers share its result; an error only reaches the concurrent ones."""
        mine: Future[Any] = Future()
        with self._lock:
            future = self._known.setdefault(key, mine)
            while len(self._known) > _ANSWERS_KEPT:
                del self._known[next(iter(self._known))]  # the oldest
        if future is mine:
            try:
                mine.set_result(work())
            except BaseException as error:
                with self._lock:  # do not cache an error
                    if self._known.get(key) is mine:
                        del self._known[key]
                mine.set_exception(error)
        return future

    def _run(self, query: ConfigQuery, directory: str, environment: Mapping[str, str]) -> _Printed:
        """Run ``ssh -G``, and return its output and the files that it read.

        :raises SettingsError: it rejects its configuration, cannot be started, or does not end.
        :raises NoClient: it is not installed, or cannot run for this user.
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
                start_new_session=True,  # commands of Match exec cannot prompt, and are killed with the client
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
    """Return a digest of an environment, without volatile variables."""
    return digest(sorted((name, value) for name, value in environment.items() if name not in _VOLATILE))


def _everywhere(query: ConfigQuery, directory: str) -> object:
    """Return a key for a query in any environment, with the directory if arguments may contain relative paths."""
    return query, directory if query.arguments else ""


def _usual_files(query: ConfigQuery) -> tuple[str, ...]:
    """Return the files that ssh reads by default, which may not exist."""
    return () if query.config_file is not None else (os.path.join(home(), ".ssh/config"), _SYSTEM_FILE)


def _included_directories(files: Collection[str]) -> set[str]:
    """Return the directories in which Include would find new files, up to the first pattern in their paths."""
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
