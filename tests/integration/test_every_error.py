# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test that real playbooks produce every message of docs/errors.md, and no other."""

from __future__ import annotations

import re
import signal
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from ansible.release import __version__ as core
from lab import Lab, Run, play, playbook, processes
from lab.brokers import brokers
from provocations import HOPS, PAIRS, SECTIONS, WAITING, Provocation, Stage, as_pattern

pytestmark = pytest.mark.timeout(300)

PAGE = (Path(__file__).parents[2] / "docs/errors.md").read_text("utf-8")

WORDS = "Words of other tools"

# Unhelpful messages of other tools in these situations.
OLD_WORDS = re.compile(
    "UNKNOWN port 65535|banner exchange|Too many authentication failures|kex_exchange_identification"
    "|Failed to connect to the host via ssh|Error reading SSH protocol banner|filedescriptor out of range"
    "|Secsh channel|returned nonzero exit status|mux_client_hello|unix_listener|: Authentication failed\\."
    "|read_passphrase|KeyError:? 'ssh-rsa'|Traceback"
)


def section(heading: str) -> str:
    """Return the text under a heading of the page."""
    return PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]


def messages(heading: str) -> list[str]:
    """Return the messages in the first cells of a section's tables."""
    rows = [row.split(" | ")[0] for row in section(heading).splitlines() if row.startswith("| `")]
    return [message for row in rows for message in re.findall("`([^`]+)`", row)]


def kinds() -> dict[str, str]:
    """Return the status that Ansible reports, according to the page, for errors of each section."""
    rows = re.findall(r"^\| \[(.*?)\]\(#.*?\) \| (.*?) \|", PAGE, re.MULTILINE)
    return dict(rows)


def test_every_section_of_the_page_has_its_provocations() -> None:
    assert set(SECTIONS) == set(kinds())


@pytest.mark.parametrize("heading", SECTIONS)
def test_every_message_of_the_page_is_provoked_and_no_other(heading: str) -> None:
    provoked = Counter({provocation.message for provocation in SECTIONS[heading]})
    assert provoked == Counter(messages(heading))


@pytest.mark.parametrize("heading", SECTIONS)
def test_ansible_calls_the_host_what_the_page_says(heading: str) -> None:
    provoked = [provocation for provocation in SECTIONS[heading] if provocation.status != "ok"]
    assert [each.message for each in provoked if each.status not in kinds()[heading]] == []


def test_every_error_of_a_hop_has_a_next_step_that_is_looked_for() -> None:
    of_hops = [each for each in chain(*SECTIONS.values()) if each.names.startswith((*HOPS, "on the controller"))]
    assert len(of_hops) > 60
    told = [each.message for each in of_hops if not each.then and each.status != "ok"]
    assert told == []


@pytest.mark.skipif(core.startswith("2.17."), reason="it puts other words, and lines, around some of ours")
@pytest.mark.parametrize("heading", SECTIONS)
def test_every_error_says_where_what_and_what_to_do(lab: Lab, heading: str) -> None:
    stage = Stage(lab)
    hosts = {f"host{number:02}": provocation for number, provocation in enumerate(SECTIONS[heading])}
    inventory = {name: provocation.variables(stage) for name, provocation in hosts.items()}
    try:
        with ThreadPoolExecutor(4) as pool:
            runs = [pool.submit(run, stage, inventory, group) for group in by_run(hosts)]
            found = [problem for each in runs for problem in each.result()]
    finally:
        for broker in brokers(lab):  # one of which was stopped
            processes.send(broker, signal.SIGCONT)
    assert not found, "\n".join(found)


def test_every_word_of_another_tool_on_the_page_has_its_situation() -> None:
    assert sorted(pair.old for pair in PAIRS) == sorted(messages(WORDS))


def test_what_another_tool_says_is_said_better_here(lab: Lab) -> None:
    stage = Stage(lab)
    hosts = {f"host{number:02}": pair.new for number, pair in enumerate(PAIRS)}
    inventory = {name: new.variables(stage) for name, new in hosts.items()}
    with ThreadPoolExecutor(4) as pool:
        olds = [
            pool.submit(pair.tool, stage, host) if pair.tool else None
            for pair, host in zip(PAIRS, inventory.values(), strict=True)
        ]
        runs = [pool.submit(run, stage, inventory, group) for group in by_run(hosts)]
        found = [problem for each in runs for problem in each.result()]
    for pair, old in zip(PAIRS, olds, strict=True):
        # Of newer versions: "path" before a path, a colon before what was wrong.
        said = old.result().replace(' path "', ' "').replace("KeyError: ", "KeyError ") if old else ""
        if old and not re.search(as_pattern(pair.old.removesuffix(".")), said):
            found.append(f"{pair.old}: {said}")
        if (
            pair.new.message
            and f"`{pair.new.message}`" not in cell(pair.old)
            and "each of the messages above" not in cell(pair.old)
        ):
            found.append(f"{pair.old}: {cell(pair.old)}")
    assert not found, "\n".join(found)


def cell(old: str) -> str:
    """Return the cell beside an error text of another tool."""
    (row,) = (row for row in section(WORDS).splitlines() if f"`{old}`" in row)
    return row.split(" | ")[1]


def by_run(hosts: dict[str, Provocation]) -> Iterable[dict[str, Provocation]]:
    """Yield the hosts of each run."""
    for around in dict.fromkeys(provocation.around for provocation in hosts.values()):
        yield {name: provocation for name, provocation in hosts.items() if provocation.around is around}


def run(stage: Stage, inventory: dict[str, Any], hosts: dict[str, Provocation]) -> list[str]:
    """Run a play for each list of tasks; return the differences from the page."""
    around = next(iter(hosts.values())).around
    wanted = {name: inventory[name] for name in hosts} | stage.others | stage.beside
    plays = []
    for tasks in distinct(provocation.tasks for provocation in hosts.values()):
        names = [name for name in hosts if hosts[name].tasks is tasks] + (
            list(stage.beside) if tasks is WAITING else []
        )
        # Else the run would end with the first play of which no host is left.
        plays.append(play(*tasks, hosts=",".join(names), strategy="free", ignore_errors=True, ignore_unreachable=True))
    more = {"args": [], "env": {}, **(around(stage) if around else {})}
    more["args"] = ["--forks", str(len(hosts)), *more["args"]]
    more["env"] = {"ANSIBLE_SSH_PERSIST_DIRECTORY": str(stage.lab.path / stage.name("broker")), **more["env"]}
    done = playbook(stage.lab, wanted, plays, timeout=250, **more)
    return [problem for name, provocation in hosts.items() for problem in problems(name, provocation, done)]


def distinct(things: Iterable[Any]) -> Sequence[Any]:
    """Return the distinct objects, in order."""
    return list({id(thing): thing for thing in things}.values())


def problems(name: str, provocation: Provocation, done: Run) -> list[str]:
    """Return how a result differs from the error to be provoked."""
    results = done.results.get(name, [])
    if len(results) != len(provocation.tasks):
        return [f"{provocation.message}: {len(results)} results; {done.stderr}"]
    if any(result.status != "ok" for result in results[:-1]):
        return [f"{provocation.message}: {results}"]
    result = results[-1]
    text = " ".join(done.text.split()) if provocation.where == "output" else str(result.result.get(provocation.where))
    text = text.rstrip("\n")
    expected = {
        "status": result.status == provocation.status,
        "one line": "\n" not in text,
        "words": provocation.pattern.match(text),
        "old words": not OLD_WORDS.search(text),
    }
    return [f"{provocation.message}: {what}: {result.status}: {text}" for what, right in expected.items() if not right]
