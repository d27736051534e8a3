# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Take Ansible's options in, and keep Ansible's contract."""

from __future__ import annotations

DOCUMENTATION = r"""
name: jump
author:
  - bastion.ssh contributors (!UNKNOWN)
short_description: Run tasks over SSH through any number of bastions
version_added: 1.0.0
description:
  - Connects to a host over SSH, through any number of jump hosts (bastions) or through a local command.
  - A hop is any server on the route, jump host or target. Each hop has its own user, port, keys, password and host key checking.
  - The connection to each hop runs inside the connection to the previous one. A bastion therefore needs no key, no Python and no shell,
    but only permission to forward.
  - The host key of each hop is verified before any credential is sent to it. Every error names the hop.
requirements:
  - paramiko >= 3.4
notes:
  - Hops are visited in the order in which they are listed, as with C(ssh -J).
  - The controller resolves the name of the first hop. Each hop resolves the name of the next one.
  - Do not set both O(ssh_jump) and O(proxy_command) for one host.
  - OpenSSH's client configuration files (C(ssh_config)) apply to every hop, as the C(ssh) program reads them. Variables take precedence
    over O(ssh_args), O(ssh_common_args) and O(ssh_extra_args), these over C(ssh_config), and C(ssh_config) over defaults.
  - Facts never set these options. If a host has a fact with the name of one of their variables, the task fails.
  - A running task cannot ask for input. Set the answers to everything that a hop asks for in variables.
seealso:
  - plugin: ansible.builtin.ssh
    plugin_type: connection
  - module: bastion.ssh.check
  - module: bastion.ssh.sessions
extends_documentation_fragment:
  - ansible.builtin.connection_pipelining
options:
  ssh_jump:
    description:
      - The jump hosts on the way to this host, in the order in which they are visited.
      - Either a string as for C(ssh -J), of C([user@]host[:port]) or C(ssh://[user@]host[:port]) separated by commas;
        or a list of such strings and of dictionaries.
      - If it is not set or empty, O(ssh_common_args) and C(ssh_config) define the route. V(none) means no jump host, and overrides both.
      - C(ProxyJump) or C(ProxyCommand) of C(ssh_config) defines how the first hop is reached. It is ignored for later hops.
      - >-
        The keys of a dictionary are C(host), C(port), C(user), C(password), C(private_key_file), C(private_key) (its text),
        C(passphrase), C(certificate_file) (an OpenSSH user certificate), C(certificate) (its text), C(proxy_command) (first hop only),
        C(host_key_checking), C(known_hosts), C(host_key_alias), C(timeout) (seconds) and C(prompts).
        Only C(host) is required.
      - The user of a jump host defaults to O(ssh_jump_user), else to C(User) of C(ssh_config), else to the login name on the controller; never to
        the target's user.
      - The password of a jump host defaults to O(ssh_jump_password), never to the target's password.
      - The jump host's own key, or O(ssh_jump_private_key_file), is offered first, then the keys of the agent, then the default key files
        if no key is set. The target's key is offered last, after everything else was refused.
      - If a password is set, at most four keys are offered before it, because servers end a login after six failed attempts.
    type: raw
    vars:
      - name: ansible_ssh_jump
    ini:
      - section: bastion_ssh
        key: jump
    env:
      - name: ANSIBLE_SSH_JUMP
  ssh_jump_user:
    description: Default user for jump hosts.
    type: string
    vars:
      - name: ansible_ssh_jump_user
    ini:
      - section: bastion_ssh
        key: jump_user
    env:
      - name: ANSIBLE_SSH_JUMP_USER
  ssh_jump_password:
    description: Default password for jump hosts.
    type: string
    vars:
      - name: ansible_ssh_jump_password
  ssh_jump_private_key_file:
    description: Default private key file for jump hosts.
    type: string
    vars:
      - name: ansible_ssh_jump_private_key_file
    ini:
      - section: bastion_ssh
        key: jump_private_key_file
    env:
      - name: ANSIBLE_SSH_JUMP_PRIVATE_KEY_FILE
  ssh_jump_timeout:
    description:
      - Time limit for all hops together, in seconds, including logins. If it is not set, only O(connect_timeout) or the C(timeout) of each hop,
        and the limit of each login, apply.
    type: float
    vars:
      - name: ansible_ssh_jump_timeout
    ini:
      - section: bastion_ssh
        key: jump_timeout
    env:
      - name: ANSIBLE_SSH_JUMP_TIMEOUT
  proxy_command:
    description:
      - A command whose standard input and output carry the connection to this host, as OpenSSH's C(ProxyCommand).
      - It is run on the controller by the user's shell. These tokens are replaced. V(%h) and V(%n) by the host, V(%p) by its port, V(%r) by the
        user on that host, V(%%) by a percent sign.
      - As with OpenSSH, the shell runs the command with C(exec). Wrap anything but a simple command in C(sh -c '...').
      - V(none) means no command, and overrides C(ssh_config).
    type: string
    vars:
      - name: ansible_proxy_command
      - name: ansible_paramiko_proxy_command
    ini:
      - section: bastion_ssh
        key: proxy_command
      - section: paramiko_connection
        key: proxy_command
    env:
      - name: ANSIBLE_PROXY_COMMAND
      - name: ANSIBLE_PARAMIKO_PROXY_COMMAND
  ssh_args:
    description: Arguments for the C(ssh) program, before those of O(ssh_common_args), which describes what they do.
    type: string
    default: ''
    vars:
      - name: ansible_ssh_args
    ini:
      - section: ssh_connection
        key: ssh_args
    env:
      - name: ANSIBLE_SSH_ARGS
  ssh_common_args:
    description:
      - Arguments for the C(ssh) program. For this host, C(-J), C(-F), C(-i), C(-l), C(-p), C(-C) and C(-o) have the same meaning as for C(ssh),
        which evaluates them. Variables of this plugin take precedence. Only C(-F) applies to jump hosts.
      - Arguments that have no effect, such as C(-X), and C(-J) if O(ssh_jump) is set, cause a warning. C(-W) is an error.
    type: string
    default: ''
    vars:
      - name: ansible_ssh_common_args
    ini:
      - section: ssh_connection
        key: ssh_common_args
    env:
      - name: ANSIBLE_SSH_COMMON_ARGS
    cli:
      - name: ssh_common_args
  ssh_extra_args:
    description: Arguments for the C(ssh) program, after those of O(ssh_common_args), which describes what they do.
    type: string
    default: ''
    vars:
      - name: ansible_ssh_extra_args
    ini:
      - section: ssh_connection
        key: ssh_extra_args
    env:
      - name: ANSIBLE_SSH_EXTRA_ARGS
    cli:
      - name: ssh_extra_args
  ssh_executable:
    description:
      - Has no effect. If it is set, a warning is shown. The plugin runs the C(ssh) of the C(PATH) to read its configuration only, not to connect.
    type: string
    vars:
      - name: ansible_ssh_executable
    ini:
      - section: ssh_connection
        key: ssh_executable
    env:
      - name: ANSIBLE_SSH_EXECUTABLE
  config_file:
    description:
      - OpenSSH's configuration file, used for all hops instead of C(~/.ssh/config) and C(/etc/ssh/ssh_config). V(none) means no file.
    type: string
    vars:
      - name: ansible_ssh_config_file
    ini:
      - section: bastion_ssh
        key: config_file
    env:
      - name: ANSIBLE_SSH_CONFIG_FILE
  remote_addr:
    description: Name or address of the host, or its alias in C(ssh_config).
    type: string
    default: inventory_hostname
    vars:
      - name: inventory_hostname
      - name: ansible_host
      - name: ansible_ssh_host
      - name: ansible_paramiko_host
  port:
    description: Port of the host. If it is not set, C(Port) of C(ssh_config) is used, else 22.
    type: int
    vars:
      - name: ansible_port
      - name: ansible_ssh_port
      - name: ansible_paramiko_port
    ini:
      - section: defaults
        key: remote_port
      - section: paramiko_connection
        key: remote_port
    env:
      - name: ANSIBLE_REMOTE_PORT
      - name: ANSIBLE_REMOTE_PARAMIKO_PORT
    keyword:
      - name: port
  remote_user:
    description: User to log in as on the host. If it is not set, C(User) of C(ssh_config) is used, else the login name on the controller.
    type: string
    vars:
      - name: ansible_user
      - name: ansible_ssh_user
      - name: ansible_paramiko_user
    ini:
      - section: defaults
        key: remote_user
      - section: paramiko_connection
        key: remote_user
    env:
      - name: ANSIBLE_REMOTE_USER
      - name: ANSIBLE_PARAMIKO_REMOTE_USER
    cli:
      - name: user
    keyword:
      - name: remote_user
  password:
    description:
      - Password of O(remote_user). It is never sent to jump hosts.
      - It is also tried as the passphrase of a private key that needs one. The password of a jump host is tried for the keys of that jump host.
    type: string
    vars:
      - name: ansible_password
      - name: ansible_ssh_pass
      - name: ansible_ssh_password
      - name: ansible_paramiko_pass
      - name: ansible_paramiko_password
  private_key_file:
    description: Path to a private key file. If the certificate C(<file>-cert.pub) exists in the same directory, it is used with the key.
    type: string
    vars:
      - name: ansible_private_key_file
      - name: ansible_ssh_private_key_file
      - name: ansible_paramiko_private_key_file
    ini:
      - section: defaults
        key: private_key_file
      - section: paramiko_connection
        key: private_key_file
    env:
      - name: ANSIBLE_PRIVATE_KEY_FILE
      - name: ANSIBLE_PARAMIKO_PRIVATE_KEY_FILE
    cli:
      - name: private_key_file
        option: --private-key
  private_key:
    description: The text of a private key, instead of O(private_key_file).
    type: string
    vars:
      - name: ansible_private_key
      - name: ansible_ssh_private_key
    env:
      - name: ANSIBLE_PRIVATE_KEY
  private_key_passphrase:
    description: Passphrase of O(private_key_file) or O(private_key).
    type: string
    vars:
      - name: ansible_private_key_passphrase
      - name: ansible_ssh_private_key_passphrase
    env:
      - name: ANSIBLE_PRIVATE_KEY_PASSPHRASE
  certificate:
    description:
      - The text of an OpenSSH user certificate, instead of O(certificate_file), for example one signed by a secrets manager.
    type: string
    vars:
      - name: ansible_ssh_certificate
  certificate_file:
    description:
      - Path to an OpenSSH user certificate for O(private_key_file) or O(private_key). If neither is set, it is used with any key that matches
        it, such as a key of the agent.
    type: string
    vars:
      - name: ansible_ssh_certificate_file
    ini:
      - section: bastion_ssh
        key: certificate_file
    env:
      - name: ANSIBLE_SSH_CERTIFICATE_FILE
  look_for_keys:
    description: Whether the default key files in C(~/.ssh) are offered if no key is set.
    type: boolean
    default: true
    vars:
      - name: ansible_ssh_look_for_keys
      - name: ansible_paramiko_look_for_keys
    ini:
      - section: paramiko_connection
        key: look_for_keys
    env:
      - name: ANSIBLE_PARAMIKO_LOOK_FOR_KEYS
  prompts:
    description:
      - Answers to questions that the host asks with the keyboard-interactive method, as a dictionary. Each key is a regular expression that is
        searched for in the question, ignoring case; its value is the answer.
      - A lookup can supply a one-time code. A new code does not prevent the use of a kept connection if the expression calls it a one-time
        code, for example C(verification code) or C(one-time password). Any other answer is a credential, and a different one causes a new login.
    type: raw
    vars:
      - name: ansible_ssh_prompts
  host_key_checking:
    description:
      - V(true) refuses unknown and changed host keys. V(accept-new) adds an unknown key to the first file of O(known_hosts), and
        refuses a changed key. V(false) accepts any key, except a changed key of a jump host. A target with a changed key is then sent no
        password and no answers, no agent is forwarded to it, and a warning is shown in each run.
      - Applies to all hops that do not set their own. If it is not set, C(StrictHostKeyChecking) of C(ssh_config) is used, else V(true).
    type: raw
    vars:
      - name: ansible_host_key_checking
      - name: ansible_ssh_host_key_checking
      - name: ansible_paramiko_host_key_checking
    ini:
      - section: defaults
        key: host_key_checking
      - section: ssh_connection
        key: host_key_checking
      - section: paramiko_connection
        key: host_key_checking
    env:
      - name: ANSIBLE_HOST_KEY_CHECKING
      - name: ANSIBLE_SSH_HOST_KEY_CHECKING
      - name: ANSIBLE_PARAMIKO_HOST_KEY_CHECKING
  known_hosts:
    description:
      - Paths of files with known host keys, as a list or separated by commas; or lines of such a file, as a text of one or more lines or
        as items of the list.
      - A file that does not exist is treated as empty. If a file cannot be read, all hosts are refused.
      - Applies to all hops that do not set their own. If it is not set, the files of C(ssh_config) are used. By default, these are
        C(~/.ssh/known_hosts), C(~/.ssh/known_hosts2), C(/etc/ssh/ssh_known_hosts) and C(/etc/ssh/ssh_known_hosts2).
    type: raw
    vars:
      - name: ansible_ssh_known_hosts
    ini:
      - section: bastion_ssh
        key: known_hosts
    env:
      - name: ANSIBLE_SSH_KNOWN_HOSTS
  host_key_alias:
    description:
      - Name to look up in O(known_hosts) instead of the host's own name, as OpenSSH's C(HostKeyAlias).
      - Applies to this host only; a jump host has its own. If it is not set, C(HostKeyAlias) of C(ssh_config) is used.
    type: string
    vars:
      - name: ansible_ssh_host_key_alias
  connect_timeout:
    description:
      - Time limit for connecting to each hop, in seconds, until its host key has arrived. If it is 10, C(ConnectTimeout) of C(ssh_config)
        takes precedence.
      - A login may take 120 seconds, the default of OpenSSH's server, or this time if it is longer.
      - It also limits how long privilege escalation may take to ask for its password, and then to start the command, with two seconds added to each.
    type: float
    default: 10
    vars:
      - name: ansible_ssh_timeout
      - name: ansible_paramiko_timeout
    ini:
      - section: defaults
        key: timeout
      - section: ssh_connection
        key: timeout
      - section: paramiko_connection
        key: timeout
    env:
      - name: ANSIBLE_TIMEOUT
      - name: ANSIBLE_SSH_TIMEOUT
      - name: ANSIBLE_PARAMIKO_TIMEOUT
    cli:
      - name: timeout
  reconnection_retries:
    description:
      - Number of times to retry when a hop cannot be reached.
      - A refused login is not retried in the same run, and a command that was sent is never repeated.
    type: int
    default: 0
    vars:
      - name: ansible_ssh_retries
    ini:
      - section: connection
        key: retries
      - section: ssh_connection
        key: retries
    env:
      - name: ANSIBLE_SSH_RETRIES
  server_alive_interval:
    description:
      - Keepalive interval for each hop, in seconds, as OpenSSH's C(ServerAliveInterval). V(0) sends no keepalives.
      - If it is not set, C(ServerAliveInterval) of C(ssh_config) is used, else 15.
    type: float
    vars:
      - name: ansible_ssh_server_alive_interval
    ini:
      - section: bastion_ssh
        key: server_alive_interval
    env:
      - name: ANSIBLE_SSH_SERVER_ALIVE_INTERVAL
  server_alive_count_max:
    description:
      - Number of intervals without an answer after which the connection to a hop is closed, as OpenSSH's C(ServerAliveCountMax).
      - If it is not set, C(ServerAliveCountMax) of C(ssh_config) is used, else 3.
    type: int
    vars:
      - name: ansible_ssh_server_alive_count_max
    ini:
      - section: bastion_ssh
        key: server_alive_count_max
    env:
      - name: ANSIBLE_SSH_SERVER_ALIVE_COUNT_MAX
  transfer_method:
    description:
      - How files are copied. V(sftp) uses the SFTP subsystem, V(piped) uses C(dd) on the host, V(smart) uses SFTP if the
        host offers it, else C(dd).
    type: string
    default: smart
    vars:
      - name: ansible_ssh_transfer_method
    ini:
      - section: ssh_connection
        key: transfer_method
    env:
      - name: ANSIBLE_SSH_TRANSFER_METHOD
  pty:
    description:
      - Whether commands with privilege escalation run on a terminal. V(auto) allocates a terminal only if the escalation program
        requires one, such as C(doas) with a password. Use V(true) for C(requiretty) in sudoers.
      - On a terminal, standard error is merged into standard output. Pipelined modules never get a terminal.
    type: raw
    default: auto
    vars:
      - name: ansible_ssh_use_tty
      - name: ansible_paramiko_pty
    ini:
      - section: ssh_connection
        key: usetty
      - section: paramiko_connection
        key: pty
    env:
      - name: ANSIBLE_SSH_USETTY
      - name: ANSIBLE_PARAMIKO_PTY
  persist:
    description:
      - Seconds for which unused connections are kept, as OpenSSH's C(ControlPersist).
      - The first task starts a broker, a process on the controller that keeps the connections. All tasks, hosts, forks and runs of a user
        share its connections to jump hosts and targets. It exits when it has had no connection and no request for the same time.
      - V(0) means no broker. Each task then opens its own connections.
      - If it is not set, C(ControlPersist) of C(ssh_config) or O(ssh_common_args) is used if it is a time, else 60.
    type: float
    vars:
      - name: ansible_ssh_persist
    ini:
      - section: bastion_ssh
        key: persist
    env:
      - name: ANSIBLE_SSH_PERSIST
  persist_max:
    description:
      - Seconds after its login for which a connection accepts new tasks, even if it is in use. Later tasks log in to every hop again.
        V(0) means no limit.
    type: float
    default: 0
    vars:
      - name: ansible_ssh_persist_max
    ini:
      - section: bastion_ssh
        key: persist_max
    env:
      - name: ANSIBLE_SSH_PERSIST_MAX
  persist_directory:
    description:
      - Directory for the broker's socket and log. It is created with mode 0700 if it does not exist, and must be accessible to the user only.
      - The directories above it must belong to root or the user, and must not be writable by any other user, except with the sticky bit.
      - If it is not set, C($XDG_RUNTIME_DIR/bastion-ssh) is used, or C(bastion-ssh) in Ansible's home (C(~/.ansible)).
      - If a broker cannot run there, each task opens its own connections, and C(-v) shows the reason.
    type: string
    vars:
      - name: ansible_ssh_persist_directory
    ini:
      - section: bastion_ssh
        key: persist_directory
    env:
      - name: ANSIBLE_SSH_PERSIST_DIRECTORY
  pipelining:
    env:
      - name: ANSIBLE_PIPELINING
      - name: ANSIBLE_SSH_PIPELINING
    ini:
      - section: defaults
        key: pipelining
      - section: connection
        key: pipelining
      - section: ssh_connection
        key: pipelining
    vars:
      - name: ansible_pipelining
      - name: ansible_ssh_pipelining
"""

