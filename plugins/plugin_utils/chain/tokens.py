# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""OpenSSH's tokens in a ProxyCommand (ssh_config(5), TOKENS): one pass, an unknown one is an error."""

from __future__ import annotations

import re

from ..errors import SettingsError
from .model import Hop

# A shell still acts on these in a user name that valid_ruser lets pass.
_SHELL = re.compile(r"[$\\*?\[\]~#!\s]")


def expand(template: str, hop: Hop, setting: str) -> str:
    """The command line for a hop: ``%h`` host, ``%n`` host as given, ``%p`` port, ``%r`` user, ``%%``.

    :raises SettingsError: another token, a lone ``%`` at the end, or a user name that the shell would act on.
    """
    values = {"h": hop.host, "n": hop.host, "p": str(hop.port), "r": hop.credentials.user, "%": "%"}

    def value(match: re.Match[str]) -> str:
        token = match.group(1)
        if token not in values:
            raise SettingsError(setting, f"unknown token {match.group(0)!r}; known are %h %n %p %r and %%")
        if token == "r" and _SHELL.search(values["r"]):
            raise SettingsError(
                setting, f"%r would put {values['r']!r} into a shell command; write the user out, quoted"
            )
        return values[token]

    return re.sub(r"%(.?)", value, template, flags=re.DOTALL)
