# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is kept for a while, and by what it is found again."""

from __future__ import annotations

import gc
import re
import weakref
from collections.abc import Callable

import pytest

from ansible_collections.bastion.ssh.plugins.plugin_utils import recent
from ansible_collections.bastion.ssh.plugins.plugin_utils.recent import Recent, digest


class Value:
    """Something that can be seen to be gone."""


def test_what_is_used_stays_and_what_is_not_goes() -> None:
    kept: Recent[str] = Recent()
    kept["used"], kept["unused"] = "a", "b"
    for _time in range(3):
        kept.age()
        assert kept.get("used") == "a"
    assert kept.get("unused") is None
    kept.age()
    kept.age()
    assert kept.get("used") is None


# trust: T57
@pytest.mark.parametrize("end", [[Recent.clear], [Recent.age, Recent.age]], ids=["at once", "in time"])
def test_nothing_holds_what_is_let_go_of(end: list[Callable[[Recent[Value]], None]]) -> None:
    kept, value = Recent[Value](), Value()
    gone = weakref.ref(value)
    kept["key"] = value
    kept.get("key")
    del value
    gc.disable()
    try:
        for step in end:
            step(kept)
        assert gone() is None
    finally:
        gc.enable()


def test_no_more_is_kept_than_has_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recent, "_KEPT", 3)
    kept: Recent[int] = Recent()
    for number in range(1, 100):
        kept[str(number)] = number
        assert kept.get(str(number)) == number
    assert sum(kept.get(str(number)) is not None for number in range(1, 100)) <= 6


# trust: T57
def test_a_digest_says_nothing_outside_of_its_process(outputs: Callable[..., list[str]]) -> None:
    script = """
from ansible_collections.bastion.ssh.plugins.plugin_utils.recent import digest

go()
print(digest("SECRET"))
"""
    found = {output.strip() for output in outputs(script, [], [])} | {digest("SECRET")}
    assert len(found) == 3
    assert all(re.fullmatch("[0-9a-f]{64}", each) for each in found)
    assert digest("SECRET") == digest("SEC" + "RET") != digest(b"SECRET")
