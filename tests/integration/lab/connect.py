# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Connect standard input and output to a socket, for a ProxyCommand: as nc, of which there are several."""

from __future__ import annotations

import os
import select
import socket
import sys


def main(host: str, port: str) -> None:
    """Copy bytes in both directions until either side ends."""
    end = socket.create_connection((host, int(port)))
    while True:
        ends: list[int | socket.socket] = [0, end]
        for ready in select.select(ends, [], [])[0]:
            data = os.read(0, 65536) if ready == 0 else end.recv(65536)
            if not data:
                return
            if ready == 0:
                end.sendall(data)
            else:
                os.write(1, data)


if __name__ == "__main__":
    main(*sys.argv[1:])
