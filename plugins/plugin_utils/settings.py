# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection.
"""Check the plain values of the connection plugin's options, and turn them into settings."""

from __future__ import annotations

import math
import os
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from .chain.arguments import Arguments, read_arguments
from .chain.inventory import InventoryOptions, JumpDefaults
from .chain.model import Chain, TransferMethod
from .chain.names import check_alias, check_user
from .chain.openssh import NO_FILE, SOURCE, ConfigLookup, ConfigQuery, no_config
from .chain.paths import with_absolute_paths
from .chain.resolve import Resolution, resolve
from .chain.route import ResolvedHop
from .chain.spec import (
    is_none,
    parse_checking,
    parse_jump,
    parse_known_hosts,
    parse_prompts,
    parse_secret,
    parse_text,
    parse_timeout,
)
from .chain.tokens import Controller
from .errors import SettingsError, sanitize
from .openssh.user_files import home

_PERSIST = 60.0
_USUAL_TIMEOUT = 10.0  # seconds; the default of ansible-core and of this plugin

# Option -> the variable that messages name.
_VARIABLES = {
    "password": "ansible_password",
    "private_key_file": "ansible_ssh_private_key_file",
    "private_key": "ansible_ssh_private_key",
    "private_key_passphrase": "ansible_ssh_private_key_passphrase",
    "certificate_file": "ansible_ssh_certificate_file",
    "certificate": "ansible_ssh_certificate",
    "ssh_jump_user": "ansible_ssh_jump_user",
    "ssh_jump_password": "ansible_ssh_jump_password",
    "ssh_jump_private_key_file": "ansible_ssh_jump_private_key_file",
    "proxy_command": "ansible_proxy_command",
    "config_file": "ansible_ssh_config_file",
    "remote_user": "ansible_user",
}


ConfigLookupFactory = Callable[[str, Mapping[str, str]], ConfigLookup]
#: Repeats a query in a directory and an environment; returns whether the answer changed.
AskAnew = Callable[[ConfigQuery, str, Mapping[str, str]], bool]


def _nobody(_directory: str, _environment: Mapping[str, str]) -> ConfigLookup:
    return no_config


@dataclass(frozen=True)
class SessionConfig:
    """Hold the configuration of a session.

    :param retries: how often a failed connection attempt is repeated.
    :param persist: seconds for which unused connections are kept; 0 for no broker.
    :param persist_max: seconds after which a connection takes no new tasks; None for no limit.
    :param run_directory: directory shared by the workers of this run, private to the user; None for none.
    :param run_key: a secret shared by the processes of this run; None for none.
    :param task: ID of the task, the same for all of its hosts; None for none.
    :param warnings: arguments without effect here, and warnings of the ssh program.
    :param remarks: notes on keywords of ssh_config without effect here, shown with -v.
    :param ask_anew: for each hop, a call that queries OpenSSH again before a login and returns the current settings, or None if
        it need not be queried; empty if no query is ever repeated.
    """

    chain: Chain
    transfer_method: TransferMethod = TransferMethod.SMART
    retries: int = 0
    persist: float = _PERSIST
    persist_max: float | None = None
    run_directory: str | None = None
    run_key: str | None = field(default=None, repr=False)
    task: str | None = None
    warnings: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    ask_anew: tuple[Callable[[], SessionConfig] | None, ...] = field(default=(), repr=False, compare=False)

    def before_login(self, index: int) -> SessionConfig | None:
        """Query OpenSSH again before the login to a hop, if need be. Return the new settings, or None if they are the same."""
        ask = self.ask_anew[index] if self.ask_anew else None
        found = None if ask is None else ask()
        if found is None or found.chain == self.chain:
            return None
        return replace(self, chain=found.chain, warnings=found.warnings, remarks=found.remarks, ask_anew=found.ask_anew)


