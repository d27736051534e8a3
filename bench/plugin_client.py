# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Uses a connection plugin without a play, in a process of its own.

plugin_client VARIABLES: a JSON file with the variables of the host. Each line of standard input is a JSON list, what to do
and with what; each line of standard output says in JSON how many seconds it took.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
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


def seconds(work: Callable[..., object], *arguments: object) -> float:
    """How long it takes."""
    start = time.monotonic()
    work(*arguments)
    return time.monotonic() - start


def execs(connection: Any, count: int) -> list[float]:
    """Commands one after another, through what bastion.ssh.jump has below the plugin: no part of Ansible."""
    from ansible_collections.bastion.ssh.plugins.plugin_utils.client.command import Request, run

    session = connection._session
    request = Request("true")

    def one() -> None:
        if run(session.start("true"), request).status:
            raise RuntimeError("true failed")

    return [seconds(one) for _command in range(count)]


def main() -> None:
    """Until the input ends."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # a plugin may print
    init_plugin_loader([])
    connection = connect(json.loads(Path(sys.argv[1]).read_text()))
    work: dict[str, Callable[..., object]] = {
        "session": lambda: type(connection._session).__name__,
        "exec": lambda count: execs(connection, count),
        "put": lambda source, target: seconds(connection.put_file, source, target),
        "fetch": lambda source, target: seconds(connection.fetch_file, source, target),
    }
    for line in sys.stdin:
        name, *arguments = json.loads(line)
        answers.write(json.dumps(work[name](*arguments)) + "\n")
    connection.close()


if __name__ == "__main__":
    main()
