# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection.
"""Run the broker as a program: DIRECTORY NAME PATH, with its listening socket as standard input.

PATH is the starter's sys.path as JSON, as a launcher may be what made paramiko importable.
"""

from __future__ import annotations

import json
import os
import sys


def main() -> None:
    """Serve until idle or stopped."""
    directory, name, path = sys.argv[1:]
    here = os.path.dirname(os.path.abspath(__file__))
    # Replace this directory, which Python puts first, by the directory of ansible_collections, six levels up.
    sys.path[0] = os.path.normpath(os.path.join(here, *[os.pardir] * 6))
    sys.path += [entry for entry in json.loads(path) if os.path.isabs(entry) and entry not in sys.path]
    from ansible_collections.bastion.ssh.plugins.plugin_utils.broker.server import serve

    serve(directory, name)


if __name__ == "__main__":
    main()
