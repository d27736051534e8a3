# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection.
"""What keeps the connection plugin's start short, which every worker goes through for every task.

ansible-core loads the plugins of collections in each worker anew: it compiles their modules from source, and parses their
documentation, which takes longer than a task.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import sys

from ansible import constants as C

_PACKAGE = __name__.rpartition(".")[0]
#: The connection plugin, as ansible-core's loader calls it.
CONNECTION = f"{_PACKAGE.rpartition('.')[0]}.connection.jump"
_HERE = os.path.dirname(os.path.abspath(__file__))
# What a worker needs that has a broker, each after those that it imports.
_MODULES = (
    "errors", "clock", "client.become", "client.interface", "deadline", "client.command", "client.confinement", "client.address",
    "client.wire", "client.client", "facts", "openssh.user_files", "options",
)  # fmt: skip


def load_modules() -> None:
    """Imports the modules that every worker needs as Python does, which keeps their byte code."""
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
    """Tells ansible-core the connection plugin's options, as its documentation has them: then it need not parse that."""
    if not C.config.has_configuration_definition("connection", CONNECTION):
        with open(os.path.join(_HERE, "definitions.json"), encoding="utf-8") as stream:
            C.config.initialize_plugin_configuration_definitions("connection", CONNECTION, json.load(stream))
