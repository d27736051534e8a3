# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection.
"""Hold the inventory's options for one target and its route. None means unset."""

from __future__ import annotations

from dataclasses import dataclass, field

from .model import HostKeyChecking
from .openssh import NO_FILE
from .tokens import Controller


@dataclass(frozen=True)
class JumpDefaults:
    """Hold the values for jump hosts that set none of their own, such as ``ansible_ssh_jump_user``."""

    user: str | None = None
    password: str | None = field(default=None, repr=False)
    private_key_file: str | None = None


@dataclass(frozen=True)
class InventoryOptions:
    """Hold the variables of one target.

    :param look_for_keys: whether default key files are offered if no key is named.
    :param known_hosts: files; new keys are added to the first.
    :param known_hosts_lines: known_hosts lines given as text.
    :param jump: the raw value of ``ansible_ssh_jump``.
    :param timeout: seconds for each hop to connect.
    :param total_timeout: seconds for all hops together.
    :param alive_interval: seconds between keepalives.
    :param config_file: ssh_config in place of the user's and the system's; ``none`` for no file.
    :param arguments: arguments for the ssh program.
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
