# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection.
"""Which of a user's patterns fits a server's text, at no cost for what else this process does.

A search of Python's holds the lock that all threads share, cannot be ended, and may take for ever on a few hundred characters
where the pattern has one repetition in another. So it is done in a process of its own, which is killed when the time is up.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence

from ..deadline import Deadline

# Without one of these, a search looks at each character a few times at most.
_REPETITIONS = frozenset("*+?{")

# What an interpreter that was moved needs to start. The broker's own settings of memory are not among it, nor is a PYTHONPATH.
_ENVIRONMENT = ("LD_LIBRARY_PATH", "PATH", "PYTHONHOME")

# Texts and patterns come through its standard input, and it ends by itself if its parent has ended. What it counts for that is
# the time of the processor, which stands still while it is stopped.
_PROGRAM = """
import json, re, signal, sys
seconds, patterns, texts = json.load(sys.stdin)
signal.setitimer(signal.ITIMER_PROF, seconds)
print(json.dumps([next((n for n, each in enumerate(patterns) if re.search(each, text, re.I)), None) for text in texts]))
"""


def first_matches(patterns: Sequence[str], texts: Sequence[str], deadline: Deadline) -> list[int | None]:
    """For each text, the number of the first pattern that is found in it, whatever the case; None where none is.

    :raises TimeoutError: the time is up.
    :raises OSError: no process can be started.
    """
    if not any(_REPETITIONS & set(pattern) for pattern in patterns):
        return _search(patterns, texts)
    asked = json.dumps([deadline.remaining(), list(patterns), list(texts)])
    command = [sys.executable, "-S", "-c", _PROGRAM]
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd="/",  # in which Python looks for modules first
        env={name: os.environ[name] for name in _ENVIRONMENT if name in os.environ},
    )
    try:
        output, _errors = deadline.limit(lambda: process.communicate(asked))
    finally:
        process.kill()
        status = process.wait()
    if status == -signal.SIGPROF:
        raise TimeoutError
    if status != 0:
        raise OSError(f"its process ended with status {status}")
    found: list[int | None] = json.loads(output)
    return found


def _search(patterns: Sequence[str], texts: Sequence[str]) -> list[int | None]:
    numbered = list(enumerate(patterns))
    return [next((number for number, each in numbered if re.search(each, text, re.I)), None) for text in texts]
