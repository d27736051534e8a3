# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection.
"""What the inventory says of one target and of the way to it. What is None was not said."""

from __future__ import annotations

from dataclasses import dataclass, field

from .model import HostKeyChecking
from .openssh import NO_FILE
from .tokens import Controller


@dataclass(frozen=True)
class JumpDefaults:
    """For hops that set none of their own: ``ansible_ssh_jump_user`` and its siblings."""

    user: str | None = None
    password: str | None = field(default=None, repr=False)
    private_key_file: str | None = None


@dataclass(frozen=True)
class InventoryOptions:
    """Variables of one target.

    :param look_for_keys: whether default key files are offered where no key is named.
    :param known_hosts: files; the first is the one that new keys are recorded in.
    :param known_hosts_lines: lines of known_hosts, given as they are.
    :param jump: the raw value of ``ansible_ssh_jump``.
    :param config_file: of OpenSSH's client, in place of the usual ones; ``none`` for none.
    :param arguments: for the ssh program.
    """

    host: str
    controller: Controller
    port: object = None
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    private_key_file: str | None = None
    private_key: str | None = field(default=None, repr=False)
    passphrase: str | None = field(default=None, repr=False)
    certificate_file: str | None = None
    certificate: str | None = field(default=None, repr=False)
    prompts: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    checking: HostKeyChecking | None = None
    known_hosts: tuple[str, ...] | None = None
    known_hosts_lines: tuple[str, ...] = ()
    host_key_alias: str | None = None
    look_for_keys: bool = True
    jump: object = field(default=None, repr=False)
    jump_defaults: JumpDefaults = JumpDefaults()
    proxy_command: str | None = None
    timeout: float | None = None
    total_timeout: float | None = None
    alive_interval: float | None = None
    alive_count: int | None = None
    config_file: str | None = NO_FILE
    arguments: tuple[str, ...] = ()
