# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The layers of the collection, and who may import whom."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from ansible_collections.bastion.ssh.plugins.plugin_utils import errors

PACKAGE = "ansible_collections.bastion.ssh.plugins"
PLUGINS = Path(errors.__file__).parents[1]
MODULES = {
    ".".join([PACKAGE, *path.relative_to(PLUGINS).with_suffix("").parts]).removesuffix(".__init__"): path
    for path in sorted(PLUGINS.rglob("*.py"))
}

# A layer imports only from those before it, and from itself.
LAYERS = [
    "plugin_utils.errors",
    "plugin_utils.clock",
    "plugin_utils.deadline",
    "plugin_utils.recent",
    "plugin_utils.chain",
    "plugin_utils.patched_paramiko",
    "plugin_utils.openssh",
    "plugin_utils.settings",
    "plugin_utils.client",
    "plugin_utils.ssh",
    "plugin_utils.pool",
    "plugin_utils.broker",
]
OPTIONS = f"{PACKAGE}.plugin_utils.options"


def layer(module: str) -> int:
    """The place of a module in the order; the plugins, and what reads their options, come last."""
    inside = module.removeprefix(f"{PACKAGE}.")
    return next((place for place, name in enumerate(LAYERS) if f"{inside}.".startswith(f"{name}.")), len(LAYERS))


@cache
def imports(module: str, at_run_time: bool = False) -> frozenset[str]:
    """The modules that a module imports anywhere in it; at run time, without what is for types only."""
    path = MODULES[module]
    tree = ast.parse(path.read_text())
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    return frozenset(name for node in nodes(tree, at_run_time) for name in targets(node, package))


def nodes(tree: ast.AST, at_run_time: bool) -> Iterator[ast.AST]:
    for node in ast.iter_child_nodes(tree):
        if at_run_time and isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            for each in node.orelse:
                yield each
                yield from nodes(each, at_run_time)
        else:
            yield node
            yield from nodes(node, at_run_time)


def targets(node: ast.AST, package: str) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    if isinstance(node, ast.ImportFrom):
        above = package.rsplit(".", node.level - 1)[0] if node.level > 1 else package
        base = ".".join(filter(None, [above if node.level else "", node.module or ""]))
        # "from package import module" imports the module.
        yield from (f"{base}.{alias.name}" if f"{base}.{alias.name}" in MODULES else base for alias in node.names)


def reached(module: str) -> frozenset[str]:
    """All that a module imports, of ours transitively."""
    found: set[str] = set()
    todo = [module]
    while todo:
        for name in imports(todo.pop(), True) - found:
            found.add(name)
            if name in MODULES:
                todo.append(name)
    return frozenset(found)


def top(names: frozenset[str]) -> set[str]:
    return {name.partition(".")[0] for name in names}


def named(part: str) -> list[str]:
    found = [module for module in MODULES if f"{module}.".startswith(f"{PACKAGE}.{part}.")]
    assert found, part
    return found


def test_the_imports_are_read_as_python_reads_them() -> None:
    spec = imports(f"{PACKAGE}.plugin_utils.chain.spec")
    assert {f"{PACKAGE}.plugin_utils.{name}" for name in ("errors", "chain.model", "chain.names")} <= spec
    assert "re" in spec
    assert "paramiko" in reached(f"{PACKAGE}.plugin_utils.ssh.session")
    assert not any(name.startswith(".") for module in MODULES for name in imports(module))
    assert all(name in MODULES for module in MODULES for name in imports(module) if name.startswith(f"{PACKAGE}."))


@pytest.mark.parametrize("module", MODULES)
def test_a_layer_imports_only_from_layers_before_it(module: str) -> None:
    ours = [name for name in imports(module) if name in MODULES]
    assert [name for name in ours if layer(name) > layer(module)] == []


@pytest.mark.parametrize("module", named("plugin_utils"))
def test_a_module_says_that_it_is_private(module: str) -> None:
    assert MODULES[module].read_text().splitlines()[2] == "# Private to this collection."


@pytest.mark.parametrize("module", MODULES)
def test_only_the_plugins_and_their_options_import_ansible(module: str) -> None:
    if layer(module) < len(LAYERS):
        assert "ansible" not in top(imports(module))
        assert OPTIONS not in imports(module)


# What opens, starts or waits for something.
ACTIVE = {
    "asyncio", "concurrent", "ctypes", "fcntl", "multiprocessing", "os", "pathlib", "select", "selectors", "shutil", "signal",
    "socket", "socketserver", "subprocess", "tempfile", "threading", "time", "_thread",
}  # fmt: skip


# trust: T04
@pytest.mark.parametrize("module", named("plugin_utils.chain"))
def test_the_chain_is_pure(module: str) -> None:
    outside = {name for name in top(reached(module)) if name != "ansible_collections"}
    assert outside <= sys.stdlib_module_names
    assert outside & ACTIVE == set()


@pytest.mark.parametrize(
    "module",
    [
        *named("plugin_utils.client.command"),
        *named("plugin_utils.client.interface"),
        *named("plugin_utils.client.client"),
    ],
)
def test_whoever_only_talks_to_a_session_does_not_load_paramiko(module: str) -> None:
    assert top(reached(module)) & {"paramiko", "cryptography"} == set()


def test_the_rest_of_the_world_is_paramiko_cryptography_and_ansible() -> None:
    outside = {name for module in MODULES for name in top(imports(module))} - sys.stdlib_module_names
    assert outside <= {"ansible", "ansible_collections", "cryptography", "paramiko"}


# select(2) cannot watch descriptors above 1023.  trust: T41
@pytest.mark.parametrize("module", MODULES)
def test_nothing_waits_with_select(module: str) -> None:
    tree = ast.parse(MODULES[module].read_text())
    calls = [node.lineno for node in ast.walk(tree) if isinstance(node, ast.Attribute) and node.attr == "select"]
    names = [node.lineno for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module == "select"]
    assert calls + names == []
