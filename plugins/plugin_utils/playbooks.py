# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection.
"""What the playbooks of this collection take from the command line: variables with a prefix of their own, and no others."""

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
    """Refuse the name that a variable had without its prefix, where the command line of a playbook of this collection has it.

    An inventory may have a variable of that name for a purpose of its own: it is neither read nor refused. The same holds for
    ``-e`` where the module is used by a playbook of the user's.

    :param name: as it is now.
    :param loader: of ansible-core.
    :raises AnsibleActionFail: with the new name.
    """
    here = str((variables or {}).get("playbook_dir", ""))
    if os.path.realpath(here) != _PLAYBOOKS:
        return
    former = name.removeprefix(_PREFIX)
    if former in load_extra_vars(loader):
        problem = f"this playbook does not read a variable of this name; use -e {name}=… instead"
        raise AnsibleActionFail(str(SettingsError(former, problem)))
