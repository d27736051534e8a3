# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The way to a target: controller -> a -> b -> target, each server forwarding to its next hop only."""

from __future__ import annotations

from lab import Chain3, play, playbook

PING = {"name": "Ping", "ansible.builtin.ping": {}}


def test_a_string_of_hops_reaches_the_target(chain3_same_key: Chain3, lab) -> None:
    run = playbook(lab, chain3_same_key.inventory(), play(PING), args=["-vvv"]).check()
    print(run)
    assert run.statuses() == {"target": ["ok"]}


def test_a_list_of_hops_with_their_own_credentials_reaches_the_target(chain3: Chain3, lab) -> None:
    run = playbook(lab, chain3.inventory(), play(PING), args=["-vvv"]).check()
    print(run)
    assert run.statuses() == {"target": ["ok"]}
