# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A connection plugin without a play: starts plugin_client and asks it."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from lab import processes

from .contenders import Contender
from .network import Network
from .runs import fresh_home, run_environment

SCRIPT = Path(__file__).with_name("plugin_client.py")

Ask = Callable[..., Any]


@contextlib.contextmanager
def plugin(
    network: Network, contender: Contender, variables: Mapping[str, Any], *, alone: bool = True
) -> Iterator[Ask]:
    """A plugin that is connected to the first target, in a fresh home; variables are added to the contender's."""
    path = Path(tempfile.mkdtemp(prefix="plugin-", dir=network.lab.path))
    address, port = network.places[0]
    place = {"ansible_host": address, "ansible_port": port, "inventory_hostname": "target1"}
    (path / "variables.json").write_text(json.dumps({**contender.variables, **place, **variables}))
    with fresh_home(network, alone=alone) as home, (path / "errors").open("wb") as errors:
        process = subprocess.Popen(
            [sys.executable, "-P", str(SCRIPT), "variables.json"], cwd=path,
            env=run_environment(network, contender, home), text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors,
        )  # fmt: skip
        assert process.stdin
        assert process.stdout

        def ask(*words: object) -> Any:
            assert process.stdin
            assert process.stdout
            with contextlib.suppress(BrokenPipeError):
                process.stdin.write(json.dumps(words) + "\n")
                process.stdin.flush()
            answer = process.stdout.readline()
            if not answer:
                raise RuntimeError(f"{contender.name} ended:\n{(path / 'errors').read_text()[-4000:]}")
            return json.loads(answer)

        with process:
            try:
                yield ask
            finally:
                processes.end_child(process)
