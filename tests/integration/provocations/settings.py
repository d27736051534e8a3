# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Variables that cannot be used. Nothing is connected, so no server is needed."""

from __future__ import annotations

from dataclasses import replace

from lab import TRUE

from .provocation import Provocation, setting

JUMP = "ansible_ssh_jump"
COMMAND = "ansible_proxy_command"
COMMON = "ansible_ssh_common_args"


def _jump(message: str, jump: object, place: str = "") -> Provocation:
    """A way that cannot be read; place: in the variable."""
    return setting(message, f"{JUMP}{place}", **{JUMP: jump})


_WAYS = [
    setting(
        "ansible_ssh_jump and ansible_proxy_command are both set for this host, and a host has only one route; …",
        COMMAND,
        **{JUMP: "edge", COMMAND: "nc %h %p"},
    ),
    setting(
        "… has a ProxyCommand for … as well, and a host has only one route; …", JUMP,
        **{JUMP: "edge", COMMON: "-o 'ProxyCommand nc %h %p'"},
    ),
    setting(
        "… has a ProxyJump for … as well, and a host has only one route; …", COMMAND,
        **{COMMAND: "nc %h %p", COMMON: "-J edge"},
    ),
    _jump("the route has more than … hops", ",".join(f"hop{number}" for number in range(16)), "[0]"),
    _jump("expected a string or a list of hops; put the dictionary into a list", {"host": "edge"}),
    _jump("expected a string or a list of hops, not …", 5),
    _jump("a hop is a string or a dictionary, not …", ["edge", 5], "[1]"),
    _jump("the hop is empty; look for a doubled, leading or trailing comma", "edge,,core", "[1]"),
    _jump("… has blanks; hops are separated by commas", "me@edge me@core"),
    _jump("this is text that looks like JSON; with -e, …", '["edge", "core"]', "[0]"),
    _jump("'none' stands alone; it cannot be one of several hops", "edge,none", "[1]"),
    _jump("no such key of a hop; the keys are …", [{"hots": "edge"}], "[0].hots"),
    _jump("a hop needs a host", [{"user": "me"}], "[0].host"),
    _jump(
        "only the first hop can have one; this hop is reached through the hop before it",
        ["edge", {"host": "core", "proxy_command": "nc %h %p"}], "[1].proxy_command",
    ),
    _jump(
        "give either private_key or private_key_file of one hop",
        [{"host": "edge", "private_key": "text", "private_key_file": "/file"}], "[0].private_key",
    ),
    _jump(
        "give either certificate or certificate_file of one hop",
        [{"host": "edge", "certificate": "text", "certificate_file": "/file"}], "[0].certificate",
    ),
    _jump("… has a path; an ssh:// hop is a host and a port only", "ssh://edge/path"),
    _jump("the host in … is not letters, digits, dots and dashes", "ssh://ed..ge"),
    _jump("… has a broken %-escape", "ssh://m%e@edge"),
    _jump("… is not UTF-8 when decoded", "ssh://m%ff@edge"),
    _jump("… is not [address] or [address]:port", "[::1"),
    _jump("… has several colons; write an IPv6 address as [address]:port", "::1"),
    _jump("… is not a port (1 to …)", "edge:65536"),
]  # fmt: skip

_NAMES = [
    _jump("a host name is text, not …", [{"host": 5}], "[0].host"),
    _jump("the host name is empty", "me@"),
    _jump("the host name … starts with '-'", "-oProxyCommand=x"),
    _jump("the host name … has a character that is not allowed in one", "edge;id"),
    setting(
        "the host name … has more in it than a name; user and port are settings of their own", "ansible_host",
        ansible_host="ssh://user@edge:22",
    ),
    _jump("the host name … has a port in it, which is a setting of its own", [{"host": "edge:22"}], "[0].host"),
    _jump("a user name is text, not …", [{"host": "edge", "user": 5}], "[0].user"),
    _jump("the user name is empty", "@edge"),
    setting("the user name … is not allowed", "ansible_user", ansible_user="-l"),
    setting("the user name … has a character that is not allowed in one", "ansible_ssh_jump_user",
            **{JUMP: "edge", "ansible_ssh_jump_user": "me;id"}),
]  # fmt: skip

_COMMANDS = [
    setting("unknown token …; known are … and %%", COMMAND, **{COMMAND: "nc %z"}),
    setting(
        "%r would put … into a shell command; write the user out, quoted", COMMAND,
        **{COMMAND: "nc %r", "ansible_user": "DOMAIN\\me"},
    ),
    setting("… is no option of ssh", COMMON, **{COMMON: "-Z"}),
    setting("-… lacks its value", "ansible_ssh_args", ansible_ssh_args="-C -J"),
    setting("it cannot be split into arguments: …", "ansible_ssh_extra_args", ansible_ssh_extra_args="-o 'ProxyJump"),
    setting("its -W would make it carry something else than the session", COMMON, **{COMMON: "-W web:22"}),
]  # fmt: skip

_VALUES = [
    setting("set either it or ansible_ssh_private_key_file", "ansible_ssh_private_key",
            ansible_private_key="text", ansible_private_key_file="/file"),
    setting("set either it or ansible_ssh_certificate_file", "ansible_ssh_certificate",
            ansible_ssh_certificate="text", ansible_ssh_certificate_file="/file"),
    setting("… is none of true, false, accept-new", "ansible_ssh_host_key_checking",
            ansible_ssh_host_key_checking="sometimes"),
    setting("… is none of auto, true, false", "ansible_ssh_use_tty", ansible_ssh_use_tty="sometimes"),
    setting("… is none of smart, sftp, piped", "ansible_ssh_transfer_method", ansible_ssh_transfer_method="scp"),
    setting("… is not a number of seconds above 0", "ansible_ssh_jump_timeout", ansible_ssh_jump_timeout=0),
    setting("… is not a number from 0 up", "ansible_ssh_retries", ansible_ssh_retries=-1),
    _jump("expected a path or lines of known_hosts, or a list of them", [{"host": "edge", "known_hosts": 5}],
          "[0].known_hosts"),
    setting("expected a dictionary of regular expressions and answers", "ansible_ssh_prompts", ansible_ssh_prompts=["x"]),
    _jump("… is no regular expression: …", [{"host": "edge", "prompts": {"(": "x"}}], "[0].prompts"),
    _jump("expected text without NUL, not …", [{"host": "edge", "password": ["x"]}], "[0].password"),
]  # fmt: skip


def _of_facts(message: str, fact: str, command: str) -> Provocation:
    """A fact that would decide how a host is reached; what set_fact puts into the cache is one, here of words of a program."""
    words = "{{ lookup('ansible.builtin.pipe', 'echo nc') }}"
    tasks = ({"name": "Fact", "ansible.builtin.set_fact": {fact: words, "cacheable": True}}, TRUE)
    made = setting(message, COMMAND, **{COMMAND: command, "command": "nc %h"})
    return replace(made, tasks=tasks)


_FACTS = [
    _of_facts(
        "host … has a fact of this name…, and facts must not decide how a host is reached. Nothing was connected or started. "
        "The host may be compromised: find out what sent the fact, and remove it with 'meta: clear_facts'. "
        "set_fact may set the variable, but not with cacheable",
        COMMAND, "nc %h",
    ),
    _of_facts(
        "it is made of …, of which name host … has a fact…, and facts must not decide how a host is reached…",
        "command", "{{ command }}",
    ),
]  # fmt: skip

PROVOCATIONS = [*_WAYS, *_NAMES, *_COMMANDS, *_VALUES, *_FACTS]