def read_settings(
    options: Mapping[str, Any], config_lookup: ConfigLookupFactory = _nobody, ask_anew: AskAnew | None = None
) -> SessionConfig:
    """Return the settings of a plugin's options.

    :param config_lookup: returns the lookup of OpenSSH's settings for a directory and an environment; the default finds none.
    :param ask_anew: repeats a query before a login; None if there is one login only.
    :raises SettingsError: an unusable value; it names the variable.
    """
    get = options.get
    found, arguments = resolution(options, config_lookup)
    directory, environment = options["directory"], options["environment"]
    persist = _maybe(get("persist"), "ansible_ssh_persist")
    if persist is None:
        persist = found.target.openssh.persist
    return SessionConfig(
        chain=with_absolute_paths(found.chain, directory, tuple(sorted(environment.items()))),
        transfer_method=_transfer_method(get("transfer_method")),
        retries=int(_not_negative(get("reconnection_retries"), "ansible_ssh_retries")),
        persist=_PERSIST if persist is None else persist,
        persist_max=_not_negative(get("persist_max"), "ansible_ssh_persist_max") or None,
        run_directory=get("run_directory"),
        run_key=get("run_key"),
        task=get("task"),
        warnings=_warnings(found, arguments, parse_text(get("ssh_executable"), "ansible_ssh_executable")),
        remarks=_remarks(found),
        ask_anew=()
        if ask_anew is None
        else tuple(_asks(visit, options, config_lookup, ask_anew) for visit in _visits(found)),
    )


def _asks(
    visit: ResolvedHop, options: Mapping[str, Any], config_lookup: ConfigLookupFactory, ask_anew: AskAnew
) -> Callable[[], SessionConfig] | None:
    """Return a call that queries OpenSSH again about a hop and returns the settings; None if it need not be queried."""
    query = visit.openssh.before_login

    if query is None:
        return None

    def ask() -> SessionConfig:
        ask_anew(query, options["directory"], options["environment"])
        # Read even an unchanged answer: another task may have queried just before, and found the change.
        return read_settings(options, config_lookup, ask_anew)

    return ask


def resolution(
    options: Mapping[str, Any], config_lookup: ConfigLookupFactory = _nobody
) -> tuple[Resolution, Arguments]:
    """Return the resolved chain of a plugin's options, and their parsed arguments for ssh.

    :raises SettingsError: an unusable value; it names the variable.
    """
    arguments = _arguments(options)
    settings = inventory_settings(options, arguments)
    return resolve(settings, config_lookup(options["directory"], options["environment"])), arguments


def inventory_settings(options: Mapping[str, Any], arguments: Arguments) -> InventoryOptions:
    """Return the checked options for the target and the route to it.

    :param arguments: the parsed arguments for ssh of the same options.
    :raises SettingsError: an unusable value; it names the variable.
    """
    get = options.get

    def text(name: str) -> str | None:
        return parse_text(get(name), _VARIABLES[name])

    def secret(name: str) -> str | None:
        return parse_secret(get(name), _VARIABLES[name])

    if text("private_key") and text("private_key_file"):
        raise SettingsError("ansible_ssh_private_key", "set either it or ansible_ssh_private_key_file")
    if text("certificate") and text("certificate_file"):
        raise SettingsError("ansible_ssh_certificate", "set either it or ansible_ssh_certificate_file")
    jump_user = text("ssh_jump_user")
    alias = parse_text(get("host_key_alias"), "ansible_ssh_host_key_alias")
    checking = get("host_key_checking")
    files, lines = _known_hosts(get("known_hosts"))
    count = _maybe(get("server_alive_count_max"), "ansible_ssh_server_alive_count_max")
    return InventoryOptions(
        host=options["remote_addr"],
        controller=_controller(options),
        port=options["port"],
        user=text("remote_user"),
        password=secret("password"),
        private_key_file=text("private_key_file"),
        private_key=text("private_key"),
        passphrase=secret("private_key_passphrase"),
        certificate_file=text("certificate_file"),
        certificate=text("certificate"),
        prompts=parse_prompts(get("prompts"), "ansible_ssh_prompts"),
        checking=None if checking is None else parse_checking(checking, "ansible_ssh_host_key_checking"),
        known_hosts=files,
        known_hosts_lines=lines,
        host_key_alias=None if alias is None else check_alias(alias, "ansible_ssh_host_key_alias"),
        look_for_keys=options["look_for_keys"],
        jump=get("ssh_jump"),
        jump_defaults=JumpDefaults(
            user=None if jump_user is None else check_user(jump_user, "ansible_ssh_jump_user"),
            password=secret("ssh_jump_password"),
            private_key_file=text("ssh_jump_private_key_file"),
        ),
        proxy_command=text("proxy_command"),
        timeout=_timeout(get("connect_timeout")),
        total_timeout=parse_timeout(get("ssh_jump_timeout"), "ansible_ssh_jump_timeout"),
        alive_interval=_maybe(get("server_alive_interval"), "ansible_ssh_server_alive_interval"),
        alive_count=None if count is None else int(count),
        config_file=_config_file(text("config_file"), arguments, options["directory"]),
        arguments=arguments.asked,
    )


