# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is pointed out in an inventory: names that are almost those of variables, and hosts that are written as bare names."""

from __future__ import annotations

import pytest

from ansible_collections.bastion.ssh.plugins.plugin_utils.errors import HopError, HopUnreachable
from ansible_collections.bastion.ssh.plugins.plugin_utils.hints import misspelt_variables, with_hint


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("ansible_ssh_jumps", "ansible_ssh_jump"),
        ("ansible_ssh_jump_hosts", "ansible_ssh_jump"),
        ("ansible_ssh_jumphost", "ansible_ssh_jump"),
        ("ansible_ssh_jmup", "ansible_ssh_jump"),
        ("ansible_ssh_proxyjump", "ansible_ssh_jump"),
        ("ansible_jump", "ansible_ssh_jump"),
        ("ansible_ssh_jump_users", "ansible_ssh_jump_user"),
        ("ansible_ssh_jump_pasword", "ansible_ssh_jump_password"),
        ("ansible_proxy_commands", "ansible_proxy_command"),
        ("ansible_ssh_proxy_command", "ansible_proxy_command"),
        ("ansible_ssh_knownhosts", "ansible_ssh_known_hosts"),
        ("ansible_pasword", "ansible_password"),
    ],
)
def test_a_name_that_is_almost_a_variable_is_named_with_it(name: str, meant: str) -> None:
    line = f"{name} is not a variable of bastion.ssh.jump. Is {meant} meant?"
    assert misspelt_variables({name: "x", "inventory_hostname": "web"}) == [line]


# Variables of ansible-core, of its plugins and of others, and people's own.
REAL = """
    ansible_ssh_jump ansible_ssh_jump_user ansible_proxy_command ansible_paramiko_proxy_command ansible_paramiko_host_key_auto_add
    ansible_host ansible_port ansible_user ansible_password ansible_ssh_pass ansible_ssh_user ansible_ssh_host ansible_ssh_port
    ansible_ssh_executable ansible_ssh_pipelining ansible_ssh_control_path ansible_control_path ansible_scp_if_ssh ansible_ssh_args
    ansible_sftp_extra_args ansible_scp_extra_args ansible_ssh_password_mechanism ansible_ssh_verbosity ansible_sftp_batch_mode
    ansible_become ansible_become_user ansible_become_password ansible_become_pass ansible_become_exe ansible_become_flags
    ansible_connection ansible_python_interpreter ansible_shell_type ansible_shell_executable ansible_remote_tmp ansible_network_os
    ansible_winrm_transport ansible_winrm_server_cert_validation ansible_psrp_protocol ansible_httpapi_use_proxy ansible_docker_host
    ansible_connect_timeout ansible_command_timeout ansible_config_file ansible_play_hosts ansible_playbook_python ansible_verbosity
    ansible_check_mode ansible_diff_mode ansible_run_tags ansible_loop_var ansible_host_ip ansible_user_shell jump ssh_jump
"""


def test_other_variables_are_not_named() -> None:
    assert misspelt_variables(dict.fromkeys(REAL.split(), "x")) == []


# trust: T52
def test_facts_are_not_named() -> None:
    facts = {"ssh_jumps": "x", "ssh_host_key_rsa_public": "x", "user_id": "x"}
    variables = {"ansible_facts": facts, **{f"ansible_{name}": value for name, value in facts.items()}}
    assert misspelt_variables(variables) == []


HERE = "the name cannot be resolved: Name or service not known"
THERE = "the hop before it cannot connect to core:22: Name or service not known"


@pytest.mark.parametrize(
    ("place", "problem", "host"),
    [
        ("jump host 1 of 2 guest@edge:22", HERE, "edge"),
        ("jump host 1 of 2 guest@edge:22", f"not tried again: the same task failed to connect 1 s ago: {HERE}", "edge"),
        ("jump host 2 of 2 op@realm@core:22 (via guest@edge:22)", THERE, "core"),
        ("jump host 2 of 2 op@core:22 (via guest@edge:22)", "the hop before it cannot connect to core:22: Name does not resolve", "core"),
        ("jump host 2 of 2 op@core:22 (via guest@edge:22)", "the hop before it cannot connect to core:22: Connection refused", None),
        ("jump host 1 of 2 guest@other:22", HERE, None),
        ("target me@edge:22", HERE, None),  # the target
        ("on the controller", HERE, None),
    ],
)  # fmt: skip
def test_a_jump_host_of_the_inventory_whose_name_is_not_resolved_has_a_next_step(
    place: str, problem: str, host: str | None
) -> None:
    error = with_hint(HopUnreachable(place, problem, "Check the name."), ["web", "edge", "core"])
    assert isinstance(error, HopUnreachable)
    assert (f"lookup('bastion.ssh.hops', '{host}')" in error.advice) is (host is not None)
    assert str(error).startswith(f"{place}: {problem}. Check the name.")


def test_an_error_of_another_kind_stays_as_it_is() -> None:
    error = HopError("jump host 1 of 1 guest@edge:22", "login refused", "Check it.")
    assert with_hint(error, ["edge"]) is error
