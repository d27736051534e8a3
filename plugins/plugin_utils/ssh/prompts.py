# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection.
"""Match a user's patterns against a server's texts without blocking this process.

A search of the re module holds the GIL, cannot be interrupted, and may run practically for ever on a few hundred characters if the
pattern nests repetitions. So it runs in a child process, which is killed on timeout.
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

# Patterns without any of these are fast, and are matched in this process.
_REPETITIONS = frozenset("*+?{")

# What a relocated interpreter needs to start; neither the broker's memory settings nor PYTHONPATH.
_ENVIRONMENT = ("LD_LIBRARY_PATH", "PATH", "PYTHONHOME")

# The child reads patterns and texts from stdin. Its own timer ends it even if its parent is gone; ITIMER_PROF counts CPU time, which
# stands still while the process is stopped.
_PROGRAM = """
import json, re, signal, sys
seconds, patterns, texts = json.load(sys.stdin)
signal.setitimer(signal.ITIMER_PROF, seconds)
print(json.dumps([next((n for n, each in enumerate(patterns) if re.search(each, text, re.I)), None) for text in texts]))
"""


def first_matches(patterns: Sequence[str], texts: Sequence[str], deadline: Deadline) -> list[int | None]:
    """Return, for each text, the index of the first pattern found in it, ignoring case; None if none is.

    :raises TimeoutError: the deadline passed.
    :raises OSError: the child process cannot be started, or failed.
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
        cwd="/",  # Python looks for modules in the working directory first
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