EXAMPLES = r"""
# group_vars/paris.yml: through edge, then through core, to the hosts of the group
ansible_connection: bastion.ssh.jump
ansible_ssh_jump:
  - host: edge.example.com
    user: guest
    password: "{{ vault_edge_password }}"
  - host: core.internal
    user: operator
    private_key_file: ~/.ssh/operator
ansible_user: deploy
ansible_private_key_file: ~/.ssh/deploy

# The same route with one key for all hops, as for ssh -J
# ansible_ssh_jump: guest@edge.example.com,operator@core.internal

# Show the kept connections, and end them:
# ansible-playbook bastion.ssh.sessions
# ansible-playbook bastion.ssh.sessions -e bastion_ssh_stop=true
"""

import contextlib
import os
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from ansible import constants as C
from ansible.errors import (
    AnsibleAuthenticationFailure,
    AnsibleConnectionFailure,
    AnsibleError,
    AnsibleFileNotFound,
    AnsibleOptionsError,
)
from ansible.module_utils.common.text.converters import to_text
from ansible.plugins.connection import ConnectionBase
from ansible.release import __version__ as CORE
from ansible.utils.display import Display

from ansible_collections.bastion.ssh.plugins.plugin_utils.loading import define_options, load_modules

load_modules()
define_options()

