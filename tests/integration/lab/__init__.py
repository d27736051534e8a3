# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A lab of real SSH servers on loopback for tests."""

from __future__ import annotations

from .agent import Agent
from .keys import Key, certify, fingerprint, known_hosts_name, make_key, write_known_hosts
from .lab import Lab
from .machine import LabError, Machine
from .playbook import Run, TaskResult, play, playbook
from .processes import wait_until
from .sshd import Sshd
from .sshd_log import Forward, Login
from .users import User

__all__ = [
    "Agent",
    "Forward",
    "Key",
    "Lab",
    "LabError",
    "Login",
    "Machine",
    "Run",
    "Sshd",
    "TaskResult",
    "User",
    "certify",
    "fingerprint",
    "known_hosts_name",
    "make_key",
    "play",
    "playbook",
    "wait_until",
    "write_known_hosts",
]
