# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test that the facts of a managed host cannot decide how it or another host is reached."""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from lab import TRUE, Lab, Sink, Sshd, play, playbook, raw, saying
from lab.playbook import Run, own_playbook

from ansible_collections.bastion.ssh.plugins import plugin_utils
from ansible_collections.bastion.ssh.plugins.plugin_utils.facts import PLAYBOOK_VARIABLES

PLUGINS = Path(plugin_utils.__path__[0]).parent
ASK: dict[str, Any] = {"name": "Ask", "ansible.builtin.setup": {}}
PROXY = "ansible_proxy_command"


def variables_of_all_plugins() -> list[str]:
    """Return every variable that sets an option of a plugin."""
    found = set(PLAYBOOK_VARIABLES)
    for path in PLUGINS.glob("*/*.py"):
        module = importlib.import_module(f"ansible_collections.bastion.ssh.plugins.{path.parent.name}.{path.stem}")
        options = (yaml.safe_load(getattr(module, "DOCUMENTATION", "")) or {}).get("options") or {}
        found |= {variable["name"] for option in options.values() for variable in option.get("vars", ())}
    return sorted(found)


VARIABLES = variables_of_all_plugins()


@dataclass
class Site:
    """Hold a server whose hosts answer every module with chosen facts, and the effects that these try to cause."""

    lab: Lab
    server: Sshd
    elsewhere: Sink
    canary: Path

    def host(self, facts: Mapping[str, Any] | None = None, place: int = 0, **variables: Any) -> dict[str, Any]:
        """Return the variables of a host at one of the addresses; with facts, its Python is a program that only prints them."""
        made = {
            "ansible_connection": "bastion.ssh.jump",
            "ansible_host": self.server.addresses[place],
            "ansible_port": self.server.port,
            "ansible_user": self.lab.user("target").name,
            "ansible_ssh_private_key_file": str(self.lab.path / "keys/key"),
            "ansible_pipelining": True,
        }
        return made | ({} if facts is None else {"ansible_python_interpreter": self.says(facts)}) | variables

    def says(self, facts: Mapping[str, Any]) -> str:
        """Return the path of a program to replace a host's Python, which prints these facts."""
        path = self.lab.path / "remote" / f"says-{len(list(self.lab.path.glob('remote/says-*')))}"
        path.parent.mkdir(exist_ok=True)
        path.parent.chmod(0o1777)
        answer = json.dumps({"changed": False, "ansible_facts": facts})
        path.write_text(f"#!/bin/sh\ncat >/dev/null\ncat <<'END'\n{answer}\nEND\n")
        path.chmod(0o755)
        return str(path)

    def wanted(self, name: str) -> Any:
        """Return the value to which a hostile host would set a variable."""
        if "proxy_command" in name:
            return f"sh -c 'touch {self.canary}; exec nc {self.elsewhere.address} {self.elsewhere.port}'"
        if name.endswith("jump"):
            return f"{self.elsewhere.address}:{self.elsewhere.port}"
        if name.endswith(("_args", "executable")):
            return f"-o ProxyCommand='touch {self.canary}'"
        if name.endswith(("host", "hostname", "alias")):
            return self.elsewhere.address
        return self.elsewhere.port if name.endswith("port") else "false"

    def assert_nothing_happened(self) -> None:
        """Assert that no command was started, and that no other address was connected to."""
        assert not self.canary.exists()
        assert self.elsewhere.connections == 0


@pytest.fixture
def site(lab: Lab) -> Site:
    server = lab.sshd("target", users=[lab.user("target")], keys=[lab.key("key")], count=3)
    lab.trust(server)
    return Site(lab, server, lab.sink(saying(b"no SSH")), lab.path / "canary")


def refused(run: Run, host: str, variable: str, owner: str = "") -> None:
    """Assert that the task after the facts failed, and that its error names the fact and its host."""
    last = run.results[host][-1]
    assert last.status == "failed", run
    assert f"{variable}: host {owner or host} has a fact of this name" in last.result["msg"]
    assert "Nothing was connected or started" in last.result["msg"]


# trust: T29, T52
@pytest.mark.parametrize("inject", [True, False], ids=["facts are variables", "facts are not variables"])
def test_no_variable_of_any_plugin_is_taken_from_a_fact(inject: bool, lab: Lab, site: Site) -> None:
    assert len(VARIABLES) > 50
    hosts = {name.replace("_", "-"): site.host({name: site.wanted(name)}) for name in VARIABLES}
    env = {"ANSIBLE_INJECT_FACT_VARS": str(inject), "ANSIBLE_FORKS": "4"}
    run = playbook(lab, hosts, play(ASK, raw("echo $SSH_CONNECTION")), env=env, timeout=120)
    site.assert_nothing_happened()
    own = f"{site.server.address} {site.server.port}"
    for name in VARIABLES:
        last = run.results[name.replace("_", "-")][-1]
        # ansible-core itself drops these, and where facts are no variables, their names may be everyday words.
        harmless = name in PLAYBOOK_VARIABLES or (not inject and name in _core_drops())
        if last.status == "ok":
            assert harmless, name
            assert last.result["stdout"].strip().endswith(own)
        else:
            refused(run, name.replace("_", "-"), name)


