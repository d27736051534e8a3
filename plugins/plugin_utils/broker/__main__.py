# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection.
"""The broker as a program: DIRECTORY NAME PATH, with its listening socket as standard input.

PATH is where its starter's Python looks for modules, as JSON: paramiko may be found by a launcher only.
"""

from __future__ import annotations

import json
import os
import sys


def main() -> None:
    """Serves until it is idle or told to stop."""
    directory, name, path = sys.argv[1:]
    here = os.path.dirname(os.path.abspath(__file__))
    # Python has put this folder first, whose modules are no top-level ones; the collection's root is six above.
    sys.path[0] = os.path.normpath(os.path.join(here, *[os.pardir] * 6))
    sys.path += [entry for entry in json.loads(path) if os.path.isabs(entry) and entry not in sys.path]
    from ansible_collections.bastion.ssh.plugins.plugin_utils.broker.server import serve

    serve(directory, name)


if __name__ == "__main__":
    main()
