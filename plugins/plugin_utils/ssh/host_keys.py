# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection.
"""Verify a hop's host key, before any credential is sent to the hop."""

from __future__ import annotations

import base64
import os
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..chain.key_types import CERTIFIED, SIGNED_BY, first_string
from ..chain.model import TARGET, Hop, HostKeyChecking
from ..errors import HostKeyRefused, HostKeyUnknown, JumpError, sanitize
from ..openssh.certificates import BadCertificate, HostCertificate, can_be_read, read_certificate, rejection_reason
from ..openssh.known_hosts import (
    REVOKED,
    Entry,
    Verdict,
    authorities,
    fingerprint,
    format_line,
    judge,
    lookup_names,
    rsa_bits,
)
from ..openssh.known_hosts_files import Stamp, append, ask_command, entries_of, locked, recorded_in, stamp_of
from ..openssh.revocation import is_revoked

_SALT = 20
_NEW_KEY = "Anyone with that key can pose as this host: give the host a new one."
_SIGN_ANEW = "Have the authority sign the host's key anew."
_OTHER_AUTHORITY = "Have an authority that is still trusted sign the host's key."
# What ssh(1) disables for a changed key (sshconnect.c, check_host_key), and what it still sends.
_DISABLED = (
    "host key checking is off, so it is used all the same; password and keyboard-interactive logins and agent forwarding are "
    "disabled to avoid man-in-the-middle attacks."
)
_STILL = "What tasks send, a become password included, still goes to it."
# ssh -W fails for a changed key, as forwarding is disabled (sshconnect.c, cancelled_forwarding).
_JUMP_HOST_TOO = " Without host key checking a jump host is refused all the same, as with ssh."


@dataclass(frozen=True)
class HostKey:
    """Hold a host key as a hop has presented it.

    :param blob: the public key in wire format (RFC 4253 section 6.6).
    :param certificate: the certificate presented with it, in wire format; None for a plain key.
    :param certificate_type: the key type of the certificate; empty for a plain key.
    """

    key_type: str
    blob: bytes
    certificate: bytes | None = None
    certificate_type: str = ""

    def __str__(self) -> str:
        return f"{self.key_type} {fingerprint(self.blob)}"


@dataclass(frozen=True)
class Trust:
    """Record that a host key was accepted. It keeps nothing of the hop, whose credentials belong to a run.

    :param doubt: why the key was accepted only because checking is off; empty for a verified key.
    :param stamp: the state of the known_hosts files at the check.
    :param address: the hop's IP address, if this process connected to it over TCP.
    """

    key: HostKey
    doubt: str
    stamp: Stamp
    address: str | None = None

    @property
    def secrets_allowed(self) -> bool:
        """Return whether secrets may be sent and an agent may be forwarded."""
        return not self.doubt

    def renewed(self, hop: Hop, place: str, warn: Callable[[str], None]) -> Trust:
        """Return the trust in the same key, verified again if the files have changed since. Warn each run of a key in doubt.

        :param hop: the caller's own: one chain's jump host may be another's target.
        :param place: the hop as the caller's errors name it.
        :raises HostKeyRefused: the key is no longer trusted, or it is in doubt and the hop is a jump host now.
        """
        if stamp_of(hop.host_keys) != self.stamp or (self.doubt and hop.setting != TARGET):
            return HostKeyCheck(hop, place, warn).verify(self.key, self.address)
        if self.doubt:
            warn(_warning(place, self.doubt))
        return self


