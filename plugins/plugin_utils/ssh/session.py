# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection.
"""Run commands and transfer files on a target over open links."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

from ..chain.model import Chain, TransferMethod
from ..client.interface import Report
from ..client.local_files import LocalFile
from ..deadline import Deadline
from ..errors import CommandError, HopError, HopUnreachable, LinkLost, SessionLimitReached, sanitize
from ..patched_paramiko.agent_forwarding import offer_agent
from ..patched_paramiko.channel import HopChannel
from ..patched_paramiko.compat import BROKEN
from ..patched_paramiko.transport import ChannelRefused
from .files import NoSftp, PipedFiles, SftpFiles
from .link import Link, dead_hop, lost_link
from .process import ChannelProcess

_CLOSING = 2.0  # seconds for the server to close the channels of a session
_TALKS = "the shell prints before SFTP begins: {}"
_QUIET = "Let no startup file of its shell, such as .bashrc, print where there is no terminal."


class TargetChannels:
    """Run commands and transfer files on a target, over links that it does not own.

    :param links: one per hop, the target's last.
    :param chain: the chain of the links.
    """

    def __init__(self, links: Sequence[Link], chain: Chain, report: Report) -> None:
        self._links = links
        self._chain = chain
        self._timeout = chain.target.timeout
        self._report = report
        self._channels: list[HopChannel] = []
        self._cancelled = False

    def start(self, command: str, pty: bool = False) -> ChannelProcess:
        """Start a command line in the login shell of the target's user.

        :raises HopUnreachable: no channel was opened, so the command was not started and may be retried.
        :raises LinkLost: the connection ended when the command may have been started.
        """
        channel = self._open_channel()
        try:
            self._get_pipe(channel)
            self._report.commit()
        except BaseException:
            channel.close()
            raise
        try:
            if pty:
                self._get_pty(channel)
            agent = self._agent()
            if agent is not None:
                offer_agent(channel, agent)
            for name, value in self._chain.environment:
                channel.set_environment_variable(_bytes(name), _bytes(value))
            channel.exec_command(_bytes(command))
        except BROKEN as error:
            channel.close()
            refused = LinkLost(
                self._place,
                f"the server refused to run the command: {sanitize(str(error))}",
                "May this account run commands (ForceCommand, a forwarding-only account)? The server's log says why.",
            )
            raise self._lost() or refused from error
        return ChannelProcess(self._place, channel, self._ended_without_status)

    def put(self, source: LocalFile, target: str, method: TransferMethod) -> None:
        """Copy a file from the controller to the target; raise an error unless the copy is complete."""
        with self._files(method) as files:
            self._report.commit()
            files.put(source, target)

    def fetch(self, source: str, target: LocalFile, method: TransferMethod) -> None:
        """Copy a file from the target to the controller; raise an error unless the copy is complete."""
        with self._files(method) as files:
            self._report.commit()
            files.fetch(source, target)

    def has_ended(self) -> bool:
        """Return whether another session can begin. If the server must first close the channels of this one, wait for that."""
        if self._target.is_dead or not self._target.one_session_at_a_time:
            return True
        deadline = Deadline(_CLOSING)
        return all(deadline.wait(channel.server_closed) for channel in self._channels)

    def cancel(self) -> None:
        """Close all channels, so that pending calls fail."""
        self._cancelled = True
        for channel in list(self._channels):
            channel.close()

    def _open_channel(self) -> HopChannel:
        deadline = Deadline(self._timeout)
        try:
            channel = self._target.transport.open("session", timeout=deadline.remaining(), waits=self._report.waits)
            self._channels.append(channel)
            if self._cancelled:
                channel.close()
            return channel
        except ChannelRefused as error:
            raise SessionLimitReached(
                self._place, f"no session: {error.words}", "Does its MaxSessions leave room for one more?"
            ) from error
        except BROKEN as error:
            raise self._silent() from error

    def _silent(self) -> HopUnreachable:
        problem = f"no session within {self._timeout:g} seconds"
        silent = HopUnreachable(self._place, problem, "Is it overloaded? Else a longer ansible_ssh_timeout.")
        return dead_hop(self._links, self._chain) or silent

    def _get_pipe(self, channel: HopChannel) -> None:
        """Create the pipe that signals output before the command starts, as no descriptor may be left."""
        try:
            channel.fileno()
        except OSError as error:
            raise HopError(
                self._place,
                f"no file descriptor is left on the controller ({error.strerror})",
                "Raise the limit (ulimit -n), or take fewer forks.",
            ) from error

    def _agent(self) -> str | None:
        """Return the agent to forward; None if the target's host key is in doubt (sshconnect.c, check_host_key)."""
        trust = self._target.trust
        return self._chain.target.transport.forward_agent if trust is not None and trust.secrets_allowed else None

    def _get_pty(self, channel: HopChannel) -> None:
        try:
            channel.get_pty(term="dumb")
        except BROKEN as error:
            channel.close()
            raise self._lost() or CommandError(
                self._place, "it gives no terminal (PermitTTY)", "Let ansible_ssh_use_tty be false."
            ) from error

    @contextlib.contextmanager
    def _files(self, method: TransferMethod) -> Iterator[SftpFiles | PipedFiles]:
        """Yield the object that transfers files, and close its session afterwards, as a server may allow few."""
        files = self._sftp(method)
        if files is None:
            yield PipedFiles(self._place, self.start)
            return
        try:
            yield files
        finally:
            files.close()

    def _sftp(self, method: TransferMethod) -> SftpFiles | None:
        if method is TransferMethod.PIPED:
            return None
        if method is TransferMethod.SMART and self._target.no_sftp is not None:
            self._say_no_sftp(self._target.no_sftp)
            return None
        channel = self._open_channel()
        try:
            return Deadline(self._timeout).limit(
                lambda: SftpFiles(self._place, channel, self._lost, self._target.abort)
            )
        except TimeoutError as error:  # no answer to the request for the subsystem
            channel.close()
            raise self._silent() from error
        except NoSftp as error:
            if self._cancelled:  # then this says nothing about the server
                raise self._silent() from error
            if method is TransferMethod.SFTP:
                raise self._not_offered(error.shell_says) from error
            self._target.no_sftp = error.shell_says
            self._say_no_sftp(error.shell_says)
            return None
        except RuntimeError:  # no thread can be started
            channel.close()
            raise

    def _say_no_sftp(self, shell_says: str) -> None:
        """Report that files go through dd: as a warning if the user can change that, else as a note."""
        if shell_says:
            self._report.warn(
                str(CommandError(self._place, f"{_TALKS.format(shell_says)}, so files go through dd", _QUIET))
            )
        else:
            self._report.note(f"{self._place}: no SFTP, files go through dd")

    def _not_offered(self, shell_says: str) -> CommandError:
        if shell_says:
            return CommandError(self._place, _TALKS.format(shell_says), _QUIET)
        return CommandError(self._place, "it offers no SFTP", "Let ansible_ssh_transfer_method be 'smart' or 'piped'.")

    @property
    def _target(self) -> Link:
        return self._links[-1]

    @property
    def _place(self) -> str:
        return self._chain.place(len(self._links) - 1)

    def _lost(self) -> LinkLost | None:
        return lost_link(self._links, self._chain)

    def _ended_without_status(self) -> LinkLost:
        return self._lost() or LinkLost(
            self._place,
            "the server ended the command without saying how",
            "Its log says why. The command may have taken effect.",
        )


def _bytes(text: str) -> bytes:
    """Return the bytes that a text was decoded from, including those that are not UTF-8."""
    return text.encode("utf-8", "surrogateescape")
