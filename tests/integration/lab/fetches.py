# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fetch files by a connection plugin without a play, in a process with its own user and umask.

Standard input is a JSON object: ``variables`` of the host, and ``fetches``, each a list of transfer method, umask, file on the target
and file on the controller. Standard output is a JSON list of error messages, "" for a fetch that succeeded.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from ansible.playbook.play_context import PlayContext
from ansible.plugins.loader import connection_loader, init_plugin_loader


def _connection(variables: dict[str, Any]) -> Any:
    context = PlayContext()
    context.remote_addr, context.port = variables["ansible_host"], variables["ansible_port"]
    context.remote_user = variables["ansible_user"]
    connection = connection_loader.get(variables["ansible_connection"], context, task_uuid="0", new_stdin=None)
    connection.set_options(var_options=variables)
    return connection


def _fetch(variables: dict[str, Any], method: str, umask: int, source: str, destination: str) -> str:
    connection = _connection(variables | {"ansible_ssh_transfer_method": method})
    os.umask(umask)
    try:
        connection.fetch_file(source, destination)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    finally:
        os.umask(0o022)
        connection.close()
    return ""


def main() -> None:
    """Run all fetches."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # a plugin may print
    init_plugin_loader([])
    asked = json.load(sys.stdin)
    answers.write(json.dumps([_fetch(asked["variables"], *fetch) for fetch in asked["fetches"]]))


if __name__ == "__main__":
    main()
