# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fixtures: one machine for the session, one lab for each test."""

from __future__ import annotations

import signal
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from lab import Chain3, Lab, Machine, chain_of_three

LOG_LINES = 60


@pytest.fixture(scope="session")
def machine() -> Iterator[Machine]:
    """The directory and the system users of this session."""
    with Machine() as made:
        yield made


WAYS = ("broker", "own process")


def pytest_addoption(parser: pytest.Parser) -> None:
    """The command line of a row whose libraries differ, and not what is done with them."""
    parser.addoption(
        "--with-broker-only", action="store_true", help="do once what is the same with and without a broker"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out of such a row what takes long, and is the same with all libraries."""
    if config.getoption("--with-broker-only"):
        items[:] = [item for item in items if item.get_closest_marker("once") is None]


def pytest_configure() -> None:
    """Whoever runs us in the background of a shell ignores Ctrl-C, and so would all that we run (POSIX, sh: 2.11)."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Whatever is done in a lab is done with a broker, unless a mark ``ways`` says otherwise."""
    if "lab" in metafunc.fixturenames:
        ways = next((mark.args for mark in metafunc.definition.iter_markers("ways")), WAYS[:1])
        once = metafunc.config.getoption("--with-broker-only") and WAYS[0] in ways
        metafunc.parametrize("lab", WAYS[:1] if once else ways, indirect=True)


@pytest.fixture
def lab(machine: Machine, request: pytest.FixtureRequest) -> Iterator[Lab]:
    """An empty lab, taken down after the test."""
    with Lab(machine) as made:
        made.broker = request.param == WAYS[0]
        request.node.lab = made
        yield made


@pytest.fixture
def marker(lab: Lab) -> Path:
    """A file that any user of the machine may append to."""
    path = lab.path / "marker"
    path.touch()
    path.chmod(0o666)
    return path


@pytest.fixture
def chain3(lab: Lab) -> Chain3:
    """Bastions a (password) and b (key) before a target (certificate)."""
    return chain_of_three(lab)


@pytest.fixture
def chain3_same_key(lab: Lab) -> Chain3:
    """The same way with one key everywhere, as a string of hops can say it."""
    return chain_of_three(lab, same_key=True)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the end of every server's log with a test that failed."""
    report = yield
    if report.failed and report.when == "call":
        for host in getattr(getattr(item, "lab", None), "hosts", []):
            report.sections.append((f"log of {host}", "\n".join(host.log().splitlines()[-LOG_LINES:])))
    return report
