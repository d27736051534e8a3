# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The plain values of a connection plugin's options -> settings, checked, without a socket or a process."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .chain.anchor import anchored
from .chain.model import Chain, HostKeyPolicy
from .chain.names import check_alias, check_user
from .chain.resolve import JumpDefaults, Settings, resolve
from .chain.spec import parse_checking, parse_files, parse_prompts, parse_text, parse_timeout
from .errors import SettingsError, said
from .ssh.local_files import TransferMethod

# -J, alone or behind other letters, and the two keywords in whatever quoting.
_WAY_IN_ARGS = re.compile(
    r"(?:^|\s)['\"]?-[46AaCfGgKkMNnqsTtVvXxYy]*J|Proxy(?:Jump|Command)\b(?!\s*=?\s*['\"]?none\b)", re.IGNORECASE
)

# An option's name, and the variable that a message names: the one that users are told to set.
_VARIABLES = {
    "password": "ansible_password",
    "private_key_file": "ansible_ssh_private_key_file",
    "private_key": "ansible_ssh_private_key",
    "private_key_passphrase": "ansible_ssh_private_key_passphrase",
    "certificate_file": "ansible_ssh_certificate_file",
    "ssh_jump_user": "ansible_ssh_jump_user",
    "ssh_jump_password": "ansible_ssh_jump_password",
    "ssh_jump_private_key_file": "ansible_ssh_jump_private_key_file",
    "proxy_command": "ansible_proxy_command",
    "remote_user": "ansible_user",
}


@dataclass(frozen=True)
class TargetSettings:
    """All that a session needs to know.

    :param retries: how often a dial is repeated.
    :param persist: seconds for which connections are kept when nothing uses them; 0 for no broker.
    :param persist_max: seconds after which a connection is used for nothing new; None for no limit.
    :param run_directory: private to the user and this run, for what its workers remember together; None for none.
    """

    chain: Chain
    transfer_method: TransferMethod = TransferMethod.SMART
    retries: int = 0
    persist: float = 60.0
    persist_max: float | None = None
    run_directory: str | None = None


def read_settings(options: Mapping[str, Any]) -> TargetSettings:
    """The settings in a plugin's options.

    :raises SettingsError: with the variable's name.
    """
    get = options.get
    return TargetSettings(
        chain=anchored(resolve(inventory_settings(options)), get("directory") or "/", _pairs(get("environment"))),
        transfer_method=_transfer_method(get("transfer_method")),
        retries=int(_not_negative(get("reconnection_retries"), "ansible_ssh_retries")),
        persist=_not_negative(get("persist"), "ansible_ssh_persist"),
        persist_max=_not_negative(get("persist_max"), "ansible_ssh_persist_max") or None,
        run_directory=get("run_directory"),
    )


def inventory_settings(options: Mapping[str, Any]) -> Settings:
    """What the options say of the target and of the way to it.

    :raises SettingsError: with the variable's name.
    """
    get = options.get

    def text(name: str) -> str | None:
        return parse_text(get(name), _VARIABLES[name])

    if text("private_key") and text("private_key_file"):
        raise SettingsError("ansible_ssh_private_key", "set either it or ansible_ssh_private_key_file")
    _no_way_in_ssh_args(options)
    jump_user = text("ssh_jump_user")
    return Settings(
        host=options["remote_addr"],
        port=options["port"],
        user=text("remote_user"),
        login_name=options["login_name"],
        password=text("password"),
        private_key_file=text("private_key_file"),
        private_key=text("private_key"),
        passphrase=text("private_key_passphrase"),
        certificate_file=text("certificate_file"),
        prompts=parse_prompts(get("prompts"), "ansible_ssh_prompts"),
        host_keys=_host_keys(options),
        look_for_keys=options["look_for_keys"],
        jump=get("ssh_jump"),
        jump_defaults=JumpDefaults(
            user=None if jump_user is None else check_user(jump_user, "ansible_ssh_jump_user"),
            password=text("ssh_jump_password"),
            private_key_file=text("ssh_jump_private_key_file"),
        ),
        proxy_command=text("proxy_command"),
        timeout=parse_timeout(get("connect_timeout"), "ansible_ssh_timeout") or 10.0,
        total_timeout=parse_timeout(get("ssh_jump_timeout"), "ansible_ssh_jump_timeout"),
        alive_interval=_not_negative(get("server_alive_interval"), "ansible_ssh_server_alive_interval"),
        alive_count=max(1, int(_not_negative(get("server_alive_count_max"), "ansible_ssh_server_alive_count_max"))),
    )


def _no_way_in_ssh_args(options: Mapping[str, Any]) -> None:
    """Arguments of the ssh program are not followed, and nobody shall connect directly because of that."""
    if options.get("ssh_jump") or options.get("proxy_command"):
        return
    for option in ("ssh_args", "ssh_common_args", "ssh_extra_args"):
        if _WAY_IN_ARGS.search(options.get(option) or ""):
            raise SettingsError(
                f"ansible_{option}",
                "it names a jump host or a proxy command, which is not followed here; say it with ansible_ssh_jump or "
                "ansible_proxy_command, or let ansible_ssh_jump be 'none' to connect directly",
            )


def _host_keys(options: Mapping[str, Any]) -> HostKeyPolicy:
    get = options.get
    files = get("known_hosts")
    alias = parse_text(get("host_key_alias"), "ansible_ssh_host_key_alias")
    return HostKeyPolicy(
        checking=parse_checking(get("host_key_checking"), "ansible_ssh_host_key_checking"),
        known_hosts=parse_files(files.split(",") if isinstance(files, str) else files, "ansible_ssh_known_hosts"),
        alias=None if alias is None else check_alias(alias, "ansible_ssh_host_key_alias"),
    )


def _transfer_method(value: object) -> TransferMethod:
    try:
        return TransferMethod(value)
    except ValueError:
        raise SettingsError(
            "ansible_ssh_transfer_method", f"{said(ascii(value))} is none of smart, sftp, piped"
        ) from None


def _not_negative(value: object, setting: str) -> float:
    if isinstance(value, (int, float)) and math.isfinite(value) and value >= 0:
        return float(value)
    raise SettingsError(setting, f"{said(ascii(value))} is not a number from 0 up")


def _pairs(environment: Mapping[str, str] | None) -> tuple[tuple[str, str], ...] | None:
    return None if environment is None else tuple(sorted(environment.items()))