from ansible_collections.bastion.ssh.plugins.plugin_utils.client.address import BrokerUnavailable
from ansible_collections.bastion.ssh.plugins.plugin_utils.client.client import BrokerSession
from ansible_collections.bastion.ssh.plugins.plugin_utils.client.command import Request, run
from ansible_collections.bastion.ssh.plugins.plugin_utils.client.interface import Report, Session
from ansible_collections.bastion.ssh.plugins.plugin_utils.errors import (
    CONTROLLER,
    EscalationTimeout,
    HopError,
    JumpError,
    LoginRefused,
    SettingsError,
)
from ansible_collections.bastion.ssh.plugins.plugin_utils.facts import FACTS
from ansible_collections.bastion.ssh.plugins.plugin_utils.options import (
    become_rules,
    pty_wanted,
    read_options,
    refuse_facts,
)

_T = TypeVar("_T")
# As in ansible.builtin.ssh: the task fails before ansible-core 2.19, and the host is unreachable since.
_ESCALATION_TIMEOUT = AnsibleError if CORE.startswith(("2.17.", "2.18.")) else AnsibleConnectionFailure

display = Display()


@contextlib.contextmanager
def _ansible_errors() -> Iterator[None]:
    """Convert errors to Ansible's: connection errors make the host unreachable, all others fail the task.

    Causes are dropped, as ansible-core would append paramiko's messages to the user's.
    """
    try:
        yield
    except SettingsError as error:
        raise AnsibleOptionsError(str(error)) from None
    except LoginRefused as error:
        raise AnsibleAuthenticationFailure(str(error)) from None
    except EscalationTimeout as error:
        raise _ESCALATION_TIMEOUT(str(error)) from None
    except HopError as error:
        raise AnsibleConnectionFailure(str(error)) from None
    except JumpError as error:
        raise AnsibleError(str(error)) from None


