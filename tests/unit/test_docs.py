# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the pages say is what the plugin does: options, variables, examples, errors, links and the architecture."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.release import __version__ as core

from ansible_collections.bastion.ssh.plugins.plugin_utils import errors
from ansible_collections.bastion.ssh.plugins.plugin_utils.chain.spec import parse_jump

ROOT = Path(__file__).parents[2]
PAGES = {page.name: page.read_text("utf-8") for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]}
# ansible-core's own, and beginnings that stand for many.
OTHERS = {"ansible_connection", "ansible_become_password", "ansible_paramiko_", "ANSIBLE_PARAMIKO_"}
# Of ansible.builtin.ssh alone; the page for those who come from there says so.
OTHERS |= {"ansible_ssh_executable", "ansible_ssh_pkcs11_provider", "ansible_control_path"}
OTHERS |= {"ansible_scp_extra_args", "ansible_sftp_extra_args"}
# Misspelt on purpose.
OTHERS |= {"ansible_ssh_jumps"}
OTHERS |= {
    "ansible_python_interpreter",
    "ansible_shell_executable",
    "ansible_playbook",
    "ansible_collections",
    "ansible_facts",
}
# Words that must not come back in what users read, with their exceptions, and what to write. Text in backquotes, C() and V() is code.
AVOIDED = {
    r"(?<!\bon )\bthe way\b": "the route, or the jump chain",
    r"\bgo(es|ing)? round\b|\bcircles?\b": "a loop",
    r"\b(re)?dial(s|l?ed|l?ing)?\b": "connect, or a connection attempt",
    r"\btold\b": "reported, or shown",
    r"\bgiven up\b": "closed after no answer for",
    r"\bwhich see\b|\bsiblings?\b": "the names, written out",
    r"\b(some|any|every|no)body\b|\bno one\b|\bwhoever\b": "the user, the broker, another task, no process",
    r"\bmappings?\b": "dictionary",
    r"\b(is|are) as (an?|one)\b|\bas an empty one\b": "treated like",
    r"\b(has|have|had) to be\b": "must be",
    r"\bkeys? of last resort\b": "the key that is offered last",
    r"\b(stands?|stood) for\b": "means, or is replaced by",
    r"\blet pass\b": "accepted",
    r"\bin place of\b": "instead of",
    r"\banew\b": "again",
    r"\bthose who\b": "the users that",
}
RAISED = {name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, errors.JumpError)}


@pytest.fixture(scope="module")
def options() -> dict[str, Any]:
    command = [str(Path(sys.executable).with_name("ansible-doc")), "-t", "connection", "--json", "bastion.ssh.jump"]
    found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return dict(found["bastion.ssh.jump"]["doc"]["options"])


@pytest.mark.skipif(core.startswith("2.17."), reason="it has other words for an option that is ansible-core's")
def test_the_page_of_options_is_what_the_plugin_documents() -> None:
    script = [sys.executable, str(ROOT / ".ci/options")]
    made = subprocess.run(script, check=True, capture_output=True, text=True).stdout
    assert PAGES["options.md"] == made, "run: make install && .ci/in .venv .build .ci/options >docs/options.md"


@pytest.mark.parametrize("page", PAGES)
def test_every_variable_on_the_page_is_an_option(page: str, options: dict[str, Any]) -> None:
    known = {entry["name"] for option in options.values() for kind in ("vars", "env") for entry in option.get(kind, ())}
    named = set(re.findall(r"\b(?:ansible|ANSIBLE)_\w+", PAGES[page]))
    assert named - known - OTHERS == set()


def _examples() -> list[Any]:
    blocks = (block for page in PAGES.values() for block in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL))
    filled = (
        re.sub(r'"{{ edge_(host|port) }}"', lambda found: {"host": "edge", "port": "22"}[found[1]], block)
        for block in blocks
    )
    return [yaml.safe_load(block) for block in filled]


def _ways(data: Any) -> Iterator[Any]:
    if isinstance(data, Mapping):
        for key, value in data.items():
            yield from [value] if key == "ansible_ssh_jump" else _ways(value)


