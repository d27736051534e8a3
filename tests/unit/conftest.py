# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Processes that meet."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ansible_collections.bastion.ssh.plugins.plugin_utils import errors

# Where a process without Ansible's loader finds the collection.
_ROOT = Path(errors.__file__).parents[5]

_GO = """
import sys

def go():
    print("ready", flush=True)
    sys.stdin.buffer.read()

"""

Start = Callable[..., list["subprocess.Popen[str]"]]


def _end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()
    assert process.stdout is not None
    process.stdout.close()


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts a script in a process for each argument list; none gets past its go() before all are there."""
    with contextlib.ExitStack() as stack:

        def starter(script: str, *arguments: list[str]) -> list[subprocess.Popen[str]]:
            reader, writer = os.pipe()
            processes = []
            for words in arguments:
                process = subprocess.Popen(
                    [sys.executable, "-W", "error", "-c", _GO + script, *words],
                    stdin=reader,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                    env={**os.environ, "PYTHONPATH": str(_ROOT)},
                )
                stack.callback(_end, process)
                processes.append(process)
            os.close(reader)
            for process in processes:
                assert process.stdout is not None
                first = process.stdout.readline()
                assert first == "ready\n", first + process.stdout.read()
            os.close(writer)
            return processes

        yield starter


@pytest.fixture
def outputs(start: Start) -> Callable[..., list[str]]:
    """Runs a script in a process for each argument list, all at once, and returns what each printed."""

    def run(script: str, *arguments: list[str]) -> list[str]:
        return [process.communicate(timeout=60)[0].strip() for process in start(script, *arguments)]

    return run
