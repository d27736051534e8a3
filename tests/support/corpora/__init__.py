# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Inputs that found a fault once, or that reach what is seldom reached: replayed in every run, before the generated ones.

A corpus is an object of JSON: what an input is -> the input. A text may be written in pieces, of which ``["[", 1000]`` is a
thousand times a bracket; bytes are written as text of Latin-1.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from hypothesis import example

_Test = TypeVar("_Test", bound=Callable[..., Any])


def values(name: str) -> dict[str, Any]:
    """The inputs as they stand there."""
    found: dict[str, Any] = json.loads((Path(__file__).parent / f"{name}.json").read_text("utf-8"))
    return found


def texts(name: str) -> dict[str, str]:
    """The inputs, their pieces put together."""
    return {why: _whole(value) for why, value in values(name).items()}


def blobs(name: str) -> dict[str, bytes]:
    """The inputs as bytes."""
    return {why: text.encode("latin-1") for why, text in texts(name).items()}


def replaying(inputs: dict[str, Any]) -> Callable[[_Test], _Test]:
    """Lets a test of generated inputs begin with these."""

    def decorate(test: _Test) -> _Test:
        for value in inputs.values():
            test = example(value)(test)
        return test

    return decorate


def _whole(value: str | list[Any]) -> str:
    pieces = [value] if isinstance(value, str) else value
    return "".join(piece if isinstance(piece, str) else piece[0] * piece[1] for piece in pieces)