@pytest.mark.parametrize("way", [way for data in _examples() for way in _ways(data)], ids=str)
def test_every_way_on_a_page_can_be_gone(way: Any) -> None:
    if not str(way).startswith("{{"):
        parse_jump(way)


def _text(node: ast.AST) -> str:
    """A string in the source, with … for what is filled in."""
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(value) for value in node.values)
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else "…"


def _source() -> Iterator[ast.AST]:
    for path in (ROOT / "plugins").rglob("*.py"):
        yield from ast.walk(ast.parse(path.read_text("utf-8")))


def test_every_message_on_the_page_is_one_of_the_plugins() -> None:
    strings = "\n".join(_text(node) for node in _source() if isinstance(node, (ast.Constant, ast.JoinedStr)))
    page = PAGES["errors.md"]
    ours = page[page.index("## Settings") : page.index("## Words of other tools")]
    rows = [row.split(" | ")[0] for row in ours.splitlines() if row.startswith("| `") and "was not found" not in row]
    messages = [message for row in rows for message in re.findall("`([^`]+)`", row)]
    assert len(messages) > 80
    # A sentence may end in one string of the source, and the next begin in another.
    pieces = {piece.strip(" .:;") for message in messages for piece in re.split(r"…|(?<=[.:]) ", message)}
    assert [piece for piece in pieces if piece not in strings] == []


def test_every_message_of_the_plugin_is_on_the_page() -> None:
    problems = []
    for path in (ROOT / "plugins").rglob("*.py"):
        for problem in _problems(ast.parse(path.read_text("utf-8"))):
            parts = [part for part in ast.walk(problem) if isinstance(part, (ast.Constant, ast.JoinedStr))]
            problems += [max(_text(part).split("…"), key=len) for part in parts[:1]]
    assert len(problems) > 50
    assert [text for text in problems if re.split("[;.:] ", text.strip())[0] not in PAGES["errors.md"]] == []


def _problems(tree: ast.AST) -> Iterator[ast.AST]:
    """The words with which the errors of a file are made, there or in a variable that is called so."""
    nodes = list(ast.walk(tree))
    assigned = [(target, node.value) for node in nodes if isinstance(node, ast.Assign) for target in node.targets]
    for node in nodes:
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in RAISED and node.args:
            problem = node.args[1 if len(node.args) > 1 else 0]
            if isinstance(problem, ast.Name):
                yield from (value for name, value in assigned if isinstance(name, ast.Name) and name.id == problem.id)
            else:
                yield problem


def _anchors(page: str) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", page, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


# Galaxy shows README.md where its links cannot be relative ones.
OURS = re.compile(
    r"https://(?:raw\.githubusercontent\.com/bastion-ssh/bastion\.ssh/main|github\.com/bastion-ssh/bastion\.ssh/(?:blob|tree)/main)/"
)


def test_the_first_page_has_no_relative_link() -> None:
    assert [
        target for target in re.findall(r"\]\(([^)]+)\)", PAGES["README.md"]) if not target.startswith("https:")
    ] == []


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_somewhere(page: str) -> None:
    folder = ROOT if page == "README.md" else ROOT / "docs"
    for target in re.findall(r"\]\((?!https:)([^)]+)\)", OURS.sub("", PAGES[page])):
        path, _hash, anchor = target.partition("#")
        assert (folder / path).exists(), target
        assert not anchor or anchor in _anchors(PAGES[Path(path).name if path else page]), target


def _leaves(data: Any) -> Iterator[str]:
    if isinstance(data, Mapping):
        for value in data.values():
            yield from _leaves(value)
    elif isinstance(data, list):
        for value in data:
            yield from _leaves(value)
    elif isinstance(data, str):
        yield data


def _documentation(path: Path) -> Iterator[str]:
    """The texts of DOCUMENTATION and RETURN without their keys, which are names, and EXAMPLES."""
    for node in ast.parse(path.read_text("utf-8")).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            name, text = node.targets[0].id, _text(node.value)
            if name in ("DOCUMENTATION", "RETURN"):
                yield from _leaves(yaml.safe_load(text))
            elif name == "EXAMPLES":
                yield text


