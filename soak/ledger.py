# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The account: what was told of every task, beside what has happened on its host. Decisions only.

A command appends a line to the ledger of the host where it runs: its token, and the address at which it was reached.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from .plan import COMMANDS, FILES, Kind

#: What no result may have, however its host has failed.
DEFECTS = ("the broker failed with", "the broker cannot read the request", "Traceback (most recent call last)")


@dataclass(frozen=True)
class Expected:
    """One task on one host, as it is meant.

    :param address: where its command has to arrive.
    :param digest: SHA-256 of the file, or of the output.
    """

    play: int
    task: int
    kind: Kind
    host: str
    rc: int = 0
    address: str = ""
    digest: str = ""

    @property
    def token(self) -> str:
        """What its command appends to the ledger."""
        return f"{self.play}.{self.task}.{self.host}"


@dataclass(frozen=True)
class Seen:
    """What has become of it.

    :param status: ok, failed or unreachable; empty without a result.
    :param words: all that its result says.
    :param ran: the address of each time that its command ran.
    :param digest: of the file that is there now, or of the output of a command that went well; empty where there is none.
    """

    status: str
    rc: int | None = None
    words: str = ""
    ran: tuple[str, ...] = ()
    digest: str = ""


@dataclass(frozen=True)
class Violation:
    """Of what this collection promises."""

    play: int
    host: str
    task: str
    what: str

    def __str__(self) -> str:
        return f"play {self.play}, {self.host or 'all hosts'}, {self.task or 'all tasks'}: {self.what}"


def tokens(ledger: str) -> dict[str, tuple[str, ...]]:
    """Token -> the addresses of each time that it was written."""
    found: dict[str, tuple[str, ...]] = {}
    for line in ledger.splitlines():
        token, _blank, address = line.partition(" ")
        found[token] = (*found.get(token, ()), address)
    return found


def seen(status: str, result: Mapping[str, Any]) -> Seen:
    """What a result says by itself."""
    # Of some modules, rc is among what they give back and nothing that has ended.
    rc = result.get("rc")
    words = " ".join(str(result[name]) for name in ("msg", "module_stderr", "exception") if result.get(name))
    return Seen(status, rc if isinstance(rc, int) else None, words)


def violations(expected: Expected, found: Seen, complete: bool = True) -> Iterator[Violation]:
    """What is wrong with one task on one host.

    :param complete: whether its play has come to its end; one of which a worker was killed has not.
    """
    told = f"; the result is {found.status}, rc {found.rc}: {found.words[:600]}" if found.status else "; without result"
    for what in [*_result(expected, found, complete), *_command(expected, found), *_content(expected, found)]:
        yield Violation(expected.play, expected.host, f"task {expected.task} ({expected.kind.value})", what + told)


def late(expected: Expected, found: Seen, ran: tuple[str, ...]) -> Iterator[Violation]:
    """What is wrong with a command that has run again after its play.

    :param ran: the addresses of each time that it has run by the end of all.
    """
    if len(ran) > max(1, len(found.ran)):
        task = f"task {expected.task} ({expected.kind.value})"
        yield Violation(
            expected.play, expected.host, task, f"its command ran {len(ran)} times, the last after its play"
        )


def _result(expected: Expected, found: Seen, complete: bool) -> Iterator[str]:
    if not found.status:
        if complete and expected.kind is not Kind.RESET:
            yield "it has no result"
        return
    if any(defect in found.words for defect in DEFECTS):
        yield "the words are those of a defect"
    if found.status == "failed" and not _may_fail(expected, found):
        yield f"it failed, and its command ends with {expected.rc}"
    if found.status == "ok" and expected.kind in COMMANDS and expected.rc != (found.rc or 0):
        yield f"it is ok, and its command ends with {expected.rc}"


def _may_fail(expected: Expected, found: Seen) -> bool:
    """Whether a failure is the command's own, or of a task that gives up waiting by itself."""
    if expected.kind is Kind.WAIT:
        return found.rc is None
    if expected.kind is Kind.ASYNC:
        return found.rc is None and "did not complete within" in found.words
    return expected.kind in COMMANDS and expected.rc != 0 and found.rc == expected.rc


def _command(expected: Expected, found: Seen) -> Iterator[str]:
    if expected.kind not in COMMANDS:
        return
    if len(found.ran) > 1:
        yield f"its command ran {len(found.ran)} times"
    if any(address != expected.address for address in found.ran):
        yield f"its command ran at {', '.join(found.ran)} in place of {expected.address}"
    ended = found.status == "ok" or (found.status == "failed" and found.rc is not None)
    if ended and not found.ran:
        yield "its command never ran"


def _content(expected: Expected, found: Seen) -> Iterator[str]:
    if not expected.digest:
        return
    if found.status == "ok" and found.digest != expected.digest:
        yield "what it brought is not whole"
    elif expected.kind in FILES and found.digest not in ("", expected.digest):
        yield "it has left something that is not whole"


@dataclass(frozen=True)
class Count:
    """Of tasks on hosts."""

    tasks: int = 0
    once: int = 0
    never: int = 0
    ok: int = 0
    failed: int = 0
    unreachable: int = 0
    lost: int = 0
    whole: int = 0

    def with_one(self, expected: Expected, found: Seen) -> Count:
        """The same and one task more, if it is one that has a result at all.

        ``whole`` counts files and outputs that arrived as they were sent.
        """
        if expected.kind is Kind.RESET:
            return self
        command = expected.kind in COMMANDS
        status = found.status if found.status in ("ok", "failed", "unreachable") else "lost"
        return replace(
            self,
            tasks=self.tasks + 1,
            once=self.once + (command and len(found.ran) == 1),
            never=self.never + (command and not found.ran),
            whole=self.whole + (bool(expected.digest) and found.digest == expected.digest),
            **{status: getattr(self, status) + 1},
        )
