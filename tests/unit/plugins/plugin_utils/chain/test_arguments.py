# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Arguments for the ssh program."""

from __future__ import annotations

import pytest

from ansible_collections.bastion.ssh.plugins.plugin_utils.chain.arguments import Arguments, read_arguments
from ansible_collections.bastion.ssh.plugins.plugin_utils.errors import SettingsError

COMMON = "ansible_ssh_common_args"


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ("", ()),
        ("-J a,u@b:2222", ("-J", "a,u@b:2222")),
        ("-Ja", ("-J", "a")),
        ("-i '~/my key' -l ops -p 2222", ("-i", "~/my key", "-l", "ops", "-p", "2222")),
        ("-C -4A", ("-C", "-4", "-A")),
        ("-CJ a", ("-C", "-J", "a")),
        ("-o Port=22 -oUser=x", ("-o", "Port=22", "-o", "User=x")),
        ("-o 'ProxyCommand=ssh -W %h:%p -q a'", ("-o", "ProxyCommand=ssh -W %h:%p -q a")),
        ('-o ProxyCommand="ssh -W %h:%p -q a"', ("-o", "ProxyCommand=ssh -W %h:%p -q a")),
        ("-o ControlMaster=auto -o ControlPersist=60s", ("-o", "ControlMaster=auto", "-o", "ControlPersist=60s")),
        ("-S /tmp/mux -q -vvv -tt -x -T", ()),  # the broker's matter, or nobody's
    ],
)
def test_openssh_is_asked_about_all_that_has_a_meaning(text: str, asked: tuple[str, ...]) -> None:
    assert read_arguments([(COMMON, text)]).asked == asked


def test_arguments_are_asked_about_in_their_order() -> None:
    given = [("ansible_ssh_args", "-C -F /a"), (COMMON, "-J a"), ("ansible_ssh_extra_args", "-J b -F /b")]
    jump = ("-J of ansible_ssh_common_args", "-J of ansible_ssh_extra_args")
    assert read_arguments(given) == Arguments(("-C", "-J", "a", "-J", "b"), "/b", jump=jump)


@pytest.mark.parametrize(
    ("text", "jump"),
    [
        ("-J a", "-J"),
        ("-o ProxyJump=a -C", "-o"),
        ("-o 'proxyjump a'", "-o"),
        ("-J none", None),
        ("-o 'ProxyJump  None'", None),
        ("-o ProxyCommand='ssh -J a -W %h:%p b' -l a", None),
    ],
)
def test_arguments_with_jump_hosts_are_known(text: str, jump: str | None) -> None:
    assert read_arguments([(COMMON, text)]).jump == (() if jump is None else (f"{jump} of {COMMON}",))


def test_what_has_no_effect_is_told() -> None:
    unused = ("-X of ansible_ssh_common_args", "-L of ansible_ssh_common_args", "-N of ansible_ssh_common_args")
    assert read_arguments([(COMMON, "-X -L 80:h:80 -N -C")]) == Arguments(("-C",), None, unused)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("-W h:22", "its -W would make it carry something else"),
        ("-J", "-J lacks its value"),
        ("-o", "-o lacks its value"),
        ("-z", "-z is no option of ssh"),
        ("-é", "-é is no option of ssh"),
        ("host", "'host' is no option of ssh"),
        ("-C -- x", "'--' is no option of ssh"),
        ("-", "'-' is no option of ssh"),
        ("-o 'Port=22", "it cannot be split into arguments: No closing quotation"),
    ],
)
def test_what_ssh_would_not_take_is_an_error(text: str, message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        read_arguments([(COMMON, text)])
    assert str(caught.value).startswith(f"{COMMON}: {message}")