def _messages(page: str) -> str:
    """Return the messages of this plugin, which the first cells of the tables have as code."""
    ours, _heading, _others = page.partition("## Words of other tools")
    return "\n".join(re.findall(r"^\| (`.*?) \|", ours, re.MULTILINE)).replace("`", "")


def _read_by_users() -> Iterator[tuple[str, str]]:
    yield from PAGES.items()
    yield "messages", _messages(PAGES["errors.md"])
    role, scenarios, playbooks = ROOT / "roles/bastion", ROOT / "extensions/molecule", ROOT / "playbooks"
    files = [role / "README.md", *(role / "meta").glob("*.yml"), *scenarios.rglob("*.md"), *playbooks.rglob("*.yml")]
    yield from ((str(path.relative_to(ROOT)), path.read_text("utf-8")) for path in files)
    for kind in ("connection", "modules", "lookup", "filter"):
        for path in (ROOT / "plugins" / kind).glob("*.py"):
            yield str(path.relative_to(ROOT)), "\n".join(_documentation(path))


def _prose(text: str) -> str:
    """A text without code; a line of it may begin in the middle of a sentence."""
    return " ".join(re.sub(r"`[^`\n]+`|\b[CVOPM]\([^)]*\)", "…", text.replace("```", "")).split())


@pytest.mark.parametrize(("name", "text"), [pytest.param(*read, id=read[0]) for read in _read_by_users()])
def test_no_page_has_words_to_avoid(name: str, text: str) -> None:
    prose = _prose(text)
    found = [
        f"{prose[max(0, match.start() - 40) : match.end() + 20]!r}: write {better}"
        for pattern, better in AVOIDED.items()
        for match in re.finditer(pattern, prose, re.IGNORECASE)
    ]
    assert found == []


def test_words_to_avoid_are_found_and_their_exceptions_are_not() -> None:
    assert [pattern for pattern in AVOIDED if re.search(pattern, "The jump hosts on the way to a host.")] == []
    said = "Nobody is told the way that a dial goes round."
    assert sum(bool(re.search(pattern, said, re.IGNORECASE)) for pattern in AVOIDED) == 5


def _tests(path: Path) -> Iterator[str]:
    yield from re.findall(r"^def (test_\w+)", path.read_text("utf-8"), re.MULTILINE)


def test_every_test_that_the_page_of_promises_names_is_there() -> None:
    named = re.findall(r"`(test_\w+\.py)::(test_\w+)`", PAGES["security.md"])
    tests = {(path.name, name) for path in (ROOT / "tests").rglob("test_*.py") for name in _tests(path)}
    assert len(named) > 25
    assert set(named) - tests == set()
    rows = re.findall(r"^\| (?!T\d\d \||Number \|).*$", PAGES["security.md"], re.MULTILINE)
    rows = [row for row in rows if "::" not in row]
    assert not [row for row in rows if row.count("|") == 4 and not row.endswith("| Test |")]


def test_every_promise_is_proved_by_a_test_and_the_reverse() -> None:
    named = {number for path in (ROOT / "tests").rglob("*.py") for number in _promises(path.read_text("utf-8"))}
    assert set(re.findall(r"^\| (T\d\d) \|", PAGES["security.md"], re.MULTILINE)) == named


def _promises(text: str) -> Iterator[str]:
    for comment in re.findall(r"# trust: ([T\d, ]+)", text):
        yield from re.findall(r"T\d\d", comment)


_PLUGINS = ROOT / "plugins"
_UTILS = _PLUGINS / "plugin_utils"
_PAGE = PAGES["architecture.md"]
_MODULES = {path.relative_to(_UTILS).as_posix() for path in _UTILS.rglob("*.py") if path.name != "__init__.py"}
_NAMED = set(re.findall(r"`([\w/]+\.py)(?:::[\w.]+)?`", _PAGE))
# Its numbers with a point are no times.
_NO_TIMES = {"hints.py"}


