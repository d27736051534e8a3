# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection.
"""Options of a connection plugin -> plain values, as they were set. Whoever opens the session checks them.

Every worker loads this for every task, so it is short, and loads nothing of what checks.
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

#: The options that say what the session is; the others are the plugin's own.
NAMES = (
    "certificate", "certificate_file", "config_file", "connect_timeout", "host_key_alias", "host_key_checking", "known_hosts", "look_for_keys", "password",
    "persist", "persist_max", "port", "private_key", "private_key_file", "private_key_passphrase", "prompts", "proxy_command",
    "reconnection_retries", "remote_addr", "remote_user", "server_alive_count_max", "server_alive_interval", "ssh_args",
    "ssh_common_args", "ssh_executable", "ssh_extra_args", "ssh_jump", "ssh_jump_password", "ssh_jump_private_key_file", "ssh_jump_timeout",
    "ssh_jump_user", "transfer_method",
)  # fmt: skip


def read_options(get_option: Callable[[str], Any], task: str) -> dict[str, Any]:
    """What the inventory says of a session, and where on the controller it says so: JSON's types only.

    :param task: as ansible numbers it, the same for all hosts; empty for none.
    """
    options = {name: plain(get_option(name)) for name in NAMES}
    options["task"] = task or None
    options["login_name"] = login_name()
    options["directory"] = os.getcwd()
    # Made by ansible for this run alone, private, shared by its workers, removed at its end.
    options["run_directory"] = C.DEFAULT_LOCAL_TMP
    # What only the processes of this run know: multiprocessing has 32 random bytes, which the workers inherit, in no file.
    options["run_key"] = hashlib.sha256(b"bastion.ssh" + current_process().authkey).hexdigest()
    # Commands run in the exec_context of the play, whoever starts them, and OpenSSH's settings may speak of these.
    options["environment"] = dict(os.environ)
    return options


def refuse_facts(variables: Mapping[str, Any], further: Iterable[str] = ()) -> None:
    """Refuse facts of a host that have the name of a variable of the connection plugin.

    :param variables: of the host, as ansible-core has them.
    :param further: names of other variables that must not come from a host.
    :raises SettingsError: with the variable's name.
    """
    if not variables.get(FACTS):  # as for most tasks, which need not wait for the names
        return
    define_options()
    names = {*C.config.get_plugin_vars("connection", CONNECTION), *further}
    injected = C.config.get_config_value("INJECT_FACTS_AS_VARS")
    refuse_steering_facts(variables, names, C.COMMON_CONNECTION_VARS, injected, _is_trusted)


def refuse_playbook_facts(variables: Mapping[str, Any] | None) -> None:
    """Refuse facts that would answer for the user who runs a playbook of this collection.

    :raises AnsibleActionFail: with the variable's name.
    """
    try:
        refuse_facts(variables or {}, PLAYBOOK_VARIABLES)
    except SettingsError as error:
        raise AnsibleActionFail(str(error)) from error


def _is_trusted(text: str) -> bool:
    """Whether ansible-core renders templates in a text, which no text of a host's facts is."""
    if is_trusted_as_template is None:
        return not getattr(text, "__UNSAFE__", False)
    return bool(is_trusted_as_template(text))


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


def pty_wanted(value: object, become: Any, rules: BecomeRules | None) -> bool:
    """Whether a command with privilege escalation gets a terminal: always, never, or where it needs one.

    :param value: of the option.
    :raises SettingsError: it is none of these.
    """
    if value == "auto":
        return needs_pty(become, rules)
    try:
        return bool(boolean(value))
    except TypeError:
        raise SettingsError("ansible_ssh_use_tty", f"{sanitize(ascii(value))} is none of auto, true, false") from None
