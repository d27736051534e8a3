# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The broker as a program: DIRECTORY NAME, with its listening socket as standard input."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Serves until it is idle or told to stop."""
    directory, name = sys.argv[1:]
    here = os.path.dirname(os.path.abspath(__file__))
    # Python has put this folder first, whose modules are no top-level ones; the collection's root is six above.
    sys.path[0] = os.path.normpath(os.path.join(here, *[os.pardir] * 6))
    from ansible_collections.bastion.ssh.plugins.plugin_utils.broker.server import serve

    serve(directory, name)


if __name__ == "__main__":
    main()
