# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What keeps the connection plugin's start short, which every worker goes through for every task.

ansible-core loads the plugins of collections in each worker anew: it compiles their modules from source, and parses their
documentation, which takes longer than a task.
"""

from __future__ import annotations

import importlib.machinery
import json
import os
import sys
from collections.abc import Sequence
from types import ModuleType

from ansible import constants as C

_PACKAGE = __name__.rpartition(".")[0]
#: The connection plugin, as ansible-core's loader calls it.
CONNECTION = f"{_PACKAGE.rpartition('.')[0]}.connection.jump"
_HERE = os.path.dirname(os.path.abspath(__file__))


class _WithByteCode:
    """Finds the modules beside this one as Python does, which keeps their byte code."""

    @staticmethod
    def find_spec(
        name: str, path: Sequence[str] | None = None, _target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """See importlib.abc.MetaPathFinder."""
        if path is None or not name.startswith(f"{_PACKAGE}."):
            return None
        loader = (importlib.machinery.SourceFileLoader, importlib.machinery.SOURCE_SUFFIXES)
        return importlib.machinery.FileFinder(next(iter(path)), loader).find_spec(name)


def keep_byte_code() -> None:
    """From now on, the modules of this folder are compiled once, and not in every worker."""
    if not any(finder is _WithByteCode for finder in sys.meta_path):
        sys.meta_path.insert(0, _WithByteCode)  # type: ignore[arg-type]


def define_options() -> None:
    """Tells ansible-core the connection plugin's options, as its documentation has them: then it need not parse that."""
    if not C.config.has_configuration_definition("connection", CONNECTION):
        with open(os.path.join(_HERE, "definitions.json"), encoding="utf-8") as stream:
            C.config.initialize_plugin_configuration_definitions("connection", CONNECTION, json.load(stream))
