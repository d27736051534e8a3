# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A process whose memory is its own business, of a user who is not root."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable

import pytest

NOBODY = 65534

SCRIPT = """
import ctypes, os, resource, socket, subprocess
from ansible_collections.bastion.ssh.plugins.plugin_utils.broker import admission
from ansible_collections.bastion.ssh.plugins.plugin_utils.client import address, confinement, spawn
from ansible_collections.bastion.ssh.plugins.plugin_utils.pool.transports import TransportPool
from ansible_collections.bastion.ssh.plugins.plugin_utils.ssh import core_dumps
from ansible_collections.bastion.ssh.plugins.plugin_utils.ssh.core_dumps import allow_core_dumps, forbid_core_dumps

place, nobody = sys.argv[1], int(sys.argv[2])
os.chown(place, nobody, nobody)
resource.setrlimit(resource.RLIMIT_CORE, (1000, 2000))
os.setgroups([])
os.setresgid(nobody, nobody, nobody)
os.setresuid(nobody, nobody, nobody)
prctl = ctypes.CDLL(None).prctl
prctl(4, 1, 0, 0, 0)  # as a program that this user has started

def look(name):
    owner = os.stat("/proc/self/environ").st_uid
    seen = subprocess.run(["cat", f"/proc/{os.getpid()}/environ"], capture_output=True).returncode == 0
    print(name, "dumpable", prctl(3, 0, 0, 0, 0), "owner", owner, "seen", seen, resource.getrlimit(resource.RLIMIT_CORE))

go()
look("before:")
core_dumps._OWN_FILE, own_file = "/proc/self/nothing", core_dumps._OWN_FILE  # as with a kernel that is too old
forbid_core_dumps()
look("too old:")
core_dumps._OWN_FILE = own_file
forbid_core_dumps()
look("after:")

# What is ours in /proc/self works as before: a socket's short path, what a process may do, the list of descriptors.
with address.Directory(place) as directory:
    with spawn._bound(directory, "x.sock"):
        directory.connect("x.sock").close()
    assert directory.address("x.sock").startswith("/proc/self/fd/")
assert address.broker_name() == address.broker_name()
one, other = socket.socketpair()
with one, other:
    assert not confinement.differing(confinement.rights(confinement.SELF), confinement.rights_of_peer(one, os.getpid()))
assert not admission.Admission(TransportPool(), 1)._has_room(0)
# And so are the commands that it runs.
command = subprocess.Popen(["sleep", "60"])
while os.stat(f"/proc/{command.pid}/environ").st_uid != nobody:  # it is not executed yet
    pass
print("command:", resource.prlimit(command.pid, resource.RLIMIT_CORE))
allow_core_dumps(command.pid)
print("allowed:", resource.prlimit(command.pid, resource.RLIMIT_CORE))
command.kill()
command.wait()
allow_core_dumps(command.pid)
print("done")
"""


# trust: T57
@pytest.mark.skipif(os.geteuid() != 0 or sys.platform != "linux", reason="becomes another user, and looks at /proc")
def test_no_other_process_of_the_user_reads_it_and_all_of_ours_works(outputs: Callable[..., list[str]]) -> None:
    with tempfile.TemporaryDirectory() as place:  # not below a directory of ours, where the user may not go
        (said,) = outputs(SCRIPT, [place, str(NOBODY)])
    assert said.splitlines() == [
        f"before: dumpable 1 owner {NOBODY} seen True (1000, 2000)",
        f"too old: dumpable 1 owner {NOBODY} seen True (0, 2000)",
        "after: dumpable 0 owner 0 seen False (0, 2000)",
        "command: (0, 2000)",
        "allowed: (1000, 2000)",
        "done",
    ]
