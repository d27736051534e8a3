# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection.
"""Collect the options of the connection plugin as plain values, unchecked; settings.py checks them.

Every worker loads this module for every task, so it is short and does not import the checks.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Mapping
from multiprocessing.process import current_process
from typing import Any

from ansible import constants as C
from ansible.errors import AnsibleActionFail
from ansible.module_utils.common.text.converters import to_bytes, to_text
from ansible.module_utils.parsing.convert_bool import boolean

try:
    from ansible.template import is_trusted_as_template
except ImportError:  # before ansible-core 2.19
    is_trusted_as_template = None

from .client.become import BecomeRules
from .errors import SettingsError, sanitize
from .facts import FACTS, PLAYBOOK_VARIABLES, refuse_steering_facts
from .loading import CONNECTION, define_options
from .openssh.user_files import login_name

#: The options that define the session; the others concern only the plugin itself.
NAMES = (
    "certificate", "certificate_file", "config_file", "connect_timeout", "host_key_alias", "host_key_checking", "known_hosts", "look_for_keys", "password",
    "persist", "persist_max", "port", "private_key", "private_key_file", "private_key_passphrase", "prompts", "proxy_command",
    "reconnection_retries", "remote_addr", "remote_user", "server_alive_count_max", "server_alive_interval", "ssh_args",
    "ssh_common_args", "ssh_executable", "ssh_extra_args", "ssh_jump", "ssh_jump_password", "ssh_jump_private_key_file", "ssh_jump_timeout",
    "ssh_jump_user", "transfer_method",
)  # fmt: skip


def read_options(get_option: Callable[[str], Any], task: str) -> dict[str, Any]:
    """Return the options of a session and their context on the controller, as JSON types.

    :param task: Ansible's ID of the task, the same for all hosts; empty for none.
    """
    options = {name: plain(get_option(name)) for name in NAMES}
    options["task"] = task or None
    options["login_name"] = login_name()
    options["directory"] = os.getcwd()
    # Ansible creates this directory for one run, with mode 0700, and removes it at the end.
    options["run_directory"] = C.DEFAULT_LOCAL_TMP
    # A secret of this run: workers inherit multiprocessing's 32 random bytes, which are in no file.
    options["run_key"] = hashlib.sha256(b"bastion.ssh" + current_process().authkey).hexdigest()
    # The broker runs commands in the environment of the play, on which ssh_config may depend as well.
    options["environment"] = dict(os.environ)
    return options


def refuse_facts(variables: Mapping[str, Any], further: Iterable[str] = ()) -> None:
    """Refuse facts of a host that have the name of a variable of the connection plugin.

    :param variables: the host's variables, as ansible-core passes them.
    :param further: names of other variables that must not come from a host.
    :raises SettingsError: a fact has such a name.
    """
    if not variables.get(FACTS):  # the common case; loading the names takes time
        return
    define_options()
    names = {*C.config.get_plugin_vars("connection", CONNECTION), *further}
    injected = C.config.get_config_value("INJECT_FACTS_AS_VARS")
    refuse_steering_facts(variables, names, C.COMMON_CONNECTION_VARS, injected, _is_trusted)


def refuse_playbook_facts(variables: Mapping[str, Any] | None) -> None:
    """Refuse facts with the name of a variable that a playbook of this collection takes from its user.

    :raises AnsibleActionFail: a fact has such a name.
    """
    try:
        refuse_facts(variables or {}, PLAYBOOK_VARIABLES)
    except SettingsError as error:
        raise AnsibleActionFail(str(error)) from error


def _is_trusted(text: str) -> bool:
    """Return whether ansible-core renders templates in a text; it never does in facts."""
    if is_trusted_as_template is None:
        return not getattr(text, "__UNSAFE__", False)
    return bool(is_trusted_as_template(text))


def plain(value: Any) -> Any:
    """Convert a value of Ansible's types (tagged, vaulted, lazy) to Python's own types, recursively."""
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
    return str.__str__(to_text(value))  # str() may return Ansible's subclass of str again


def become_rules(become: Any, line: str) -> BecomeRules | None:
    """Return how to read the output of a become plugin's program; None if it does not wrap this command line."""
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
    """Return whether an escalation program needs a terminal, as doas(1) does to read a password."""
    if rules is None:
        return False
    return bool(getattr(become, "require_tty", False)) or (
        rules.expects_prompt and become.name.split(".")[-1] == "doas"
    )


def pty_wanted(value: object, become: Any, rules: BecomeRules | None) -> bool:
    """Return whether a command with privilege escalation gets a terminal.

    :param value: the option: true, false, or ``auto`` for programs that need one.
    :raises SettingsError: another value.
    """
    if value == "auto":
        return needs_pty(become, rules)
    try:
        return bool(boolean(value))
    except TypeError:
        raise SettingsError("ansible_ssh_use_tty", f"{sanitize(ascii(value))} is none of auto, true, false") from None
