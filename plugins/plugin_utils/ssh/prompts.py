# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which of a user's patterns fits a server's text, at no cost for what else this process does.

A search of Python's holds the lock that all threads share, cannot be ended, and may take for ever on a few hundred characters
where the pattern has one repetition in another. So it is done in a process of its own, which is killed when the time is up.
"""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Sequence

# Without one of these, a search looks at each character a few times at most.
_REPETITIONS = frozenset("*+?{")

# Texts and patterns come through its standard input, and it ends by itself if nobody is there any more to end it.
_PROGRAM = """
import json, re, signal, sys
seconds, patterns, texts = json.load(sys.stdin)
signal.setitimer(signal.ITIMER_REAL, seconds)
print(json.dumps([next((n for n, each in enumerate(patterns) if re.search(each, text, re.I)), None) for text in texts]))
"""


def first_matches(patterns: Sequence[str], texts: Sequence[str], seconds: float) -> list[int | None]:
    """For each text, the number of the first pattern that is found in it, whatever the case; None where none is.

    :raises TimeoutError: the time is up.
    :raises OSError: no process can be started.
    """
    if not any(_REPETITIONS & set(pattern) for pattern in patterns):
        return _search(patterns, texts)
    asked = json.dumps([seconds, list(patterns), list(texts)])
    command = [sys.executable, "-I", "-S", "-c", _PROGRAM]
    try:
        done = subprocess.run(
            command,
            input=asked,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise TimeoutError from None
    if done.returncode == -signal.SIGALRM:
        raise TimeoutError
    if done.returncode != 0:
        raise OSError(f"its process ended with status {done.returncode}")
    found: list[int | None] = json.loads(done.stdout)
    return found


def _search(patterns: Sequence[str], texts: Sequence[str]) -> list[int | None]:
    numbered = list(enumerate(patterns))
    return [next((number for number, each in numbered if re.search(each, text, re.I)), None) for text in texts]
