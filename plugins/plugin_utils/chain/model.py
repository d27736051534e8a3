# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection.
"""Define the chain: its hops in order, the target last. Frozen; no repr contains a secret."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields, is_dataclass
from enum import Enum

#: OpenSSH's name for the agent of the environment (ssh_config(5), IdentityAgent).
USUAL_AGENT = "SSH_AUTH_SOCK"
#: The ``setting`` of the target, which is in no list of jump hosts.
TARGET = "the target"


class TransferMethod(Enum):
    """Select how files are transferred to and from the target."""

    SMART = "smart"
    SFTP = "sftp"
    PIPED = "piped"


class HostKeyChecking(Enum):
    """Select how unknown host keys are treated (OpenSSH's StrictHostKeyChecking)."""

    STRICT = "yes"
    ACCEPT_NEW = "accept-new"
    OFF = "no"


@dataclass(frozen=True)
class HostKeyPolicy:
    """Describe how a hop's host key is checked.

    :param known_hosts: files, read in this order; ``accept-new`` appends to the first.
    :param alias: the name to look up instead of the host's (HostKeyAlias).
    :param global_known_hosts: further files, which are never written (GlobalKnownHostsFile).
    :param lines: known_hosts lines given as text.
    :param command: argv of a program that prints known_hosts lines (KnownHostsCommand); tokens of the connection are not yet expanded.
    :param revoked: a file of revoked keys (RevokedHostKeys).
    :param hashed: whether added names are hashed (HashKnownHosts).
    :param check_address: whether the address of a directly reached host must be known with the same key (CheckHostIP).
    :param algorithms: allowed signature algorithms of the host (HostKeyAlgorithms); None for all safe ones.
    :param ca_algorithms: allowed signature algorithms of certificates (CASignatureAlgorithms); None for all safe ones.
    :param rsa_bits: minimum length of a trusted RSA key in bits (RequiredRSASize).
    """

    checking: HostKeyChecking = HostKeyChecking.STRICT
    known_hosts: tuple[str, ...] = ()
    alias: str | None = None
    global_known_hosts: tuple[str, ...] = ()
    lines: tuple[str, ...] = ()
    command: tuple[str, ...] | None = None
    revoked: str | None = None
    hashed: bool = False
    check_address: bool = False
    algorithms: tuple[str, ...] | None = None
    ca_algorithms: tuple[str, ...] | None = None
    rsa_bits: int = 1024


@dataclass(frozen=True)
class KeyFile:
    """Name a private key file on the controller, and its certificate, if any, as a file or as text."""

    path: str
    passphrase: str | None = field(default=None, repr=False)
    certificate_file: str | None = None
    certificate: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class KeyText:
    """Hold a private key given as text, and its certificate, if any."""

    text: str = field(repr=False)
    passphrase: str | None = field(default=None, repr=False)
    certificate_file: str | None = None
    certificate: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class AgentKeys:
    """Name the keys of an agent on the controller.

    :param socket: path of the agent's socket (IdentityAgent); None for the agent of the environment.
    :param listed: private or public key files to which the keys are limited (IdentitiesOnly); None for all keys.
    """

    socket: str | None = None
    listed: tuple[str, ...] | None = None


#: Minimum timeout of a login in seconds, the default of sshd's LoginGraceTime. As with OpenSSH, ConnectTimeout does not
#: apply to the login: PAM, a directory service or a second factor may be slow.
LOGIN_SECONDS = 120.0
#: Supported authentication methods, in the order of ssh(1).
METHODS = ("publickey", "keyboard-interactive", "password")
#: Default key files of ssh(1), for the key types that paramiko supports.
DEFAULT_FILES = ("~/.ssh/id_rsa", "~/.ssh/id_ecdsa", "~/.ssh/id_ed25519")


@dataclass(frozen=True)
class DefaultKeyFiles:
    """Select the key files that ssh(1) tries when none is named (:data:`DEFAULT_FILES`)."""


Identity = KeyFile | KeyText | AgentKeys | DefaultKeyFiles


@dataclass(frozen=True)
class Credentials:
    """Describe the user and the credentials for a hop.

    :param identities: keys in the order in which they are offered.
    :param fallback: keys that are offered when all else was refused.
    :param prompts: pairs of (regular expression, answer) for keyboard-interactive questions (RFC 4256).
    :param certificates: certificate files, each for whichever key it fits (CertificateFile).
    :param certificate_texts: such certificates, given as text.
    :param methods: allowed authentication methods, in order (PreferredAuthentications); None for :data:`METHODS`.
    :param algorithms: allowed signature algorithms of keys (PubkeyAcceptedAlgorithms); None for all safe ones.
    """

    user: str
    password: str | None = field(default=None, repr=False)
    identities: tuple[Identity, ...] = ()
    fallback: tuple[Identity, ...] = ()
    prompts: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    certificates: tuple[str, ...] = ()
    certificate_texts: tuple[str, ...] = field(default=(), repr=False)
    methods: tuple[str, ...] | None = None
    algorithms: tuple[str, ...] | None = None


@dataclass(frozen=True)
class TransportOptions:
    """Describe the transport to a hop.

    :param attempts: connection attempts (ConnectionAttempts); first hop only.
    :param address_family: ``inet`` or ``inet6`` (AddressFamily); None for both. First hop only.
    :param bind_address: local address (BindAddress); first hop only.
    :param alive_interval: seconds between keepalives (ServerAliveInterval); 0 sends none.
    :param alive_count: unanswered keepalives after which the connection is closed (ServerAliveCountMax).
    :param rekey_bytes: bytes after which keys are renegotiated (RekeyLimit); 0 for paramiko's limit.
    :param rekey_seconds: seconds after which keys are renegotiated (RekeyLimit); 0 for no limit.
    :param ciphers: in order of preference; None for paramiko's own, as for ``macs`` and ``kex``.
    :param forward_agent: socket of the forwarded agent (ForwardAgent), or :data:`USUAL_AGENT`; None for none. Target only.
    """

    attempts: int = 1
    address_family: str | None = None
    bind_address: str | None = None
    alive_interval: float = 15.0
    alive_count: int = 3
    compression: bool = False
    rekey_bytes: int = 0
    rekey_seconds: int = 0
    ciphers: tuple[str, ...] | None = None
    macs: tuple[str, ...] | None = None
    kex: tuple[str, ...] | None = None
    forward_agent: str | None = None


@dataclass(frozen=True)
class ExecContext:
    """Describe the context in which commands run on the controller.

    :param directory: working directory.
    :param environment: (name, value) pairs; None for the environment of the process that runs them.
    """

    directory: str
    environment: tuple[tuple[str, str], ...] | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Hop:
    """Describe one SSH server of a chain.

    :param host: the name or address to connect to.
    :param timeout: seconds for connecting and key exchange together.
    :param proxy_command: command template whose standard streams carry the connection; first hop only.
    :param setting: where this hop was set, for messages: ``ansible_ssh_jump[0]`` or ``the target``.
    :param exec_context: for ProxyCommand and KnownHostsCommand; None for that of the process that runs them.
    :param name: the host as the user wrote it; empty if equal to ``host``.
    :param proxy_setting: where its proxy_command was set, for messages.
    """

    host: str
    port: int
    credentials: Credentials
    host_keys: HostKeyPolicy = HostKeyPolicy()
    timeout: float = 10.0
    proxy_command: str | None = None
    setting: str = TARGET
    exec_context: ExecContext | None = None
    transport: TransportOptions = TransportOptions()
    name: str = ""
    proxy_setting: str = "ansible_proxy_command"

    @property
    def login_timeout(self) -> float:
        """Return the seconds that the login may take."""
        return max(self.timeout, LOGIN_SECONDS)

    @property
    def patience(self) -> float:
        """Return the seconds that a task waits for another task to connect and log in."""
        return self.timeout + self.login_timeout

    @property
    def credential_settings(self) -> str:
        """Return the settings to check when this hop refuses a login, for messages."""
        if self.setting == TARGET:
            return "ansible_user, ansible_password and ansible_ssh_private_key_file"
        return f"the user, the password and the keys of {self.setting}, or ansible_ssh_jump_user, _password and _private_key_file"

    @property
    def prompts_setting(self) -> str:
        """Return the name of the setting for answers to this hop's questions."""
        return "ansible_ssh_prompts" if self.setting == TARGET else self._own("prompts")

    @property
    def password_setting(self) -> str:
        """Return the name of the setting for this hop's password."""
        return (
            "ansible_password" if self.setting == TARGET else f"{self._own('password')} (or ansible_ssh_jump_password)"
        )

    def _own(self, key: str) -> str:
        """Return the setting of one value of a jump host. To have any, a jump host of ssh_config must be listed in ansible_ssh_jump."""
        if self.setting.startswith("ansible_ssh_jump["):
            return f"{self.setting}.{key}"
        return f"{key} of {self.host} in a list of dictionaries as ansible_ssh_jump"

    @property
    def label(self) -> str:
        """Return ``user@host:port``, with an IPv6 address in brackets."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.credentials.user}@{host}:{self.port}"


def hop_name(index: int, count: int) -> str:
    """Return what a hop is called: ``jump host 1 of 2``, or ``target``.

    :param index: of the hop, from 0.
    :param count: of all hops, the target included.
    """
    return "target" if index == count - 1 else f"jump host {index + 1} of {count - 1}"


@dataclass(frozen=True)
class Chain:
    """Describe the complete route to a target.

    :param hops: at least one; the last is the target.
    :param timeout: seconds for all hops together; None for no limit beyond those of the hops.
    :param environment: (name, value) pairs for commands on the target, if its server accepts them (SetEnv, SendEnv).
    """

    hops: tuple[Hop, ...]
    timeout: float | None = None
    environment: tuple[tuple[str, str], ...] = field(default=(), repr=False)

    @property
    def target(self) -> Hop:
        """Return the host that Ansible manages."""
        return self.hops[-1]

    def place(self, index: int) -> str:
        """Return the hop at ``index`` (from 0) as errors name it: what it is called, its name, and via which hop."""
        via = f" (via {self.hops[index - 1].label})" if index else ""
        return f"{hop_name(index, len(self.hops))} {self.hops[index].label}{via}"

    def prefixes(self) -> Iterator[tuple[Hop, ...]]:
        """Return the hops up to each hop in turn: ``(a)``, ``(a, b)``, ``(a, b, target)``."""
        return (self.hops[: index + 1] for index in range(len(self.hops)))

    def __str__(self) -> str:
        """Return ``controller -> a -> b -> target``, for display."""
        return " -> ".join(["controller", *(hop.label for hop in self.hops)])


def canonical(value: object) -> object:
    """Return a canonical form of a value of this module, including types and secrets. Never log it."""
    if is_dataclass(value) and not isinstance(value, type):
        return (type(value).__name__, *(canonical(getattr(value, item.name)) for item in fields(value)))
    return tuple(map(canonical, value)) if isinstance(value, tuple) else value
