# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A large file to a target and back, all contenders in turn."""

from __future__ import annotations

import filecmp
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from .contenders import SLOW, Contender, in_turn
from .network import Network
from .plugins import plugin

MIB = 1024 * 1024
SIZE = 256
SMALL = 16  # for who would take minutes; once
ROUNDS = 3
UNFIT = {
    "local": "it copies on the same machine",
    "mitogen": "its plugin works in its own strategy only, not by itself",
}


def transfer_rounds(
    network: Network, contenders: Sequence[Contender], rounds: int, missing: dict[str, str]
) -> Iterator[dict[str, Any]]:
    """A row for each direction and run; who cannot is told in missing. Files are in memory: no disk is measured."""
    disk = network.lab.disk(f"{3 * SIZE + 2 * SMALL}m")
    sources = {mib: _random_file(disk, mib) for mib in (SIZE, SMALL)}
    missing |= {f"transfer {each.name}": UNFIT[each.name] for each in contenders if each.name in UNFIT}
    fit = [contender for contender in contenders if contender.name not in UNFIT]
    for number in range(rounds):
        for contender in in_turn(fit, number):
            slow = contender.name in SLOW
            if slow and number:
                continue
            mib = SMALL if slow else SIZE
            for direction, wall in _copy(network, contender, disk, sources[mib]).items():
                yield {"contender": contender.name, "direction": direction, "round": number, "wall": wall, "mib": mib}


def _random_file(disk: Path, mib: int) -> Path:
    path = disk / f"random-{mib}"
    with path.open("wb") as file:
        for _piece in range(mib):
            file.write(os.urandom(MIB))
    return path


def _copy(network: Network, contender: Contender, disk: Path, source: Path) -> dict[str, float]:
    """Seconds for each direction."""
    remote, back = disk / "remote", disk / "back"
    with plugin(network, contender, {"ansible_ssh_transfer_method": "sftp"}) as ask:
        took = {"put": ask("put", str(source), str(remote)), "fetch": ask("fetch", str(remote), str(back))}
    if not filecmp.cmp(source, back, shallow=False):
        raise RuntimeError(f"{contender.name} brought another file back")
    for file in (remote, back):
        file.unlink()
    return took
