# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Provide a lab of real SSH servers on loopback for tests."""

from __future__ import annotations

from .agent import Agent
from .chains import Chain3, chain_of_three
from .forwarder import Forwarder
from .keys import Key, certify, fingerprint, known_hosts_name, make_key, write_known_hosts
from .lab import Lab
from .machine import LabError, Machine
from .playbook import TRUE, Run, TaskResult, environment, play, playbook, raw
from .processes import wait_until
from .recording import Prompt, RecordingServer, Seen
from .sinks import Sink, blackhole, closer, saying, stuck
from .sshd import Sshd
from .sshd_log import Forward, Login
from .users import User
from .watch import Watch, grep_tree

__all__ = [
    "TRUE",
    "Agent",
    "Chain3",
    "Forward",
    "Forwarder",
    "Key",
    "Lab",
    "LabError",
    "Login",
    "Machine",
    "Prompt",
    "RecordingServer",
    "Run",
    "Seen",
    "Sink",
    "Sshd",
    "TaskResult",
    "User",
    "Watch",
    "blackhole",
    "certify",
    "chain_of_three",
    "closer",
    "environment",
    "fingerprint",
    "grep_tree",
    "known_hosts_name",
    "make_key",
    "play",
    "playbook",
    "raw",
    "saying",
    "stuck",
    "wait_until",
    "write_known_hosts",
]
