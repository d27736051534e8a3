# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role's README says is what its argument specification and its defaults say."""

from __future__ import annotations

import re
from pathlib import Path

import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

ROLE = Path(__file__).parents[2] / "roles/bastion"
README = (ROLE / "README.md").read_text("utf-8")
OPTIONS = yaml.safe_load((ROLE / "meta/argument_specs.yml").read_text("utf-8"))["argument_specs"]["main"]["options"]


def test_the_example_is_what_the_role_takes() -> None:
    (example,) = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
    ((role,),) = (play["roles"] for play in yaml.safe_load(example))
    assert ArgumentSpecValidator(OPTIONS).validate(role["vars"]).error_messages == []


def test_the_example_shows_all_that_an_account_can_be_told() -> None:
    assert [name for name in OPTIONS["bastion_accounts"]["options"] if f"{name}:" not in README] == []


def test_each_variable_has_its_row_and_its_default() -> None:
    rows = dict(re.findall(r"^\| `(bastion_\w+)` \| `?(.*?)`? \|", README, re.MULTILINE))
    assert rows == {name: str(option.get("default", "required")) for name, option in OPTIONS.items()}


def test_the_defaults_are_those_that_are_documented() -> None:
    defaults = yaml.safe_load((ROLE / "defaults/main.yml").read_text("utf-8"))
    assert defaults == {name: option["default"] for name, option in OPTIONS.items() if "default" in option}
