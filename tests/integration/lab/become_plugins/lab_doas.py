# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""doas(1) as a become plugin, since the one of community.general is not installed here; it runs the real doas."""

from __future__ import annotations

DOCUMENTATION = """
name: lab_doas
short_description: Become by doas
description: Become by doas.
author: bastion.ssh contributors
options:
  become_pass:
    description: Password.
    vars:
      - name: ansible_become_password
"""

import re
from typing import Any

from ansible.plugins.become import BecomeBase


class BecomeModule(BecomeBase):  # type: ignore[misc]
    """Only what a test needs."""

    name = "community.general.doas"
    fail = ("Permission denied",)
    missing = ("Authorization required",)
    pipelining = False

    def check_password_prompt(self, b_output: bytes) -> bool:
        """Whether a line begins with doas's prompt."""
        return bool(re.match(rb"doas \(", b_output))

    def build_become_command(self, cmd: str, shell: Any) -> str:
        """The command line under doas."""
        super().build_become_command(cmd, shell)
        self.prompt = True
        return f"doas /bin/sh -c {self._build_success_command(cmd, shell, noexe=True)}"