def _core_drops() -> frozenset[str]:
    from ansible import constants

    return frozenset(constants.COMMON_CONNECTION_VARS)


# trust: T52
def test_the_error_says_what_the_fact_tried_and_no_secret(lab: Lab, site: Site) -> None:
    hosts = {"bad": site.host({PROXY: "nc {{ 7 * 7 }}\x1b[31m"}), "key": site.host({"ansible_private_key": "SECRET"})}
    run = playbook(lab, hosts, play(ASK, TRUE))
    message = run.results["bad"][-1].result["msg"]
    assert "nc { { 7 * 7 } }" in message
    assert "\x1b" not in message
    refused(run, "key", "ansible_private_key")
    assert "SECRET" not in run.results["key"][-1].result["msg"]


# trust: T52
def test_a_fact_of_a_cache_is_refused_and_can_be_cleared(lab: Lab, site: Site) -> None:
    env = {"ANSIBLE_CACHE_PLUGIN": "jsonfile", "ANSIBLE_CACHE_PLUGIN_CONNECTION": str(lab.path / "facts")}
    hosts = {"bad": site.host({PROXY: site.wanted(PROXY)})}
    playbook(lab, hosts, play(ASK), env=env).check()
    refused(playbook(lab, hosts, play(TRUE), env=env), "bad", PROXY)
    clear = {"name": "Clear", "ansible.builtin.meta": "clear_facts"}
    playbook(lab, hosts, play(clear, TRUE), env=env).check()
    site.assert_nothing_happened()


# trust: T52
def test_a_fact_between_the_items_of_a_loop_is_refused(lab: Lab, site: Site) -> None:
    hosts = {"bad": site.host({PROXY: site.wanted(PROXY)})}
    run = playbook(lab, hosts, play(ASK | {"loop": [1, 2]}))
    assert run.result("bad").status == "failed"
    assert f"{PROXY}: host bad has a fact" in str(run.result("bad").result)  # the second item's, or the whole task's
    site.assert_nothing_happened()


# trust: T52
def test_a_delegate_is_not_steered_by_its_facts_nor_by_those_of_the_task(lab: Lab, site: Site) -> None:
    hosts = {
        "here": {"ansible_connection": "local"},
        "bad": site.host({PROXY: site.wanted(PROXY)}),
        "good.example": site.host({"ansible_kernel": "Linux"}),
    }
    plays = [
        play(ASK, hosts="bad:good.example"),
        play(raw("true", "To bad", delegate_to="bad", ignore_errors=True), hosts="here"),
        play(raw("true", "From bad", delegate_to="good.example"), hosts="bad"),
    ]
    run = playbook(lab, hosts, plays)
    refused(run, "here", PROXY, "bad")
    assert run.result("bad", "From bad").status == "ok"
    site.assert_nothing_happened()


# trust: T52
@pytest.mark.parametrize("chain", [{"inner": "edge"}, {"inner": "core", "core": "edge"}])
def test_the_facts_of_a_bastion_do_not_steer_the_hosts_behind_it(chain: dict[str, str], lab: Lab, site: Site) -> None:
    hosts = {name: site.host(place=place, ansible_ssh_jump="none") for place, name in enumerate(("inner", "core"))}
    for name, behind in chain.items():
        hosts[name]["ansible_ssh_jump"] = f"{{{{ lookup('bastion.ssh.hops', '{behind}') }}}}"
    hosts["edge"] = site.host({PROXY: site.wanted(PROXY)}, place=2)
    run = playbook(lab, hosts, [play(ASK, hosts="edge"), play(TRUE, hosts="inner")])
    assert run.result("inner").status == "failed"
    assert f"{PROXY}: host edge has a fact of this name" in run.result("inner").result["msg"]
    site.assert_nothing_happened()


# trust: T52
def test_a_fact_called_hostvars_is_not_taken_for_the_inventory(lab: Lab, site: Site) -> None:
    """The variables of another host lack ansible-core's hostvars."""
    other = {"edge": {"ansible_host": site.elsewhere.address, "ansible_port": site.elsewhere.port}}
    hosts = {
        "inner": site.host(ansible_ssh_jump="{{ lookup('bastion.ssh.hops', 'core') }}"),
        "core": site.host({"hostvars": other}, place=1, ansible_ssh_jump="{{ lookup('bastion.ssh.hops', 'edge') }}"),
        "edge": site.host(place=2, ansible_ssh_jump="none"),
    }
    run = playbook(lab, hosts, [play(ASK, hosts="core"), play(TRUE, hosts="inner")])
    run.check()
    site.assert_nothing_happened()


