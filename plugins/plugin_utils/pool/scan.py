# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection.
"""Fetch the host keys of a chain, hop by hop, without logging in to the target."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any

from ..chain.model import Chain, Hop, HostKeyChecking
from ..client.interface import Report
from ..deadline import Deadline
from ..errors import HopError, HostKeyRefused, HostKeyUnknown
from ..openssh.known_hosts import fingerprint
from ..settings import SessionConfig
from ..ssh.dial import fetch_host_key
from ..ssh.host_keys import HostKey, HostKeyCheck
from .transports import Lease, TransportPool

_PASSABLE = ("known", "added")
_ASKING = 600.0  # seconds for a user to compare a fingerprint; a one-time code could not log in again


@dataclass(frozen=True)
class AcceptPolicy:
    """Decide which unknown keys are added to known_hosts.

    :param new: whether any are.
    :param fingerprints: add only keys with these; None for all.
    """

    new: bool = False
    fingerprints: Collection[str] | None = None

    def takes(self, key: HostKey) -> bool:
        """Return whether to add a key."""
        return self.new and (self.fingerprints is None or fingerprint(key.blob) in self.fingerprints)


class HostKeyScan:
    """Scan the hops of one chain.

    :param settings: of the target; its policy for unknown keys is ignored.
    """

    def __init__(
        self, transports: TransportPool, settings: SessionConfig, report: Report, accept: AcceptPolicy
    ) -> None:
        self._transports = transports
        self._settings = settings
        self._chain = settings.chain
        self._report = report
        self._accept = accept
        self._lease: Lease | None = None

    def run(self) -> list[dict[str, Any]]:
        """Return one JSON-serializable dictionary per hop, up to the first hop that cannot be passed."""
        found: list[dict[str, Any]] = []
        try:
            for index, hop in enumerate(self._chain.hops):
                found.append({"label": hop.label, "target": hop is self._chain.target} | self._visit(index))
                if found[-1]["status"] == "new" and self._lease is not None:
                    self._lease.keep(_ASKING)
                if found[-1]["status"] not in _PASSABLE:
                    break
        finally:
            self._release()
        return found

    def _visit(self, index: int) -> dict[str, Any]:
        if index + 1 == len(self._chain.hops):
            return self._look(index)
        try:
            return self._pass(index)
        except HostKeyRefused:
            finding = self._look(index)
        except HopError as error:
            return self._unreachable(index, error)
        if finding["status"] in _PASSABLE:  # another task has added it meanwhile
            try:
                self._pass(index)
            except HopError as error:
                return finding | self._unreachable(index, error)
        return finding

    def _unreachable(self, index: int, error: HopError) -> dict[str, Any]:
        """Return the finding for an unreachable hop. The hop at fault, which may be an earlier one, is named as in the whole chain."""
        passed = self._until(index)
        places = {passed.place(each): self._chain.place(each) for each in range(index + 1)}
        place = places.get(error.place, error.place)
        message = str(type(error)(place, error.problem, error.advice))
        return {"hop": self._chain.place(index), "status": "unreachable", "msg": message}

    def _until(self, index: int) -> Chain:
        """Return the chain that ends at a jump host."""
        return replace(self._chain, hops=self._chain.hops[: index + 1])

    def _pass(self, index: int) -> dict[str, Any]:
        """Log in to a jump host whose key is known, or reuse its connection."""
        # Without ask_anew: another chain need not end at this hop.
        settings = replace(self._settings, chain=self._until(index), ask_anew=())
        lease = self._transports.lease(settings, self._report)
        self._release()
        self._lease = lease
        trust = lease.links[-1].trust
        return {"hop": self._chain.place(index), "status": "known"} | (_described(trust.key) if trust else {})

    def _look(self, index: int) -> dict[str, Any]:
        place, hop = self._chain.place(index), self._chain.hops[index]
        before = self._lease.links if self._lease else []
        self._report.note(f"{place}: looking at its host key")
        try:
            key, address = fetch_host_key(self._chain, index, before, Deadline(self._chain.timeout))
        except HostKeyRefused as error:  # a known_hosts file cannot be read
            return {"hop": place, "status": "refused", "msg": str(error)}
        except HopError as error:
            return {"hop": place, "status": "unreachable", "msg": str(error)}
        return {"hop": place} | _described(key) | self._judged(hop, place, key, address)

    def _judged(self, hop: Hop, place: str, key: HostKey, address: str | None) -> dict[str, Any]:
        check = HostKeyCheck(_checked(hop, HostKeyChecking.STRICT), place, self._report.note)
        try:
            check.verify(key, address)
        except HostKeyUnknown:
            if not self._accept.takes(key):
                return {"status": "new", "line": check.line(key)}
        except HostKeyRefused as error:
            return {"status": "refused", "msg": str(error)}
        else:
            return {"status": "known"}
        try:
            HostKeyCheck(_checked(hop, HostKeyChecking.ACCEPT_NEW), place, self._report.note).verify(key, address)
        except HostKeyRefused as error:
            return {"status": "refused", "msg": str(error)}
        return {"status": "added", "line": check.line(key)}

    def _release(self) -> None:
        lease, self._lease = self._lease, None
        if lease is not None:
            lease.release()


def _checked(hop: Hop, checking: HostKeyChecking) -> Hop:
    return replace(hop, host_keys=replace(hop.host_keys, checking=checking))


def _described(key: HostKey) -> dict[str, Any]:
    return {"key_type": key.key_type, "fingerprint": fingerprint(key.blob), "certified": key.certificate is not None}
