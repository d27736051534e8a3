# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests import the installed collection the way Ansible does."""

from __future__ import annotations

from ansible.plugins.loader import init_plugin_loader

# Before the first import: what Python itself imports as a namespace package, Ansible's loader of
# plugins cannot use any more in this process.
init_plugin_loader()
