# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test new keys on every hop during transfers in both directions."""

from __future__ import annotations

import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from lab import Lab, chain_of_three
from sessions import opened

from ansible_collections.bastion.ssh.plugins.plugin_utils.chain.model import TransferMethod

KEXINIT = "SSH2_MSG_KEXINIT received"


def random_file(path: Path, mebibytes: int) -> Path:
    subprocess.run(["sh", "-c", f"head -c {mebibytes}M /dev/urandom > {path}"], check=True)
    return path


@pytest.mark.timeout(300)
@pytest.mark.parametrize("asked_by", ["servers", "us"])
@pytest.mark.parametrize("method", [TransferMethod.SFTP, TransferMethod.PIPED])
def test_new_keys_in_mid_transfer_change_nothing(lab: Lab, method: TransferMethod, asked_by: str) -> None:  # trust: T38
    """In both directions at once, and with compression to the target where the client starts the rekeying."""
    large = asked_by == "servers" and method is TransferMethod.SFTP
    size = 100 if large else 10  # each way
    limit: dict[str, Any] = {"RekeyLimit": "1M none"} if asked_by == "servers" else {}
    chain = chain_of_three(lab, **limit)
    remote = chain.users[2].home
    sources = [random_file(lab.path / "there", size), random_file(remote / "here", size)]
    variables = chain.variables
    if asked_by == "us":
        variables |= {"ansible_ssh_extra_args": "-o RekeyLimit=1M -o Compression=yes"}
    with opened(lab, variables, method) as session, ThreadPoolExecutor(2) as pool:
        both = [
            pool.submit(session.session.put, f"{sources[0]}", f"{remote}/there"),
            pool.submit(session.session.fetch, f"{sources[1]}", f"{lab.path}/here"),
        ]
        for transfer in both:
            transfer.result()
    for name in ("here", "there"):
        subprocess.run(["cmp", f"{lab.path}/{name}", f"{remote}/{name}"], check=True)
    hosts = chain.hosts if asked_by == "servers" else chain.hosts[2:]
    assert [host for host in hosts if host.count(KEXINIT) < size] == []
    assert bool(chain.target.count("Enabling compression at level")) == (asked_by == "us")
