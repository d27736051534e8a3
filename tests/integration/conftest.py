# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Provide fixtures: one machine for the session, one lab for each test."""

from __future__ import annotations

import signal
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from lab import Chain3, Lab, Machine, chain_of_three

LOG_LINES = 60


@pytest.fixture(scope="session")
def machine() -> Iterator[Machine]:
    """Provide the directory and the system users of this session."""
    with Machine() as made:
        yield made


WAYS = ("broker", "own process")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option for a row of the matrix in which only the libraries differ."""
    parser.addoption(
        "--with-broker-only", action="store_true", help="do once what is the same with and without a broker"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out of such a row the tests marked ``once``, which take long and do not depend on the libraries."""
    if config.getoption("--with-broker-only"):
        items[:] = [item for item in items if item.get_closest_marker("once") is None]


def pytest_configure() -> None:
    """Restore SIGINT, which a shell ignores in its background jobs, and so in all their children (POSIX, sh: 2.11)."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that uses a lab with a broker, unless the mark ``ways`` selects otherwise."""
    if "lab" in metafunc.fixturenames:
        ways = next((mark.args for mark in metafunc.definition.iter_markers("ways")), WAYS[:1])
        once = metafunc.config.getoption("--with-broker-only") and WAYS[0] in ways
        metafunc.parametrize("lab", WAYS[:1] if once else ways, indirect=True)


@pytest.fixture
def lab(machine: Machine, request: pytest.FixtureRequest) -> Iterator[Lab]:
    """Provide an empty lab, taken down after the test."""
    with Lab(machine) as made:
        made.broker = request.param == WAYS[0]
        request.node.lab = made
        yield made


@pytest.fixture
def marker(lab: Lab) -> Path:
    """Provide a file that any user of the machine may append to."""
    path = lab.path / "marker"
    path.touch()
    path.chmod(0o666)
    return path


@pytest.fixture
def chain3(lab: Lab) -> Chain3:
    """Provide bastions a (password) and b (key) before a target (certificate)."""
    return chain_of_three(lab)


@pytest.fixture
def chain3_same_key(lab: Lab) -> Chain3:
    """Provide the same chain with one key everywhere, so that a jump string is enough."""
    return chain_of_three(lab, same_key=True)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add the end of every server's log to the report of a failed test."""
    report = yield
    if report.failed and report.when == "call":
        for host in getattr(getattr(item, "lab", None), "hosts", []):
            report.sections.append((f"log of {host}", "\n".join(host.log().splitlines()[-LOG_LINES:])))
    return report
