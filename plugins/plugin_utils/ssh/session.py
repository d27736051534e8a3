# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A session on a target, over a chain that this process dialled itself."""

from __future__ import annotations

import contextlib

from ..chain.model import Chain
from ..errors import CommandError, HopUnreachable, LinkLost, said
from .deadline import Deadline
from .dial import Link, dead_hop, dial, hang_up, lost_link
from .files import NoSftp, PipedFiles, SftpFiles
from .interface import Report, SessionOptions, TransferMethod
from .keepalive import Keepalive
from .library import paramiko
from .logins import LoginTurns
from .process import ChannelProcess
from .transport import BROKEN


def open_session(chain: Chain, options: SessionOptions, report: Report) -> DialledSession:
    """Dials a chain.

    :raises HopError: which names the hop; nothing stays open.
    """
    report.note(f"dialling {chain}")
    links = dial(chain, LoginTurns(options.run_directory), report)
    return DialledSession(chain, links, options, report)


def forget_refusal(chain: Chain, options: SessionOptions) -> None:
    """Lets a login that the target refused be tried again; its bastions are as they were."""
    LoginTurns(options.run_directory).forget(chain.hops)


class DialledSession:
    """Implements :class:`interface.Session` over links of its own."""

    def __init__(self, chain: Chain, links: list[Link], options: SessionOptions, report: Report) -> None:
        self._chain = chain
        self._links = links
        self._method = options.transfer_method
        self._report = report
        self._files: SftpFiles | PipedFiles | None = None
        self._keepalive = (
            Keepalive(links, chain.alive_interval, chain.alive_count) if chain.alive_interval > 0 else None
        )

    def start(self, command: str, pty: bool = False) -> ChannelProcess:
        """See :class:`interface.Session`.

        :raises HopUnreachable: no channel, so the command was not started and may be tried again.
        :raises LinkLost: the connection ended when the command may have been started.
        """
        channel = self._open_channel()
        try:
            if pty:
                self._get_pty(channel)
            channel.exec_command(command.encode("utf-8", "surrogateescape"))
        except BROKEN as error:
            with contextlib.suppress(*BROKEN):
                channel.close()
            refused = LinkLost(self._place, f"the server refused to run the command: {said(str(error))}")
            raise self._lost() or refused from error
        return ChannelProcess(channel, self._ended_without_status)

    def _get_pty(self, channel: paramiko.Channel) -> None:
        try:
            channel.get_pty(term="dumb")
        except BROKEN as error:
            channel.close()
            raise self._lost() or CommandError(
                f"{self._place}: it gives no terminal (PermitTTY); let ansible_ssh_use_tty be false"
            ) from error

    def put(self, source: str, target: str) -> None:
        """See :class:`interface.Session`."""
        files = self._transfer()
        Deadline(None).limit(lambda: files.put(source, target))

    def fetch(self, source: str, target: str) -> None:
        """See :class:`interface.Session`."""
        files = self._transfer()
        Deadline(None).limit(lambda: files.fetch(source, target))

    def close(self) -> None:
        """Hangs up on all hops. Harmless when repeated."""
        if self._keepalive is not None:
            self._keepalive.stop()
        hang_up(self._links)
        if self._files is not None:
            with contextlib.suppress(*BROKEN):
                self._files.close()
            self._files = None

    def _open_channel(self) -> paramiko.Channel:
        deadline = Deadline(self._chain.target.timeout)
        try:
            channel: paramiko.Channel = self._target.transport.open_session(timeout=deadline.remaining())
            return channel
        except paramiko.ChannelException as error:
            raise HopUnreachable(
                self._place,
                f"no session: {self._target.transport.open_failure}",
                "Does its MaxSessions leave room for one more?",
            ) from error
        except BROKEN as error:
            silent = HopUnreachable(self._place, f"no session within {deadline.seconds:g} seconds")
            raise dead_hop(self._links) or silent from error

    def _transfer(self) -> SftpFiles | PipedFiles:
        if self._files is None:
            self._files = PipedFiles(self.start) if self._method is TransferMethod.PIPED else self._sftp_or_piped()
        return self._files

    def _sftp_or_piped(self) -> SftpFiles | PipedFiles:
        try:
            return SftpFiles(self._open_channel(), self._lost)
        except NoSftp as error:
            if self._method is TransferMethod.SFTP:
                raise CommandError(
                    f"{self._place}: it offers no SFTP. Let ansible_ssh_transfer_method be 'smart' or 'piped'."
                ) from error
            self._report.note(f"{self._place}: no SFTP, files go through dd")
            return PipedFiles(self.start)

    @property
    def _target(self) -> Link:
        return self._links[-1]

    @property
    def _place(self) -> str:
        return self._target.place

    def _lost(self) -> LinkLost | None:
        return lost_link(self._links)

    def _ended_without_status(self) -> LinkLost:
        return self._lost() or LinkLost(self._place, "the server ended the command without saying how")
