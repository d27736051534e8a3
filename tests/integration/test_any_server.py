# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test servers that send any message at any moment, as target and as bastion: each ends only its own link."""

from __future__ import annotations

import os
import re
from collections import Counter
from dataclasses import replace
from itertools import islice

import pytest
from corpora import values
from fuzzing.case import LOGINS, PLACES, REQUESTS, Case, from_json, to_json
from fuzzing.chance import KINDS, STATES, cases
from fuzzing.request import Outcome, defects, judge
from fuzzing.trial import Trial
from lab import Lab, wait_until
from lab.brokers import log, open_files, status, the_broker
from lab.processes import settled

INPUTS = {why: from_json(value) for why, value in values("servers").items()}

LANES = 16


def held(lab: Lab) -> tuple[int, Counter[str]]:
    """Return how many threads the idle broker has, and how many descriptors of each kind."""
    wait_until(lambda: not status(lab)["transports"], 60, "a broker without connections")
    pid = the_broker(lab)

    def now() -> tuple[int, Counter[str]]:
        files = Counter(re.sub(r":\[\d+\]$", "", name) for name in open_files(pid).values())
        return len(os.listdir(f"/proc/{pid}/task")), files

    return settled(now)


def test_a_server_that_is_not_hostile_is_served(lab: Lab) -> None:
    """Verify that the server works without an attack, so that the hostile cases reach their attack."""
    every = [Case(request, place, patience=20) for request in REQUESTS for place in PLACES]
    every += [Case("start", "target", login, strict, patience=20) for login in LOGINS for strict in (False, True)]
    every += [Case("fetch", patience=20, plan={"sftp data": [["rekey"]], "exec": [["rekey"]]})]
    with Trial(lab) as trial:
        ends = [(to_json(result.case), result.outcome) for result in trial.run_all(every, LANES)]
    assert [each for each in ends if each[1].event not in ("exited", "done")] == []


# trust: T28, T49, T54
def test_what_found_a_fault_once_ends_its_own_link_alone(lab: Lab) -> None:
    with Trial(lab) as trial:
        before, broker = held(lab), the_broker(lab)
        with trial.watching():
            results = dict(zip(INPUTS, trial.run_all(INPUTS.values(), LANES), strict=True))
        assert held(lab) == before
    assert {why: result.problem for why, result in results.items() if result.problem} == {}
    assert trial.problems == []
    assert trial.asked
    assert len(trial.bastion.logins()) == 1  # which has carried hostile targets as well
    assert the_broker(lab) == broker
    assert defects(log(lab)) == []


# trust: T54
def test_a_message_of_an_unknown_type_is_passed_over(lab: Lab) -> None:
    """RFC 4253 section 11.4 requires it; a server may send what other clients understand."""
    kinds = {"none": 9, "key": 59, "open": 70, "exec": 127, "data": 191, "status": 193, "close": 255}
    case = Case(patience=20, plan={state: [["before", kind, "any"]] for state, kind in kinds.items()})
    cases = [replace(case, place=place) for place in ("target", "behind")]
    cases += [Case(place="bastion", patience=20, plan={"forward": [["before", 9, ""]], "data:1": [["after", 255, ""]]})]
    with Trial(lab) as trial:
        assert [result.outcome.event for result in trial.run_all(cases)] == ["exited"] * 3


def test_the_inputs_are_of_all_types_in_all_states() -> None:
    plans = [case.plan for case in INPUTS.values()]
    assert set(STATES) - {state for plan in plans for state in plan} == set()
    said = {
        change[1]
        for plan in plans
        for changes in plan.values()
        for change in changes
        if change[0] in ("before", "after")
    }
    assert set(KINDS) - said == set()


def test_a_seed_makes_the_same_inputs_each_time() -> None:
    first, again, other = ([case for _number, case in islice(cases(seed), 50)] for seed in (1, 1, 2))
    assert first == again
    assert first != other
    assert [from_json(to_json(case)) for case in first] == first


HOP = "target root@127.0.0.1:2222"


@pytest.mark.parametrize(
    ("outcome", "problem"),
    [
        (Outcome("exited"), ""),
        (Outcome("exited", status=None), ""),
        (Outcome("exited", status=-1), "it ended with -1"),
        (Outcome("done"), ""),
        (Outcome("no end"), "no end: "),
        (Outcome("no word"), "no word: "),
        (Outcome("SettingsError", "port"), "SettingsError: port"),
        (Outcome("LinkLost", f"{HOP}: it ended", HOP), ""),
        (Outcome("LinkLost", "elsewhere: it ended", "elsewhere"), "it names elsewhere: elsewhere: it ended"),
        (Outcome("CommandError", "the broker failed with KeyError"), "it has the words of a defect: "),
        (Outcome("LinkLost", f"{HOP}: KeyError", HOP), "it has the words of a defect: "),
        (Outcome("LinkLost", f"{HOP}: {{{{ x }}}}", HOP), "it has the words of a defect: "),
        (Outcome("LinkLost", f"{HOP}: \x1b[2J", HOP), "its words are not safe to show: "),
    ],
)
def test_an_end_is_judged(outcome: Outcome, problem: str) -> None:
    found = judge(Case(), outcome)
    assert found.startswith(problem) if problem else not found


def test_a_hop_before_the_hostile_one_is_not_to_be_blamed() -> None:
    first, second = "jump host 1 of 1 root@127.0.0.1:2222", "target root@127.0.0.1:2222 (via root@127.0.0.1:2222)"
    assert judge(Case(place="behind"), Outcome("LinkLost", first, first))
    assert not judge(Case(place="behind"), Outcome("LinkLost", second, second))
    assert not judge(Case(place="bastion"), Outcome("LinkLost", first, first))
