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
  - Reaches a host over SSH, through any number of jump hosts (bastions) or through a local command.
  - Every hop has its own user, port, keys, password and host key check. Connections to later hops are nested in
    those to earlier ones, so that a bastion needs no key, no Python and no shell, only permission to forward.
  - Host keys are verified at every hop before anything is proved to it, and every error names the hop.
requirements:
  - paramiko >= 3.4
notes:
  - Hops are visited in the order in which they are written, as with C(ssh -J).
  - A host name is resolved by the hop before it, never on the controller, except for the first.
  - O(ssh_jump) and O(proxy_command) exclude each other for one host.
  - OpenSSH's client configuration files (C(ssh_config)) count for every hop, as the C(ssh) program understands them. A
    variable comes before O(ssh_common_args) and its siblings, those before C(ssh_config), and that before a default.
  - Facts never set these options. A fact of a host with the name of one of their variables is an error.
  - No one can be asked anything while a task runs. What a hop asks for has to be in variables.
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
      - Either a string as for C(ssh -J), C([user@]host[:port]) or C(ssh://[user@]host[:port]), separated by commas;
        or a list of such strings and of dictionaries.
      - Without it, or where it is empty, O(ssh_common_args) and C(ssh_config) say the way. V(none) means no jump host, whatever they say.
      - C(ProxyJump) or C(ProxyCommand) of C(ssh_config) for the first hop leads to that hop; that of a later hop does not count.
      - >-
        The keys of a dictionary are C(host), C(port), C(user), C(password), C(private_key_file), C(private_key) (its text),
        C(passphrase), C(certificate_file) (an OpenSSH user certificate), C(certificate) (its text), C(proxy_command) (first hop only),
        C(host_key_checking), C(known_hosts), C(host_key_alias), C(timeout) (seconds) and C(prompts).
        All but C(host) may be left out.
      - A hop that sets no user has O(ssh_jump_user), else that of C(ssh_config), else the login name on the controller; never the target's.
      - A hop that sets no password has O(ssh_jump_password), never the target's password.
      - A hop's own key, or O(ssh_jump_private_key_file), is offered first, then those of the agent, then the default key files
        if no key is named. Last of all, when everything else was refused, comes the target's key.
      - Where there is a password, no more than four keys are offered before it, since servers end a login after six failures.
    type: raw
    vars:
      - name: ansible_ssh_jump
    ini:
      - section: bastion_ssh
        key: jump
    env:
      - name: ANSIBLE_SSH_JUMP
  ssh_jump_user:
    description: User at jump hosts that set none of their own.
    type: string
    vars:
      - name: ansible_ssh_jump_user
    ini:
      - section: bastion_ssh
        key: jump_user
    env:
      - name: ANSIBLE_SSH_JUMP_USER
  ssh_jump_password:
    description: Password at jump hosts that set none of their own.
    type: string
    vars:
      - name: ansible_ssh_jump_password
  ssh_jump_private_key_file:
    description: Private key file for jump hosts that set none of their own.
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
      - Seconds for all hops together, logins included. Without it, each hop has O(connect_timeout) or its own C(timeout), and nothing else limits the whole.
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
      - It is run on the controller by the user's shell. V(%h), V(%p) and V(%r) stand for host, port and user of this host, V(%n) for the
        host, too, V(%%) for a percent sign.
      - As with OpenSSH, the shell is told to C(exec) it, so that anything but a simple command has to be wrapped in C(sh -c '...').
      - V(none) means no command, whatever C(ssh_config) says.
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
    description: Arguments for the C(ssh) program, before O(ssh_common_args), which see.
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
      - Arguments for the C(ssh) program. C(-J), C(-F), C(-i), C(-l), C(-p), C(-C) and C(-o) mean to this host what they mean to C(ssh), which
        is asked for that; but a variable of this plugin comes before them. To jump hosts, only C(-F) has a meaning.
      - What has no meaning here, such as C(-X), is a warning, and so is C(-J) beside O(ssh_jump); C(-W) is an error.
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
    description: Arguments for the C(ssh) program, after O(ssh_common_args), which see.
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
      - Has no effect, and is a warning where it is set. The C(ssh) of the C(PATH) is asked for its configuration, and makes no connection.
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
      - OpenSSH's configuration file, in place of C(~/.ssh/config) and C(/etc/ssh/ssh_config), for all hops. V(none) means no file.
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
    description: Port of the host; without it that of C(ssh_config), else 22.
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
    description: User at the host; without it that of C(ssh_config), else the login name on the controller.
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
      - Password of O(remote_user). Jump hosts never get it.
      - It is also tried as the passphrase of a private key that needs one, as is the password of a jump host for its keys.
    type: string
    vars:
      - name: ansible_password
      - name: ansible_ssh_pass
      - name: ansible_ssh_password
      - name: ansible_paramiko_pass
      - name: ansible_paramiko_password
  private_key_file:
    description: Path to a private key file. A certificate beside it, C(<file>-cert.pub), is used with it.
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
    description: The text of a private key, in place of O(private_key_file).
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
      - The text of an OpenSSH user certificate, in place of O(certificate_file), such as a secrets manager signs.
    type: string
    vars:
      - name: ansible_ssh_certificate
  certificate_file:
    description:
      - Path to an OpenSSH user certificate for O(private_key_file) or O(private_key); without these, for whichever key it fits, such as
        one of the agent.
    type: string
    vars:
      - name: ansible_ssh_certificate_file
    ini:
      - section: bastion_ssh
        key: certificate_file
    env:
      - name: ANSIBLE_SSH_CERTIFICATE_FILE
  look_for_keys:
    description: Whether the default key files in C(~/.ssh) are offered where no key is named.
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
      - Answers to questions that the host asks with the keyboard-interactive method, as a dictionary of regular expression to answer.
        The expressions are searched for in the question, whatever its case.
      - A lookup can supply a one-time code. With another code next time, a kept connection is used all the same, if the expression
        calls it such a code, for example C(verification code) or C(one-time password). Any other answer is a credential.
    type: raw
    vars:
      - name: ansible_ssh_prompts
  host_key_checking:
    description:
      - V(true) refuses a host key that is not known. V(accept-new) adds an unknown key to the first file of O(known_hosts) and
        refuses a changed one. V(false) accepts any, but no jump host with a changed key; a target with a changed key gets no password,
        no answer and no agent then, and each run is warned.
      - Applies to all hops that do not set their own. Without it, C(StrictHostKeyChecking) of C(ssh_config) counts, else V(true).
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
      - Paths of the files with known host keys, as a list or separated by commas; or their lines, as a text of one or more lines or
        as items of the list.
      - A file that does not exist is as an empty one; one that cannot be read refuses every host.
      - Applies to all hops that do not set their own. Without it, the files of C(ssh_config) count, which are
        C(~/.ssh/known_hosts), C(~/.ssh/known_hosts2) and those of the same names under C(/etc/ssh) if it does not name others.
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
      - Name to look up in O(known_hosts) instead of the host's own, as OpenSSH's C(HostKeyAlias).
      - Applies to this host only; a jump host has its own. Without it, that of C(ssh_config) counts.
    type: string
    vars:
      - name: ansible_ssh_host_key_alias
  connect_timeout:
    description:
      - Seconds for each hop to be connected to, until its host key is there. Where it is 10, C(ConnectTimeout) of C(ssh_config) counts.
      - A login may take 120 seconds, as by default on OpenSSH's server, or this time if it is longer.
      - It also limits how long privilege escalation may take to ask for its password, and then to start the command, plus two seconds each.
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
      - How often connecting is tried again when a hop cannot be reached.
      - A login that was refused is not tried again in the same run, and neither is a command that was sent.
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
      - Seconds between requests to every hop that it show itself alive, as OpenSSH's C(ServerAliveInterval). V(0) sends none.
      - Without it, that of C(ssh_config) counts, else 15.
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
      - Intervals without an answer after which a hop is given up, as OpenSSH's C(ServerAliveCountMax).
      - Without it, that of C(ssh_config) counts, else 3.
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
      - How files are copied. V(sftp) uses the SFTP subsystem, V(piped) uses C(dd) on the host, V(smart) uses SFTP where the
        host offers it and C(dd) where it does not.
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
      - Whether commands with privilege escalation run on a terminal. V(auto) gives one where the escalation program
        works on a terminal only, such as C(doas) with a password. V(true) is for C(requiretty) in sudoers.
      - On a terminal, the output of the two streams is one, and pipelined modules never get one.
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
      - Seconds for which connections are kept when nothing uses them, as OpenSSH's C(ControlPersist).
      - A broker keeps them, a process on the controller that the first task starts. All tasks, hosts, forks and runs of a user
        share its connections to the jump hosts and to the hosts. It ends when it has none left.
      - V(0) means no broker. Each task then connects by itself.
      - Without it, C(ControlPersist) of C(ssh_config) or O(ssh_common_args) counts if it is a time, else 60.
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
      - Seconds after which a connection is used for nothing new, however busy it is, so that every hop asks for its login again.
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
      - Directory for the broker's socket and log. It is made with mode 0700 if it does not exist, and must be the user's alone.
      - The directories above it must belong to root or the user, and be writable by no other user, except with the sticky bit.
      - Without it, C($XDG_RUNTIME_DIR/bastion-ssh), or C(bastion-ssh) in ansible's home (C(~/.ansible)).
      - Where a broker cannot be, each task connects by itself, and C(-v) says why.
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
# group_vars/paris.yml: through edge to core, and from there to the hosts of the group
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

# the same with one key for all, as for ssh -J
# ansible_ssh_jump: guest@edge.example.com,operator@core.internal

# the connections that are kept, and their end:
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
