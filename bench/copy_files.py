# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Puts and fetches a file with a connection plugin, without the modules that would hash the file meanwhile.

copy_files REQUEST: a JSON file with the variables of the host, and the paths source, remote and back. Prints seconds.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from ansible.playbook.play_context import PlayContext
from ansible.plugins.loader import connection_loader, init_plugin_loader


def connect(variables: dict[str, Any]) -> Any:
    """The connection plugin that the variables name, with an open connection."""
    context = PlayContext()
    context.remote_addr, context.port = variables["ansible_host"], variables["ansible_port"]
    context.remote_user = variables["ansible_user"]
    context.private_key_file = variables["ansible_ssh_private_key_file"]  # libssh reads it here only
    connection = connection_loader.get(variables["ansible_connection"], context, task_uuid="0", new_stdin=None)
    connection.set_options(var_options=variables)
    connection._connect()
    status, _stdout, stderr = connection.exec_command("true", sudoable=False)
    if status:
        raise RuntimeError(f"true ended with {status}: {stderr!r}")
    return connection


def seconds(work: Any, *paths: str) -> float:
    """How long it takes."""
    start = time.monotonic()
    work(*paths)
    return time.monotonic() - start


def main() -> None:
    """Both ways, once."""
    request = json.loads(Path(sys.argv[1]).read_text())
    init_plugin_loader([])
    connection = connect(request["variables"])
    put = seconds(connection.put_file, request["source"], request["remote"])
    fetch = seconds(connection.fetch_file, request["remote"], request["back"])
    connection.close()
    Path(sys.argv[2]).write_text(json.dumps({"put": put, "fetch": fetch}))


if __name__ == "__main__":
    main()