def _arguments(options: Mapping[str, Any]) -> Arguments:
    """Parse the arguments for ssh, in the order in which ``ansible.builtin.ssh`` passes them."""
    return read_arguments(
        (f"ansible_{name}", parse_text(options.get(name), f"ansible_{name}") or "")
        for name in ("ssh_args", "ssh_common_args", "ssh_extra_args")
    )


def _config_file(option: str | None, arguments: Arguments, directory: str) -> str | None:
    """Return the configuration file of the option, else of -F, else None for the default files."""
    path = option or arguments.config_file
    if path is None or is_none(path):
        return path if path is None else NO_FILE
    return os.path.join(directory, os.path.expanduser(path))


def _controller(options: Mapping[str, Any]) -> Controller:
    """Describe this machine and the user, under whose ID this process runs."""
    environment = tuple(sorted(options["environment"].items()))
    return Controller(options["login_name"], os.geteuid(), home(), socket.gethostname(), environment)


def _known_hosts(value: object) -> tuple[tuple[str, ...] | None, tuple[str, ...]]:
    """Parse known_hosts as for a hop, but with commas between the paths of a string."""
    if isinstance(value, str) and parse_known_hosts(value or None, "ansible_ssh_known_hosts")[0]:
        value = value.split(",")
    return parse_known_hosts(value, "ansible_ssh_known_hosts")


def _timeout(value: object) -> float | None:
    """Return the timeout in seconds; None for ansible-core's default, which its programs set even if the user does not."""
    timeout = parse_timeout(value, "ansible_ssh_timeout")
    return None if timeout == _USUAL_TIMEOUT else timeout


def _warnings(found: Resolution, arguments: Arguments, program: str | None) -> tuple[str, ...]:
    """Return warnings: of options for ssh that have no effect, and those of ssh itself.

    :param program: the value of ``ansible_ssh_executable``.
    """
    unused = [f"{option} has no effect on this connection" for option in arguments.unused]
    if program is not None:
        unused.append("ansible_ssh_executable has no effect on this connection: no ssh program makes it")
    if arguments.jump and parse_jump(found.settings.jump):
        unused += [f"{option} has no effect, as ansible_ssh_jump is set" for option in arguments.jump]
    said_by_ssh = (warning for visit in _visits(found) for warning in visit.openssh.warnings)
    return tuple(dict.fromkeys([*unused, *said_by_ssh]))


def _remarks(found: Resolution) -> tuple[str, ...]:
    keywords = dict.fromkeys(keyword for visit in _visits(found) for keyword in visit.openssh.unused)
    return (f"{SOURCE}: {', '.join(keywords)}: not used by this connection",) if keywords else ()


def _visits(found: Resolution) -> tuple[ResolvedHop, ...]:
    return (*found.way.jumps, found.target)


def _transfer_method(value: object) -> TransferMethod:
    try:
        return TransferMethod(value)
    except ValueError:
        raise SettingsError(
            "ansible_ssh_transfer_method", f"{sanitize(ascii(value))} is none of smart, sftp, piped"
        ) from None


def _not_negative(value: object, setting: str) -> float:
    if isinstance(value, (int, float)) and math.isfinite(value) and value >= 0:
        return float(value)
    raise SettingsError(setting, f"{sanitize(ascii(value))} is not a number from 0 up")


def _maybe(value: object, setting: str) -> float | None:
    return None if value is None else _not_negative(value, setting)
