# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A ProxyCommand for machines without OpenSSH's client: forward.py -F CONFIG -W HOST:PORT BASTION

It does what ``ssh -F CONFIG -W HOST:PORT BASTION`` does; ProxyJump in the configuration is followed.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import sys
from collections.abc import Callable

import asyncssh

_STDIN, _STDOUT = 0, 1
_BLOCK = 65536


async def feed(back: asyncssh.SSHWriter[bytes]) -> None:
    """Passes on what comes in, no faster than it is taken."""
    loop = asyncio.get_running_loop()
    while True:
        await ready(loop.add_reader, loop.remove_reader, _STDIN)
        with contextlib.suppress(BlockingIOError):
            data = os.read(_STDIN, _BLOCK)
            if not data:
                break
            back.write(data)
            await back.drain()
    back.write_eof()


async def drain(far: asyncssh.SSHReader[bytes]) -> None:
    """The same for what goes out."""
    loop = asyncio.get_running_loop()
    while data := await far.read(_BLOCK):
        while data:
            await ready(loop.add_writer, loop.remove_writer, _STDOUT)
            with contextlib.suppress(BlockingIOError):
                data = data[os.write(_STDOUT, data) :]


async def ready(add: Callable[..., None], remove: Callable[[int], bool], descriptor: int) -> None:
    """Waits until a descriptor can be read or written; asyncio's pipes do not take one socket for both."""
    event = asyncio.Event()
    add(descriptor, event.set)
    try:
        await event.wait()
    finally:
        remove(descriptor)


async def forward(config: str, host: str, port: int, bastion: str) -> None:
    """Joins standard input and output to a host that the bastion can reach, until either side ends it."""
    os.set_blocking(_STDOUT, False)
    async with asyncssh.connect(bastion, config=[config]) as connection:
        far, back = await connection.open_connection(host, port, encoding=None)
        ways = [asyncio.create_task(feed(back)), asyncio.create_task(drain(far))]
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)


def main() -> None:
    """Reads the command line as ssh(1) does."""
    parser = argparse.ArgumentParser(description="Join standard input and output to a host behind a bastion.")
    parser.add_argument("-F", dest="config", required=True, help="a file as ssh_config(5)")
    parser.add_argument("-W", dest="end", required=True, metavar="HOST:PORT", help="where to go from the bastion")
    parser.add_argument("bastion", help="a Host of the file")
    arguments = parser.parse_args()
    host, _colon, port = arguments.end.rpartition(":")
    try:
        asyncio.run(forward(arguments.config, host.strip("[]"), int(port), arguments.bastion))
    except (OSError, ValueError, asyncssh.Error) as error:
        sys.exit(f"forward.py: {error}")


if __name__ == "__main__":
    main()