# trust: T52
@pytest.mark.parametrize("behind", [False, True], ids=["of the host itself", "of a bastion"])
def test_a_fact_in_the_place_of_a_variable_that_others_are_made_of_is_refused(
    behind: bool, lab: Lab, site: Site
) -> None:
    """However the host returns it: once, twice with and without the prefix, or with a part that ansible-core drops."""
    evil = site.wanted(PROXY)
    programs = {"edge": evil, "twice": evil, "nested": {"paris": evil, "_ansible_x": 1}}
    hosts: dict[str, Any] = {}
    for name, program in programs.items():
        made_of = {PROXY: "{{ command }}", "command": "{{ program.paris | default(program) }}"}
        facts = {"program": program} | ({"ansible_program": "x"} if name == "twice" else {})
        hosts[name] = site.host(facts, place=2, **made_of, program=f"nc {site.server.addresses[2]} %p")
        hosts[f"behind-{name}"] = site.host(ansible_ssh_jump=f"{{{{ lookup('bastion.ssh.hops', '{name}') }}}}")
    last = "behind-*" if behind else ":".join(programs)
    run = playbook(lab, hosts, [play(ASK, hosts=":".join(programs)), play(TRUE, hosts=last)])
    for name in programs:
        result = run.results[f"behind-{name}" if behind else name][-1]
        assert result.status == "failed", run
        assert f"{PROXY}: it is made of program, of which name host {name} has a fact" in result.result["msg"]
    site.assert_nothing_happened()


# trust: T52
def test_a_variable_may_have_the_name_of_a_fact_without_its_prefix(lab: Lab, site: Site) -> None:
    """Such as hostname and domain, from which many inventories build addresses."""
    hosts = {"web": site.host({"ansible_hostname": "elsewhere", "ansible_domain": "elsewhere"})}
    hosts["web"] |= {"hostname": site.server.addresses[0], "ansible_host": "{{ hostname }}"}
    playbook(lab, hosts, play(ASK, TRUE)).check()


# trust: T52
@pytest.mark.parametrize(
    ("name", "option", "value"),
    [("trust", "accept", True), ("chain", "picture", "{lab}/ways.mmd"), ("sessions", "stop", True)],
)
def test_a_fact_answers_for_no_one_who_runs_a_playbook(
    name: str, option: str, value: Any, lab: Lab, site: Site
) -> None:
    """Whatever the connection type of the host."""
    value = value.format(lab=lab.path) if isinstance(value, str) else value
    env = {"ANSIBLE_CACHE_PLUGIN": "jsonfile", "ANSIBLE_CACHE_PLUGIN_CONNECTION": str(lab.path / "facts")}
    hosts = {"localhost": {"ansible_connection": "local"}}
    hosts["localhost"]["ansible_python_interpreter"] = site.says({f"bastion_ssh_{option}": value})
    playbook(lab, hosts, play(ASK, hosts="localhost"), env=env).check()
    inventory = lab.path / "inventory.yml"
    inventory.write_text(yaml.safe_dump({"all": {"hosts": hosts}}))
    shown = own_playbook(lab, f"bastion.ssh.{name}", "-i", str(inventory), expected=2, env=env)
    assert f"bastion_ssh_{option}: host localhost has a fact of this name" in shown
    assert not (lab.path / "ways.mmd").exists()


# trust: T52
def test_the_author_of_a_play_may_set_them(lab: Lab, site: Site) -> None:
    hosts = {"web": site.host(ansible_ssh_jump="nobody@127.0.0.1:1")}
    setting = {
        "name": "Set",
        "ansible.builtin.set_fact": {"ansible_ssh_jump": "none", "ansible_host_key_checking": True},
    }
    playbook(lab, hosts, play(setting, TRUE)).check()


# trust: T52
def test_facts_that_are_called_as_variables_without_their_prefix_do_no_harm(lab: Lab, site: Site) -> None:
    facts = {"user": "x", "host": "x", "port": 1, "private_key": "x", "host_key_checking": False, "proxy_command": "x"}
    playbook(lab, {"web": site.host(facts)}, play(ASK, TRUE)).check()


# trust: T52
def test_a_reset_of_a_steered_host_ends_its_tasks_and_no_others(lab: Lab, site: Site) -> None:
    hosts = {"bad": site.host({PROXY: site.wanted(PROXY)}), "good": site.host({"ansible_kernel": "Linux"})}
    reset = {"name": "Reset", "ansible.builtin.meta": "reset_connection"}
    run = playbook(lab, hosts, play(ASK, reset, TRUE))
    refused(run, "bad", PROXY)
    assert run.results["good"][-1].status == "ok"
    site.assert_nothing_happened()
