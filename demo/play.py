# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Starts the lab, runs the demo's playbooks through it, and says who served them."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import locale
import os
import signal
import sys
from pathlib import Path

from .become import find
from .servers import LOOPBACK, Lab

DEMO = Path(__file__).parent
PLAYBOOKS = ("chain.yml", "proxy_command.yml")
SESSIONS = "bastion.ssh.sessions -e bastion_ssh_stop=true"


def environment(made: Path) -> dict[str, str]:
    """Nothing of the user's own: no settings, keys, agent or known hosts."""
    kept = {name: os.environ[name] for name in ("PATH", "TERM", "COLUMNS", "TZ") if name in os.environ}
    kept.setdefault("PATH", os.defpath)
    return kept | {
        "HOME": str(made / "home"),
        "TMPDIR": str(made / "tmp"),
        "SHELL": "/bin/sh",
        "LC_ALL": utf8_locale(),
        "ANSIBLE_CONFIG": str(DEMO / "ansible.cfg"),
        "ANSIBLE_COLLECTIONS_PATH": str(made / "collections"),
        "ANSIBLE_NOCOLOR": "1",
        "PYTHONUNBUFFERED": "1",
    }


def utf8_locale() -> str:
    """Ansible runs in no other."""
    for name in ("C.UTF-8", "en_US.UTF-8"):
        with contextlib.suppress(locale.Error):
            return locale.setlocale(locale.LC_ALL, name)
    return "C.UTF-8"


async def run_playbook(made: Path, playbook: str, variables: Path) -> tuple[int, list[str]]:
    """Status and recap."""
    command = [str(made / "venv/bin/ansible-playbook"), "--extra-vars", f"@{variables}", *playbook.split()]
    child = await asyncio.create_subprocess_exec(
        *command, cwd=DEMO, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip
    assert child.stdout is not None
    recap: list[str] = []
    try:
        async for raw in child.stdout:
            line = raw.decode(errors="replace").rstrip()
            print(line, flush=True)
            if recap or line.startswith("PLAY RECAP"):
                recap.append(line)
        return await child.wait(), [line for line in recap[1:] if line]
    finally:
        if child.returncode is None:
            await end(child)


async def end(child: asyncio.subprocess.Process) -> None:
    """As Ctrl-C would; at once if that is not enough."""
    for number in (signal.SIGINT, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, number)
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(child.wait(), 5)
            return


def table(rows: list[tuple[str, str, str]]) -> str:
    """Columns as wide as they have to be."""
    widths = [max(len(row[column]) for row in rows) for column in range(2)]
    return "\n".join(f"  {row[0]:{widths[0]}}   {row[1]:{widths[1]}}   {row[2]}".rstrip() for row in rows)


async def play(made: Path) -> int:
    """Both playbooks; the status is that of the first that failed."""
    summary: list[str] = []
    statuses: list[int] = []
    become = find()
    async with Lab(made / "lab") as lab:
        variables = lab.write_variables(lab_become=become)
        ports = ", ".join(f"{hop.name} {hop.port}" for hop in lab.hops)
        print(f"The lab listens on {LOOPBACK}: {ports}", flush=True)
        for playbook in PLAYBOOKS:
            print(f"\n$ ansible-playbook {playbook}", flush=True)
            status, recap = await run_playbook(made, playbook, variables)
            statuses.append(status)
            rows = [("HOP", "WHO LOGGED IN", "WHAT IT DID"), *lab.report()]
            summary += [f"\n== {playbook}", "", *recap, "", table(rows)]
        print(f"\n$ ansible-playbook {SESSIONS}  # which connections were kept; it ends them", flush=True)
        statuses.append((await run_playbook(made, SESSIONS, variables))[0])
    print("\n".join(summary))
    print(f"\nPrivilege escalation: {become['says']}. The lab has stopped; its files are in {lab.directory}")
    return next((status for status in statuses if status), 0)


async def until_signal(made: Path) -> int:
    """Lets a signal end the demo the way an error does, so that the lab is stopped."""
    task = asyncio.current_task()
    assert task is not None
    caught: list[int] = []

    def stop(number: int) -> None:
        caught.append(number)
        task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, stop, number)
    try:
        return await play(made)
    except asyncio.CancelledError:
        print("\nThe demo was interrupted; the lab has stopped.", file=sys.stderr)
        return 128 + caught[0] if caught else 1


def main() -> int:
    """The demo's exit status."""
    made = Path(sys.argv[1])
    fresh = environment(made)
    os.environ.clear()
    os.environ.update(fresh)
    with (made / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("The demo is running already, in this folder.", file=sys.stderr)
            return 1
        return asyncio.run(until_signal(made))


if __name__ == "__main__":
    sys.exit(main())
