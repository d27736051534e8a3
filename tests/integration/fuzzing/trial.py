# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Cases against one broker, beside hosts that are healthy and have to stay so."""

from __future__ import annotations

import base64
import contextlib
import itertools
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab import Lab, Sshd
from lab.brokers import status, the_socket
from sessions import opened, options_of

from .case import Case
from .channels import FILE
from .packets import HostKey
from .request import ALIVE, TIMEOUT, Outcome, ask, judge
from .server import ADDRESS, AnyServer
from .talk import QUESTIONS

#: Seconds for which the broker keeps a connection.
PERSIST = 2
#: Seconds for a task on a healthy host, on a machine that is busy.
SOON = 20.0
_ALIAS = "hostile"
_SECRET = "s3cret-of-hostile"
_PROBE = 0.2
_LOOK = 0.5


@dataclass(frozen=True)
class Result:
    """What came of a case.

    :param problem: what is wrong about it; empty if nothing is.
    :param sent: strange messages of the hostile server, by step and number.
    """

    case: Case
    outcome: Outcome
    problem: str
    sent: Counter[tuple[str, int]] = field(default_factory=Counter)


class Trial:
    """Healthy hosts, a broker that does not end by itself while the context lasts, and what is needed to ask it for more.

    :ivar problems: of the healthy hosts.
    :ivar asked: how often they have been asked.
    """

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._user, self._key = lab.user("target"), lab.key("everybody")
        self.bastion, self.target = self._healthy_server("bastion"), self._healthy_server("target")
        self._agent = lab.agent(self._key)
        self._host_key = HostKey()
        line = f"{_ALIAS} ssh-ed25519 {base64.b64encode(self._host_key.blob).decode()}"
        lab.trust(self.bastion, self.target, line)
        self._files = lab.path / "files"
        self._files.mkdir()
        self._files.chmod(0o1777)
        self._there = self._files / "there"
        self._there.write_bytes(FILE)
        self._number = itertools.count()
        self.problems: list[str] = []
        self.asked = 0
        with opened(lab, self._healthy(False)):
            self._socket = the_socket(lab)
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Trial:
        self._stack.enter_context(_again_and_again(self._look, _LOOK))
        return self

    def __exit__(self, *_error: object) -> None:
        self._stack.close()

    def _look(self) -> None:
        """An idle broker waits a while for the next question."""
        status(self._lab)

    def _healthy_server(self, name: str) -> Sshd:
        users, keys = [self._user], [self._key]
        return self._lab.sshd(
            f"healthy-{name}", users=users, keys=keys, MaxStartups=200, MaxSessions=200, LogLevel="VERBOSE"
        )

    # What is asked for

    def _usual(self) -> dict[str, Any]:
        return {"ansible_ssh_persist": PERSIST, "ansible_ssh_private_key_file": str(self._key.path), **ALIVE}

    def _healthy(self, behind: bool) -> dict[str, Any]:
        jump = [self._hop(self.bastion)] if behind else "none"
        return self._usual() | self._end(self.target) | {"ansible_ssh_jump": jump, "ansible_ssh_timeout": SOON}

    def _end(self, server: Sshd) -> dict[str, Any]:
        return {"ansible_host": server.address, "ansible_port": server.port, "ansible_user": self._user.name}

    def _hop(self, server: Sshd) -> dict[str, Any]:
        key = str(self._key.path)
        return {"host": server.address, "port": server.port, "user": self._user.name, "private_key_file": key}

    def _options(self, case: Case, port: int, number: int) -> dict[str, Any]:
        prompts = {question.decode(): _SECRET for question in QUESTIONS}
        method = "piped" if case.request.startswith("piped") else "sftp"
        usual = self._usual() | {"ansible_ssh_timeout": TIMEOUT, "ansible_ssh_transfer_method": method}
        usual["ansible_ssh_jump_timeout"] = 3 * TIMEOUT  # a login that hangs ends with that
        words = {"pty": "-o SetEnv=WORD=value", "agent": f"-o ForwardAgent={self._agent.socket}"}
        usual["ansible_ssh_args"] = words.get(case.request, "")
        if case.place == "bastion":
            hostile = {"host": ADDRESS, "port": port, "user": f"user{number}", "password": _SECRET, "prompts": prompts}
            hostile |= {"host_key_alias": _ALIAS, "private_key_file": str(self._key.path)}
            return options_of(self._lab, usual | self._end(self.target) | {"ansible_ssh_jump": [hostile]})
        usual |= {"ansible_host": ADDRESS, "ansible_port": port, "ansible_user": f"user{number}"}
        usual |= {"ansible_ssh_host_key_alias": _ALIAS, "ansible_password": _SECRET, "ansible_ssh_prompts": prompts}
        jump = [self._hop(self.bastion)] if case.place == "behind" else "none"
        return options_of(self._lab, usual | {"ansible_ssh_jump": jump})

    # Cases

    def run(self, case: Case) -> Result:
        """One case, to its end."""
        number = next(self._number)
        onward = (self.target.address, self.target.port) if case.place == "bastion" else None
        file = self._lab.path / f"file-{number}"
        file.write_bytes(FILE)
        with AnyServer(self._lab.loop, case, self._host_key, onward) as server:
            outcome = ask(self._socket, case, self._options(case, server.port, number), file, self._path(case, number))
        problem = judge(case, outcome) or self._broken(case, outcome, file, number)
        file.unlink()
        if not problem and _SECRET in outcome.words:
            problem = f"it tells a secret: {outcome.words}"
        return Result(case, outcome, problem, server.sent)

    def _broken(self, case: Case, outcome: Outcome, file: Path, number: int) -> str:
        """Whether a file is not what it was at the target, though all went well; a target may lie, and a bastion cannot."""
        if case.place != "bastion" or outcome.event != "done" or case.request == "survey":
            return ""
        there = Path(self._path(case, number))
        return "" if file.read_bytes() == there.read_bytes() == FILE else "what it brought is not whole"

    def _path(self, case: Case, number: int) -> str:
        return str(self._there if case.request.endswith("fetch") else self._files / str(number))

    def run_all(self, cases: Iterable[Case], lanes: int = 8) -> Iterator[Result]:
        """Several at the same time, each result as soon as those before it are there."""
        with ThreadPoolExecutor(lanes) as pool:
            waiting = []
            for case in cases:
                waiting.append(pool.submit(self.run, case))
                if len(waiting) >= 2 * lanes:
                    yield waiting.pop(0).result()
            for each in waiting:
                yield each.result()

    # Healthy hosts

    def watching(self) -> contextlib.AbstractContextManager[None]:
        """Asks the healthy hosts meanwhile, again and again; each has to answer."""
        return _again_and_again(self._ask_healthy, _PROBE)

    def _ask_healthy(self) -> None:
        for behind in (False, True):
            options = options_of(self._lab, self._healthy(behind))
            outcome = ask(self._socket, Case("start"), options, Path("/dev/null"), "")
            self.asked += 1
            if outcome.event != "exited" or outcome.status != 0 or outcome.seconds > SOON:
                self.problems.append(f"a healthy host {'behind a bastion ' * behind}: {outcome}")


@contextlib.contextmanager
def _again_and_again(work: Callable[[], None], pause: float) -> Iterator[None]:
    """Meanwhile, in a thread."""
    over = threading.Event()

    def run() -> None:
        while not over.wait(pause):
            work()

    thread = threading.Thread(target=run, name=work.__name__, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(4 * SOON)