class HostKeyCheck:
    """Check one hop's host key against the known ones.

    :param place: the hop as errors name it.
    :param warn: takes one line about a new key that was recorded, or a target's changed key that was accepted.
    :raises HostKeyRefused: the known keys cannot be read.
    """

    def __init__(self, hop: Hop, place: str, warn: Callable[[str], None]) -> None:
        self._hop = hop
        self._policy = hop.host_keys
        self._place = place
        self._warn = warn
        self._names = lookup_names(hop.host, hop.port, self._policy.alias)
        self._address: str | None = None
        self._doubt = ""
        self._stamp = stamp_of(self._policy)  # before reading the files, so that no change is missed
        try:
            self._printed = self._ask("ORDER", None)
            self._known = self._read()
        except Exception as error:
            raise self._not_checked(error) from error

    def prefer(self, usual: Sequence[str], there: Sequence[str]) -> tuple[str, ...]:
        """Return the algorithms to offer, in order (OpenSSH's ``order_hostkeyalgs``).

        First come those of certificates, if an authority is known, then those of known keys, then the others.

        :param usual: paramiko's preferred algorithms, in its order.
        :param there: all that paramiko has.
        """
        wanted = self._policy.algorithms
        if wanted is None:
            plain = [name for name in usual if CERTIFIED not in name]
            certified = [f"{name}{CERTIFIED}" for name in plain] if self._authorities() else []
            wanted = (*certified, *plain)
        # Use the bare host's entries only if there are none for [host]:port, as _verdict() does.
        entries = next(filter(None, self._known), [])
        known = {entry.key_type for entry in entries if entry.key and not entry.marker}

        def place(name: str) -> int:
            if CERTIFIED in name:
                return 0 if self._authorities() else 2
            return 1 if SIGNED_BY.get(name, name) in known else 2

        found = [name for name in wanted if name in there and (CERTIFIED not in name or can_be_read())]
        return tuple(sorted(found, key=place))

    def check(self, key: HostKey) -> bool:
        """Accept or refuse a key, and record a new one if the policy says so.

        :returns: whether secrets may be sent; False for a target's changed key with checking off (sshconnect.c then
            disables password and keyboard-interactive as well).
        :raises HostKeyRefused: the key is not trusted, or the check failed: any error denies (CVE-2025-26465).
        """
        try:
            self._printed += self._ask("HOSTNAME", key)
            self._known = self._read()
            self._refuse_revoked(key)
            self._refuse_short(key)
            verdict = self._verdict(key)
            if verdict is Verdict.REVOKED:
                return self._decide(key, verdict)
            objections = self._objections(key)
            if objections == "":
                return True
            if objections is None or verdict is Verdict.TRUSTED:
                return self._decide(key, verdict)
            return self._refuse_certificate(objections)
        except JumpError:
            raise
        except Exception as error:
            raise self._not_checked(error) from error

    def verify(self, key: HostKey, address: str | None = None) -> Trust:
        """Check a key as :meth:`check` does. Return a trust that can be renewed.

        :param address: the hop's IP address, if this process connected to it over TCP (CheckHostIP).
        """
        self._address = address if self._policy.check_address and self._policy.alias is None else None
        self.check(key)
        return Trust(key, self._doubt, self._stamp, self._address)

    def line(self, key: HostKey) -> str:
        """Return the known_hosts line for a key."""
        return format_line(self._names[0], key.key_type, key.blob)

    def _ask(self, reason: str, key: HostKey | None) -> str:
        """Return the output of KnownHostsCommand, which ssh(1) runs before the key exchange and after it."""
        shown = (key.key_type, fingerprint(key.blob), base64.b64encode(key.blob).decode()) if key else ("NONE",) * 3
        return ask_command(self._hop, dict(zip("tfKIH", (*shown, reason, self._names[0]), strict=True)))

    def _read(self) -> list[list[Entry]]:
        """Return the known_hosts entries of each name."""
        return entries_of(self._policy, self._names, self._printed)

    def _authorities(self) -> list[Entry]:
        return [entry for entries in self._known for entry in authorities(entries)]

    def _refuse_revoked(self, key: HostKey) -> None:
        path = self._policy.revoked
        if path is None:
            return
        shown = [(key.key_type, key.blob)]
        if key.certificate is not None:
            shown.append((key.certificate_type, key.certificate))
        if any(is_revoked(path, *each) for each in shown):
            raise HostKeyRefused(self._place, f"the host key {key} is revoked in {path}", _NEW_KEY)

    def _refuse_short(self, key: HostKey) -> None:
        bits = rsa_bits(key.blob)
        if bits is not None and bits < self._policy.rsa_bits:
            raise HostKeyRefused(
                self._place,
                f"the host key {key} has {bits} bits, and RequiredRSASize wants {self._policy.rsa_bits}",
                "Give the server a longer one, or an ed25519 host key.",
            )

    def _objections(self, key: HostKey) -> str | None:
        """Return why the certificate that came with a key is not valid; empty if it is valid.

        :returns: None if there is no certificate, or none of an authority that is known for this host.
        :raises HostKeyRefused: the certificate is malformed, or its authority is revoked.
        """
        if key.certificate is None:
            return None
        try:
            certificate = read_certificate(key.certificate_type, key.certificate)
        except BadCertificate as error:
            problem = f"the host's certificate cannot be used: {error}"
            raise HostKeyRefused(self._place, problem, _SIGN_ANEW) from error
        self._refuse_revoked_authority(certificate)
        entry = next((entry for entry in self._authorities() if entry.key == certificate.authority), None)
        if entry is None:
            return None
        name = (self._policy.alias or self._hop.host).lower()
        problem = rejection_reason(certificate, name, self._policy.ca_algorithms)
        return f"the host shows {certificate} ({entry.where}), and {problem}" if problem else ""

    def _refuse_certificate(self, objections: str) -> bool:
        return self._let_pass(objections, _SIGN_ANEW)

    def _refuse_revoked_authority(self, certificate: HostCertificate) -> None:
        gone = [entry for entries in self._known for entry in entries if entry.marker == REVOKED]
        where = next((entry.where for entry in gone if entry.key in (None, certificate.authority)), None)
        if where is not None:
            problem = f"the host shows {certificate}, which is marked as revoked in {where}"
            raise HostKeyRefused(self._place, problem, _OTHER_AUTHORITY)
        path = self._policy.revoked
        kind = first_string(certificate.authority).decode("ascii", "replace")
        if path is not None and is_revoked(path, kind, certificate.authority):
            problem = f"the host shows {certificate}, which is revoked in {path}"
            raise HostKeyRefused(self._place, problem, _OTHER_AUTHORITY)

    def _verdict(self, key: HostKey) -> Verdict:
        """Judge by ``[host]:port``; fall back to the bare host only for an exact match, as another key there is another server's.

        @revoked counts for either name.
        """
        verdicts = [judge(entries, key.blob) for entries in self._known]
        if Verdict.REVOKED in verdicts:
            return Verdict.REVOKED
        first, last = verdicts[0], verdicts[-1]
        return last if first is Verdict.UNKNOWN and last is Verdict.TRUSTED else first

    def _decide(self, key: HostKey, verdict: Verdict) -> bool:
        checking = self._policy.checking
        if verdict is Verdict.TRUSTED:
            return self._address_is_right(key)
        if verdict is Verdict.REVOKED:
            problem = f"the host key {key} is marked as revoked in {self._revoked()}"
            raise HostKeyRefused(self._place, problem, _NEW_KEY)
        if verdict is Verdict.CHANGED:
            return self._let_pass(
                self._changed(key),
                "Either an attacker is in the middle, or the host was set up anew; if so, check the new fingerprint on "
                f"its console and remove the old line: {self._how_to_remove()}",
            )
        if checking is HostKeyChecking.STRICT:
            raise HostKeyUnknown(self._place, f"the host key {key} is not known", self._how_to_accept(key))
        if checking is HostKeyChecking.ACCEPT_NEW:
            self._record(key)
        return True

    def _address_is_right(self, key: HostKey) -> bool:
        """Check that the IP address is not known by another key (CheckHostIP), as after DNS spoofing.

        :returns: whether secrets may be sent.
        """
        if self._address is None:
            return True
        (known, *_plain) = entries_of(self._policy, lookup_names(self._address, self._hop.port))
        if judge(known, key.blob) not in (Verdict.CHANGED, Verdict.REVOKED):
            return True
        problem = f"its host key {key} is not the one that is known for its address {self._address} ({known[0].where})"
        return self._let_pass(problem, "CheckHostIP wants it to be; if the address is right, remove that line.")

    def _let_pass(self, problem: str, advice: str) -> bool:
        """Refuse a key in doubt, unless checking is off and the hop is the target.

        :returns: False, as no secrets may be sent to such a target.
        :raises HostKeyRefused: for any other hop.
        """
        off = self._policy.checking is HostKeyChecking.OFF
        if not off or self._hop.setting != TARGET:
            raise HostKeyRefused(self._place, problem, advice + _JUMP_HOST_TOO * off)
        self._doubt = problem
        self._warn(_warning(self._place, problem))
        return False

    def _record(self, key: HostKey) -> None:
        """Append a new key under a lock. Check again first, as another worker may have recorded a key meanwhile."""
        if not self._policy.known_hosts:
            raise HostKeyRefused(
                self._place,
                "accept-new has no known_hosts file to record the host key in",
                "Let known_hosts name a file.",
            )
        with locked(self._policy) as stream:
            self._known = self._read()
            verdict = self._verdict(key)
            if verdict is not Verdict.UNKNOWN:
                self._decide(key, verdict)
                return
            salt = os.urandom(_SALT) if self._policy.hashed else b""
            append(stream, format_line(self._names[0], key.key_type, key.blob, salt))
        self._warn(f"{self._place}: the new host key {key} was added to {recorded_in(self._policy)}")

    def _changed(self, key: HostKey) -> str:
        known = ", ".join(
            f"{entry.key_type} {fingerprint(entry.key)} ({entry.where})" if entry.key else f"unreadable ({entry.where})"
            for entry in self._known[0]
            if not entry.marker
        )
        return f"the host key has changed: the server shows {key}, known is {known}"

    def _how_to_remove(self) -> str:
        entry = next(entry for entry in self._known[0] if not entry.marker)
        if not entry.where.startswith("/"):
            return f"it is in {entry.where}"
        return f"ssh-keygen -f {shlex.quote(entry.where.rpartition(':')[0])} -R {shlex.quote(self._names[0])}"

    def _how_to_accept(self, key: HostKey) -> str:
        line = self.line(key)
        files = [name for name in self._policy.known_hosts if name != os.devnull]
        if not files:
            return f"Verify it, then add this line to ansible_ssh_known_hosts: {line}"
        return f"Verify it, then run: ansible-playbook bastion.ssh.trust -i INVENTORY -l HOST; or add this line to {files[0]}: {line}"

    def _revoked(self) -> str:
        return ", ".join(entry.where for entries in self._known for entry in entries if entry.marker == REVOKED)

    def _not_checked(self, error: Exception) -> HostKeyRefused:
        reason = sanitize(str(error)) or type(error).__name__
        advice = (
            "Make the file readable." if isinstance(error, OSError) else "A host that cannot be checked is not trusted."
        )
        return HostKeyRefused(self._place, f"the host key could not be checked: {reason}", advice)


def _warning(place: str, doubt: str) -> str:
    return f"{place}: {doubt}; {_DISABLED} {_STILL}"
