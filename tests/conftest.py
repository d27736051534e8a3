# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests import the installed collection the way Ansible does; how much is generated is said by a profile."""

from __future__ import annotations

from ansible.plugins.loader import init_plugin_loader
from hypothesis import HealthCheck, settings

# Before the first import: what Python itself imports as a namespace package, Ansible's loader of
# plugins cannot use any more in this process.
init_plugin_loader()

# The same inputs in every run, or other ones in each (--hypothesis-profile=long); one that takes so many seconds is a hang.
settings.register_profile(
    "usual", max_examples=150, derandomize=True, database=None, deadline=20_000, suppress_health_check=list(HealthCheck)
)
settings.register_profile(
    "long", settings.get_profile("usual"), max_examples=20_000, derandomize=False, print_blob=True
)
settings.load_profile("usual")
