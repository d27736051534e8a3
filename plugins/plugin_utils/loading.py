# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection.
"""Speed up the loading of the connection plugin, which every worker does for every task.

In each worker, ansible-core compiles the modules of a collection from source and parses the plugin's documentation, which takes
longer than a task.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import sys

from ansible import constants as C

_PACKAGE = __name__.rpartition(".")[0]
#: The connection plugin's name in ansible-core's loader.
CONNECTION = f"{_PACKAGE.rpartition('.')[0]}.connection.jump"
_HERE = os.path.dirname(os.path.abspath(__file__))
# The modules that a worker with a broker needs, each after those that it imports.
_MODULES = (
    "errors", "clock", "client.become", "client.interface", "deadline", "client.command", "client.confinement", "client.address",
    "client.wire", "client.client", "facts", "openssh.user_files", "options",
)  # fmt: skip


def load_modules() -> None:
    """Import the modules that every worker needs with Python's own loader, which caches byte code."""
    for name in _MODULES:
        full_name = f"{_PACKAGE}.{name}"
        if full_name in sys.modules:
            continue
        importlib.import_module(full_name.rpartition(".")[0])
        spec = importlib.util.spec_from_file_location(full_name, os.path.join(_HERE, *name.split(".")) + ".py")
        if spec is not None and spec.loader is not None:
            module = sys.modules[full_name] = importlib.util.module_from_spec(spec)
            try:
                spec.loader.exec_module(module)
            except BaseException:
                del sys.modules[full_name]
                raise


def define_options() -> None:
    """Register the connection plugin's options with ansible-core, which then need not parse the documentation."""
    if not C.config.has_configuration_definition("connection", CONNECTION):
        with open(os.path.join(_HERE, "definitions.json"), encoding="utf-8") as stream:
            C.config.initialize_plugin_configuration_definitions("connection", CONNECTION, json.load(stream))
