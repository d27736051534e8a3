# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection.
"""Check the variables that the playbooks of this collection take from the command line, which have a prefix of their own."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.utils.vars import load_extra_vars

from .errors import SettingsError

_PREFIX = "bastion_ssh_"
_PLAYBOOKS = os.path.realpath(os.path.join(os.path.dirname(__file__), "..", "..", "playbooks"))


def refuse_former_name(name: str, loader: Any, variables: Mapping[str, Any] | None) -> None:
    """Refuse the former name of a variable, without its prefix, on the command line of a playbook of this collection.

    A variable of that name in an inventory has another purpose and is ignored, and so is one given with ``-e`` to a user's own
    playbook.

    :param name: the current name.
    :param loader: ansible-core's data loader.
    :raises AnsibleActionFail: the command line sets the former name.
    """
    here = str((variables or {}).get("playbook_dir", ""))
    if os.path.realpath(here) != _PLAYBOOKS:
        return
    former = name.removeprefix(_PREFIX)
    if former in load_extra_vars(loader):
        problem = f"this playbook does not read a variable of this name; use -e {name}=… instead"
        raise AnsibleActionFail(str(SettingsError(former, problem)))
