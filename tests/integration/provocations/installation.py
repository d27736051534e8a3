# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is missing on the controller. Another paramiko, and none, cannot be had beside the one that is installed: they are
played to the Python that runs Ansible."""

from __future__ import annotations

import os
from typing import Any

from .provocation import Provocation, Stage, Variables


def _with_python(stage: Stage, text: str) -> dict[str, Any]:
    """A Python that runs this first."""
    site = stage.lab.path / stage.name("site")
    site.mkdir()
    (site / "sitecustomize.py").write_text(text)
    return {"env": {"PYTHONPATH": os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")])}}


def _without_paramiko(stage: Stage) -> dict[str, Any]:
    return _with_python(stage, "import sys\nsys.modules['paramiko'] = None\n")


def _with_an_old_paramiko(stage: Stage) -> dict[str, Any]:
    return _with_python(stage, "import paramiko\nparamiko.__version__ = '3.3.1'\n")


def _without_the_collection(stage: Stage) -> dict[str, Any]:
    return {"env": {"ANSIBLE_COLLECTIONS_PATH": str(stage.lab.path), "PYTHONPATH": None}}


def _host(stage: Stage) -> Variables:
    return stage.host(("web", 22))


_INSTALL = "-m pip install 'paramiko>=3.4'"

PROVOCATIONS = [
    Provocation("paramiko is not installed", "", _host, _INSTALL, "failed", around=_without_paramiko),
    Provocation("paramiko … is too old", "", _host, _INSTALL, "failed", around=_with_an_old_paramiko),
    Provocation(
        "the connection plugin 'bastion.ssh.jump' was not found", "", _host, "", "failed",
        around=_without_the_collection,
    ),
]  # fmt: skip
