# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection.
"""The chain: hops in the order in which they are visited, the target last. Frozen, secrets out of its repr."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields, is_dataclass
from enum import Enum

#: OpenSSH's word for the agent that the environment names.
USUAL_AGENT = "SSH_AUTH_SOCK"
#: The ``setting`` of a hop that no list of jump hosts mentions.
TARGET = "the target"


class TransferMethod(Enum):
    """How files go to and from the target."""

    SMART = "smart"
    SFTP = "sftp"
    PIPED = "piped"


class HostKeyChecking(Enum):
    """What to do with a host key that is not known (OpenSSH's StrictHostKeyChecking)."""

    STRICT = "yes"
    ACCEPT_NEW = "accept-new"
    OFF = "no"


@dataclass(frozen=True)
class HostKeyPolicy:
    """How a hop's host key is checked.

    :param known_hosts: files, read in this order; ``accept-new`` appends to the first.
    :param alias: the name to look up instead of the host's (HostKeyAlias).
    :param global_known_hosts: files that are read as well, and never written (GlobalKnownHostsFile).
    :param lines: of known_hosts, given as they are.
    :param command: arguments of a program that prints lines of known_hosts (KnownHostsCommand), with tokens that only the connection
        knows.
    :param revoked: a file of revoked keys (RevokedHostKeys).
    :param hashed: whether names are hashed when they are recorded (HashKnownHosts).
    :param check_address: whether the address of a host that is reached directly has to be known by the same key (CheckHostIP).
    :param algorithms: that the host may prove itself with (HostKeyAlgorithms); None for all that are safe.
    :param ca_algorithms: that an authority may sign certificates with (CASignatureAlgorithms); None for all that are safe.
    :param rsa_bits: length of the shortest RSA key that is trusted (RequiredRSASize).
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
    """A private key in a file on the controller, with its certificate if there is one, in a file or as text."""

    path: str
    passphrase: str | None = field(default=None, repr=False)
    certificate_file: str | None = None
    certificate: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class KeyText:
    """A private key given as text."""

    text: str = field(repr=False)
    passphrase: str | None = field(default=None, repr=False)
    certificate_file: str | None = None
    certificate: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class AgentKeys:
    """Keys that an agent on the controller holds.

    :param socket: the agent's (IdentityAgent); None for the one of the environment of who runs the play.
    :param listed: key files, or public key files, whose keys alone are used (IdentitiesOnly); None for all.
    """

    socket: str | None = None
    listed: tuple[str, ...] | None = None


#: Seconds for a login, if a hop's timeout is not longer: as long as OpenSSH's server lets it take by default (LoginGraceTime). The
#: time to connect (ConnectTimeout) does not limit it there, as PAM, a directory or a person with a phone may be slow.
LOGIN_SECONDS = 120.0
#: Ways to log in, of those that there are here, in ssh(1)'s order.
METHODS = ("publickey", "keyboard-interactive", "password")
#: As ssh(1), of the types that paramiko has.
DEFAULT_FILES = ("~/.ssh/id_rsa", "~/.ssh/id_ecdsa", "~/.ssh/id_ed25519")


@dataclass(frozen=True)
class DefaultKeyFiles:
    """The key files that ssh(1) tries when none is named: ``~/.ssh/id_ed25519`` and its siblings."""


Identity = KeyFile | KeyText | AgentKeys | DefaultKeyFiles


@dataclass(frozen=True)
class Credentials:
    """Who to be at a hop, and how to prove it.

    :param identities: keys in the order in which they are offered.
    :param fallback: keys that are offered when all else was refused.
    :param prompts: (regular expression, answer) for keyboard-interactive questions (RFC 4256).
    :param certificates: files with certificates for any of the keys (CertificateFile).
    :param certificate_texts: such certificates, given as text.
    :param methods: that may be used, in their order (PreferredAuthentications); None for all in the usual order.
    :param algorithms: that a key may sign with (PubkeyAcceptedAlgorithms); None for all that are safe.
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
    """How a connection to a hop is made and kept.

    :param attempts: how often a connection is tried for (ConnectionAttempts); first hop only, as are the next two.
    :param address_family: ``inet`` or ``inet6`` (AddressFamily); None for both.
    :param bind_address: the address to come from (BindAddress).
    :param alive_interval: seconds between keepalives (ServerAliveInterval); 0 sends none.
    :param alive_count: unanswered keepalives after which a link is given up (ServerAliveCountMax).
    :param rekey_bytes: after which there are new keys (RekeyLimit); 0 for the library's own limit.
    :param ciphers: in their order; None for the library's own, as for the next two.
    :param forward_agent: the socket of an agent that commands may use (ForwardAgent), :data:`USUAL_AGENT` for the one of the
        environment; None for none. Target only.
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
    """Where on the controller a ProxyCommand is run.

    :param environment: (name, value); None for that of the process that runs it.
    """

    directory: str
    environment: tuple[tuple[str, str], ...] | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Hop:
    """One SSH server on the way.

    :param host: the name or address to connect to.
    :param timeout: seconds for connecting and key exchange together.
    :param proxy_command: command template whose standard streams carry the connection; first hop only.
    :param setting: where this hop was set, for messages: ``ansible_ssh_jump[0]`` or ``the target``.
    :param exec_context: of its proxy_command; None for those of the process that runs it.
    :param name: as the user wrote the host; empty where that is the same.
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
        """Seconds for the login."""
        return max(self.timeout, LOGIN_SECONDS)

    @property
    def patience(self) -> float:
        """Seconds that a task waits for another one to connect and log in."""
        return self.timeout + self.login_timeout

    @property
    def credential_settings(self) -> str:
        """What to look at when this hop refuses a login."""
        if self.setting == TARGET:
            return "ansible_user, ansible_password and ansible_ssh_private_key_file"
        return f"the user, the password and the keys of {self.setting}, or ansible_ssh_jump_user, _password and _private_key_file"

    @property
    def prompts_setting(self) -> str:
        """Where answers to the questions of this hop are set."""
        return "ansible_ssh_prompts" if self.setting == TARGET else self._own("prompts")

    @property
    def password_setting(self) -> str:
        """Where the password of this hop is set."""
        return (
            "ansible_password" if self.setting == TARGET else f"{self._own('password')} (or ansible_ssh_jump_password)"
        )

    def _own(self, key: str) -> str:
        """A key of a jump host; one that ssh_config names has to be written into the variable to have any."""
        if self.setting.startswith("ansible_ssh_jump["):
            return f"{self.setting}.{key}"
        return f"{key} of {self.host} in a list of dictionaries as ansible_ssh_jump"

    @property
    def label(self) -> str:
        """``user@host:port``, an IPv6 address in brackets."""
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
    """The whole way to a target.

    :param hops: at least one; the last is the target.
    :param timeout: seconds for all hops together; None for the sum of theirs.
    :param environment: (name, value) for commands on the target, if it accepts them (SetEnv, SendEnv).
    """

    hops: tuple[Hop, ...]
    timeout: float | None = None
    environment: tuple[tuple[str, str], ...] = field(default=(), repr=False)

    @property
    def target(self) -> Hop:
        """The host that Ansible manages."""
        return self.hops[-1]

    def place(self, index: int) -> str:
        """Return the hop at ``index`` (from 0) as errors name it: what it is called, its name, and via which hop."""
        via = f" (via {self.hops[index - 1].label})" if index else ""
        return f"{hop_name(index, len(self.hops))} {self.hops[index].label}{via}"

    def prefixes(self) -> Iterator[tuple[Hop, ...]]:
        """The ways to each hop in turn: ``(a)``, ``(a, b)``, ``(a, b, target)``."""
        return (self.hops[: index + 1] for index in range(len(self.hops)))

    def __str__(self) -> str:
        """``controller -> a -> b -> target``, for people."""
        return " -> ".join(["controller", *(hop.label for hop in self.hops)])


def canonical(value: object) -> object:
    """A value of this room as nested tuples that are equal for equal values only: types and secrets are in them."""
    if is_dataclass(value) and not isinstance(value, type):
        return (type(value).__name__, *(canonical(getattr(value, item.name)) for item in fields(value)))
    return tuple(map(canonical, value)) if isinstance(value, tuple) else value