class Connection(ConnectionBase):
    """Run tasks over SSH through bastions."""

    transport = "bastion.ssh.jump"
    has_pipelining = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._task = str(kwargs.get("task_uuid", ""))
        self._session_options: dict[str, Any] | None = None
        self._session: Session | None = None
        self._variables: Mapping[str, Any] = {}  # the host's, for hints about misspelt names
        self._steering: SettingsError | None = None  # a fact that would change how the host is reached
        self.told: list[str] = []  # lines of progress, without secrets
        self.place = ""  # the target as errors name it, once a command has been started

    def set_options(
        self, task_keys: Any = None, var_options: Mapping[str, Any] | None = None, direct: Any = None
    ) -> None:
        """Set the options, unless facts among the variables would change them."""
        if var_options and FACTS in var_options and not self._facts_are_harmless(var_options):
            var_options = None
        super().set_options(task_keys=task_keys, var_options=var_options, direct=direct)

    def _resolve_option_variables(self, variables: Mapping[str, Any], templar: Any) -> dict[str, Any]:
        """Check the facts of the host before its variables are templated. Templating facts would take longer than a task."""
        self._variables = variables
        if not self._facts_are_harmless(variables):
            return {}
        resolved: dict[str, Any] = super()._resolve_option_variables(variables, templar)
        return resolved

    def _facts_are_harmless(self, variables: Mapping[str, Any]) -> bool:
        """Return whether no fact sets an option. Else keep the error for the task: raised in ``meta: reset_connection``, it ends the run."""
        self._steering = None
        try:
            refuse_facts(variables)
        except SettingsError as error:
            self._steering = error
        return self._steering is None

    def session_options(self) -> dict[str, Any]:
        """Return the options of the session.

        :raises SettingsError: a fact of the host has the name of one of the variables.
        """
        self._refuse_facts()
        return read_options(self.get_option, self._task)

    def _refuse_facts(self) -> None:
        if self._steering is not None:
            raise self._steering

    def exec_command(self, cmd: str, in_data: bytes | None = None, sudoable: bool = True) -> tuple[int, bytes, bytes]:
        """Run a command line. Return its status, stdout and stderr."""
        super().exec_command(cmd, in_data=in_data, sudoable=sudoable)
        line = to_text(cmd, errors="surrogateescape")
        with _ansible_errors():
            self._refuse_facts()
            rules = become_rules(self.become, line) if sudoable else None
            terminal = pty_wanted(self.get_option("pty"), self.become, rules)
            request = Request(
                line=line,
                stdin=in_data,
                pty=terminal and rules is not None and in_data is None,
                rules=rules,
                become_name=self.become.name if rules else "",
                become_password=self.become.get_option("become_pass") if rules else None,
                become_timeout=self.get_option("connect_timeout") + 2,
            )
            display.vvv(f"EXEC {line}", host=self._host)
            process = self._use(lambda session: session.start(line, request.pty))
            self.place = process.place
            result = run(process, request)
        return result.status, result.stdout, result.stderr

    def put_file(self, in_path: str, out_path: str) -> None:
        """Copy a file from the controller to the target."""
        super().put_file(in_path, out_path)
        source, target = to_text(in_path), to_text(out_path, errors="surrogateescape")
        if not os.path.exists(source):
            raise AnsibleFileNotFound(f"{CONTROLLER}: file or module does not exist: {source}. Check its path.")
        display.vvv(f"PUT {source} TO {target}", host=self._host)
        with _ansible_errors():
            self._use(lambda session: session.put(source, target))

    def fetch_file(self, in_path: str, out_path: str) -> None:
        """Copy a file from the target to the controller."""
        super().fetch_file(in_path, out_path)
        source, target = to_text(in_path, errors="surrogateescape"), to_text(out_path)
        display.vvv(f"FETCH {source} TO {target}", host=self._host)
        with _ansible_errors():
            self._use(lambda session: session.fetch(source, target))

    def reset(self) -> None:
        """Close the connection to this host and forget a refused login, so that the next task logs in again."""
        try:
            self._use(lambda session: session.reset())
        except SettingsError:
            pass  # the next task reports it
        except JumpError as error:  # raised, it would end the whole run
            display.warning(str(error))

    def connect_hops(self) -> list[dict[str, Any]]:
        """Connect to each hop. Return what :meth:`interface.Session.connect` documents."""
        with _ansible_errors():
            return self._use(lambda session: session.connect())

    def scan_host_keys(self, accept: bool, fingerprints: list[str] | None) -> list[dict[str, Any]]:
        """Scan the host key of each hop. Return what :meth:`interface.Session.scan_host_keys` documents."""
        with _ansible_errors():
            return self._use(lambda session: session.scan_host_keys(accept, fingerprints))

    def close(self) -> None:
        """Close the session, if open."""
        session, self._session = self._session, None
        self._connected = False
        if session is not None:
            session.close()

    def _connect(self) -> Connection:
        """Do nothing: the first use opens the connection."""
        return self

    @property
    def _host(self) -> str:
        return str(self.get_option("remote_addr"))

    def _use(self, use: Callable[[Session], _T]) -> _T:
        """Use the session, replacing it if the options have changed, as between the items of a loop."""
        options = self.session_options()
        if options != self._session_options:
            self.close()
        self._session_options = options
        if self._session is None:
            wanted = options["persist"] != 0 and not os.path.exists(self._no_broker(options))
            self._session = self._broker_session(options) if wanted else self._own_session(options)
            self._connected = True
        try:
            return self._use_or_do_without_broker(self._session, use, options)
        except HopError as error:
            raise self._explained(error) from None

    def _use_or_do_without_broker(self, session: Session, use: Callable[[Session], _T], options: dict[str, Any]) -> _T:
        try:
            return use(session)
        except BrokerUnavailable as error:
            if error.lasting:
                self._do_without(options, f"No broker, so each task connects by itself: {error}")
            else:
                display.v(f"No broker for this task, which connects by itself: {error}", host=self._host)
            self._session = self._own_session(options)
            return use(self._session)

    def _explained(self, error: HopError) -> HopError:
        """Return the error with a hint, and warn of misspelt variables, each once in a run."""
        from ansible_collections.bastion.ssh.plugins.plugin_utils.hints import misspelt_variables, with_hint

        for line in misspelt_variables(self._variables):
            display.warning(line)
        groups = self._variables.get("groups")
        return with_hint(error, groups.get("all", ()) if isinstance(groups, Mapping) else ())

    def _broker_session(self, options: dict[str, Any]) -> Session:
        directory = self.get_option("persist_directory")
        return BrokerSession(options, directory, C.config.get_config_value("ANSIBLE_HOME"), self._report())

    def _own_session(self, options: dict[str, Any]) -> Session:
        """Return a session in this process. Its modules are imported on demand, as paramiko takes 270 ms."""
        from ansible_collections.bastion.ssh.plugins.plugin_utils.patched_paramiko.compat import why_unusable
        from ansible_collections.bastion.ssh.plugins.plugin_utils.pool.direct import DirectSession

        problem = why_unusable()
        if problem:
            raise AnsibleError(problem)
        return DirectSession(options, self._report())

    def _report(self) -> Report:
        host = self._host

        def note(line: str) -> None:
            self.told.append(line)
            display.vvv(line, host=host)

        return Report(note=note, warn=display.warning, remark=lambda line: display.v(line, host=host))

    def _do_without(self, options: dict[str, Any], why: str) -> None:
        """Record for all workers of this run that no broker is possible, and report it once."""
        with contextlib.suppress(OSError):
            os.close(os.open(self._no_broker(options), os.O_CREAT | os.O_EXCL, 0o600))
            display.v(why)

    def _no_broker(self, options: dict[str, Any]) -> str:
        """Return the file that marks, for the workers of a run, that no broker is possible in this host's persist_directory."""
        wanted = zlib.crc32(repr(self.get_option("persist_directory")).encode())
        return os.path.join(options["run_directory"], f"bastion-ssh-no-broker-{wanted:08x}")
