# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes every task result of a run as one line of JSON."""

from __future__ import annotations

import json
import os
import typing as t

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: lab_results
type: notification
short_description: task results as lines of JSON
description:
  - Writes one line for each result to the file that the environment variable E(LAB_RESULTS) names.
"""


class CallbackModule(CallbackBase):
    """One line for each result, and a last one with the recap."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "lab_results"
    CALLBACK_NEEDS_ENABLED = True

    def _write(self, event: dict[str, t.Any]) -> None:
        with open(os.environ["LAB_RESULTS"], "a", encoding="utf-8") as file:
            file.write(json.dumps(event, default=str) + "\n")

    def _result(self, status: str, result: t.Any) -> None:
        public = hasattr(result, "result")
        host = result.host if public else result._host
        task = result.task if public else result._task
        data = dict(result.result if public else result._result)
        self._write({"host": host.get_name(), "task": task.get_name(), "status": status, "result": data})

    def v2_runner_on_ok(self, result: t.Any) -> None:
        """A task went well."""
        self._result("ok", result)

    def v2_runner_on_failed(self, result: t.Any, ignore_errors: bool = False) -> None:
        """A task failed, ignored or not."""
        self._result("failed", result)

    def v2_runner_on_unreachable(self, result: t.Any) -> None:
        """A host could not be reached."""
        self._result("unreachable", result)

    def v2_runner_on_skipped(self, result: t.Any) -> None:
        """A task had nothing to do on a host."""
        self._result("skipped", result)

    def v2_playbook_on_stats(self, stats: t.Any) -> None:
        """The run is over."""
        self._write({"recap": {host: stats.summarize(host) for host in stats.processed}})
