# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The log that several brokers write to."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from ansible_collections.bastion.ssh.plugins.plugin_utils.broker.server import _Log

LIMIT = 2000


def test_it_is_bounded_and_what_two_write_is_not_lost(tmp_path: Path) -> None:
    path = tmp_path / "broker.log"
    logs = [_Log(str(path), maxBytes=LIMIT, backupCount=1) for _broker in range(2)]
    for number in range(60):
        for log in logs:
            log.handle(logging.makeLogRecord({"msg": f"line {number:04}"}))
        lines = "".join((tmp_path / name).read_text() for name in sorted(os.listdir(tmp_path), reverse=True)).split(
            "\n"
        )
        written = [f"line {before:04}" for before in range(number + 1) for _log in logs]
        assert lines[:-1] == written[1 - len(lines) :]
    for number in range(1000):
        logs[number % 2].handle(logging.makeLogRecord({"msg": f"line {number:04}"}))
        assert sum(file.stat().st_size for file in tmp_path.iterdir()) <= 2 * LIMIT
    assert len(list(tmp_path.iterdir())) == 2
    for log in logs:
        log.close()
