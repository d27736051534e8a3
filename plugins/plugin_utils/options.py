# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options of a connection plugin -> settings, checked, without a socket or a process."""

from __future__ import annotations

import getpass
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ansible import constants as C
from ansible.module_utils.common.text.converters import to_bytes, to_text
from ansible.module_utils.parsing.convert_bool import boolean

from .chain.become import BecomeRules
from .chain.model import HostKeyPolicy
from .chain.names import check_alias, check_user
from .chain.resolve import JumpDefaults, Settings
from .chain.spec import parse_checking, parse_files, parse_prompts, parse_text, parse_timeout
from .errors import SettingsError, said
from .ssh.interface import SessionOptions, TransferMethod

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
class PluginSettings:
    """All that a connection plugin needs to know.

    :param retries: how often a dial is repeated.
    :param pty: whether a command with privilege escalation gets a terminal; None where it needs one.
    """

    target: Settings
    session: SessionOptions
    retries: int
    pty: bool | None


def read_options(get_option: Callable[[str], Any]) -> PluginSettings:
    """The settings in a plugin's options.

    :raises SettingsError: with the variable's name.
    """

    def get(name: str) -> Any:
        return plain(get_option(name))

    def text(name: str) -> str | None:
        return parse_text(get(name), _VARIABLES[name])

    if text("private_key") and text("private_key_file"):
        raise SettingsError("ansible_ssh_private_key", "set either it or ansible_ssh_private_key_file")
    _no_way_in_ssh_args(get)
    jump_user = text("ssh_jump_user")
    target = Settings(
        host=get("remote_addr"),
        port=get("port"),
        user=text("remote_user"),
        login_name=_login_name(),
        password=text("password"),
        private_key_file=text("private_key_file"),
        private_key=text("private_key"),
        passphrase=text("private_key_passphrase"),
        certificate_file=text("certificate_file"),
        prompts=parse_prompts(get("prompts"), "ansible_ssh_prompts"),
        host_keys=_host_keys(get),
        look_for_keys=get("look_for_keys"),
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
    return PluginSettings(
        target=target,
        session=SessionOptions(
            transfer_method=_transfer_method(get("transfer_method")),
            # Made by ansible for this run alone, private, shared by its workers, removed at its end.
            run_directory=C.DEFAULT_LOCAL_TMP,
        ),
        retries=int(_not_negative(get("reconnection_retries"), "ansible_ssh_retries")),
        pty=_pty(get("pty")),
    )


def plain(value: Any) -> Any:
    """A value of ansible's (tagged, vaulted, lazy) as Python's own, all the way down."""
    if isinstance(value, Mapping):
        return {plain(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value)
    return str.__str__(to_text(value))  # str() may return ansible's own kind of text again


def become_rules(become: Any, line: str) -> BecomeRules | None:
    """How to read a become plugin's program; None where it does not wrap this command line."""
    if not become or not become.success or become.success not in line:
        return None
    return BecomeRules(
        success=to_bytes(become.success),
        expects_prompt=become.expect_prompt(),
        is_prompt=become.check_password_prompt,
        is_incorrect=become.check_incorrect_password,
        is_missing=become.check_missing_password,
    )


def needs_pty(become: Any, rules: BecomeRules | None) -> bool:
    """Whether an escalation program works on a terminal only; doas(1) reads a password from nothing else."""
    if rules is None:
        return False
    return bool(getattr(become, "require_tty", False)) or (
        rules.expects_prompt and become.name.split(".")[-1] == "doas"
    )


def _no_way_in_ssh_args(get: Callable[[str], Any]) -> None:
    """Arguments of the ssh program are not followed, and nobody shall connect directly because of that."""
    if get("ssh_jump") or get("proxy_command"):
        return
    for option in ("ssh_args", "ssh_common_args", "ssh_extra_args"):
        if _WAY_IN_ARGS.search(get(option) or ""):
            raise SettingsError(
                f"ansible_{option}",
                "it names a jump host or a proxy command, which is not followed here; say it with ansible_ssh_jump or "
                "ansible_proxy_command, or let ansible_ssh_jump be 'none' to connect directly",
            )


def _login_name() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's user without an entry and without $USER
        return "root"


def _host_keys(get: Callable[[str], Any]) -> HostKeyPolicy:
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


def _pty(value: object) -> bool | None:
    if value == "auto":
        return None
    try:
        return bool(boolean(value))
    except TypeError:
        raise SettingsError("ansible_ssh_use_tty", f"{said(ascii(value))} is none of auto, true, false") from None
