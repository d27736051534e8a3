# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whose files they are, where the user database does not know the user."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ansible_collections.bastion.ssh.plugins.plugin_utils.openssh import user_files as controller_files

ROOT = Path(controller_files.__file__).parents[6]
# It may read all, as this Python can be where root alone may.
NAMELESS = (
    "setpriv --reuid=1234567 --regid=0 --clear-groups --inh-caps=+dac_read_search --ambient-caps=+dac_read_search"
)
SCRIPT = """
import json, os
from ansible_collections.bastion.ssh.plugins.plugin_utils.openssh.user_files import home, login_name, set_missing_home

found = [login_name(), home()]
set_missing_home()
print(json.dumps([*found, os.path.expanduser("~/x")]))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, ["", "/", "/x"]),
        ({"HOME": "/h", "USER": "u"}, ["u", "/h", "/h/x"]),
        ({"LOGNAME": "l", "USER": "u"}, ["l", "/", "/x"]),
    ],
)
def test_a_user_without_an_entry_has_what_the_environment_says(
    environment: dict[str, str], expected: list[str]
) -> None:
    command = [*NAMELESS.split(), sys.executable, "-c", SCRIPT]
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **environment}
    done = subprocess.run(command, env=env, cwd="/", capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == expected