def _section(title: str) -> str:
    return _PAGE.split(f"\n## {title}\n")[1].split("\n## ")[0]


def _file_of(name: str) -> Path:
    return next((folder / name for folder in (_UTILS, _PLUGINS, ROOT) if (folder / name).is_file()), ROOT / name)


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"))


def _targets(node: ast.AST) -> list[ast.expr]:
    if isinstance(node, ast.Assign):
        return [each for target in node.targets for each in getattr(target, "elts", [target])]
    return [node.target] if isinstance(node, ast.AnnAssign) else []


def _members(scope: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    """What a module or a class has: definitions, values, and what its methods assign to ``self``."""
    for node in ast.iter_child_nodes(scope):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            yield node.name, node
        yield from ((target.id, node) for target in _targets(node) if isinstance(target, ast.Name))
    if isinstance(scope, ast.ClassDef):
        for node in ast.walk(scope):
            yield from ((target.attr, node) for target in _targets(node) if isinstance(target, ast.Attribute))


def _found(path: Path, name: str) -> ast.AST | None:
    scope: ast.AST | None = _tree(path)
    for part in name.split("."):
        scope = None if scope is None else dict(_members(scope)).get(part)
    return scope


def _calls(path: Path, names: set[str]) -> Iterator[ast.Call]:
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in names:
            yield node


def test_every_module_is_on_the_page() -> None:
    assert _MODULES - set(re.findall(r"^\| `([\w/]+\.py)` \|", _section("Layers"), re.MULTILINE)) == set()


def test_every_file_on_the_page_is_there() -> None:
    assert len(_NAMED) > 70
    assert [name for name in sorted(_NAMED) if not _file_of(name).is_file()] == []


def test_every_name_on_the_page_is_in_its_file() -> None:
    names = re.findall(r"`([\w/]+\.py)::([\w.]+)`", _PAGE)
    assert len(names) > 150
    assert [f"{path}::{name}" for path, name in names if _found(_file_of(path), name) is None] == []


def test_every_thread_is_on_the_page() -> None:
    threads = [call for path in _PLUGINS.rglob("*.py") for call in _calls(path, {"Thread"})]
    names = [ast.literal_eval(word.value) for call in threads for word in call.keywords if word.arg == "name"]
    assert len(names) == len(threads) > 10
    assert [name for name in names if f"| `{name}` |" not in _section("Threads")] == []


def test_every_lock_is_on_the_page() -> None:
    kinds = {"Lock", "RLock", "Condition", "Semaphore", "TransportLock", "flock", "lockf"}
    places = {path.relative_to(_UTILS).as_posix() for path in _UTILS.rglob("*.py") if any(_calls(path, kinds))}
    assert len(places) > 8
    assert [place for place in sorted(places) if f"`{place}::" not in _section("Locks")] == []


_TIMES = [
    (path, name, float(value))
    for value, places in re.findall(r"^\| [^|]+ \| ([\d.]+) s \| ([^|]+) \|", _section("Timeouts"), re.MULTILINE)
    for path, name in re.findall(r"`([\w/]+\.py)::([\w.]+)`", places)
]


@pytest.mark.parametrize(("path", "name", "value"), _TIMES)
def test_every_time_on_the_page_is_the_one_of_the_code(path: str, name: str, value: float) -> None:
    node = _found(_file_of(path), name)
    assert isinstance(node, (ast.Assign, ast.AnnAssign))
    assert node.value is not None
    assert ast.literal_eval(node.value) == value


def test_every_time_of_the_code_is_on_the_page() -> None:
    times = {
        (path.relative_to(_UTILS).as_posix(), name)
        for path in _UTILS.rglob("*.py")
        for name, node in _members(_tree(path))
        if isinstance(node, ast.Assign) and isinstance(getattr(node.value, "value", None), float)
    }
    known = {(path, name) for path, name, _value in _TIMES}
    assert len(times) > 40
    assert [time for time in sorted(times - known) if time[0] not in _NO_TIMES] == []
