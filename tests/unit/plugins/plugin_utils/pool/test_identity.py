# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What makes a hop another one, and what does not."""

from __future__ import annotations

import re
import weakref
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import pytest

from ansible_collections.bastion.ssh.plugins.plugin_utils.chain.model import (
    TARGET,
    AgentKeys,
    Chain,
    Credentials,
    DefaultKeyFiles,
    ExecContext,
    Hop,
    HostKeyChecking,
    HostKeyPolicy,
    Identity,
    KeyFile,
    KeyText,
    TransportOptions,
)
from ansible_collections.bastion.ssh.plugins.plugin_utils.pool.identity import HopIdentity, hop_identities

KEY, TEXT = KeyFile("/k", "SECRET1", "/c"), KeyText("SECRET2", "SECRET3", "/c")
CREDENTIALS = Credentials("u", "SECRET4", (KEY, TEXT, AgentKeys()), (KEY, TEXT), (("(?i)pin", "SECRET5"),))
POLICY = HostKeyPolicy(HostKeyChecking.STRICT, ("/f", "/g"), "alias")
AROUND = ExecContext("/d", (("NAME", "SECRET6"),))
HOP = Hop("h", 22, CREDENTIALS, POLICY, 10.0, "nc %h %p", "ansible_ssh_jump[0]", AROUND)


def identity(hop: Hop) -> str:
    return hop_identities(Chain((hop,)))[0].identity


def fallback(*keys: Identity) -> str:
    return hop_identities(Chain((login(fallback=keys),)))[0].fallback


def login(**changes: Any) -> Hop:
    return replace(HOP, credentials=replace(CREDENTIALS, **changes))


def keys(*identities: Identity) -> Hop:
    return login(identities=identities)


def policy(**changes: Any) -> Hop:
    return replace(HOP, host_keys=replace(POLICY, **changes))


def transport(**changes: Any) -> Hop:
    return replace(HOP, transport=TransportOptions(**changes))


def around(**changes: Any) -> Hop:
    return replace(HOP, exec_context=replace(AROUND, **changes))


OTHERS = {
    "host": replace(HOP, host="H"),
    "port": replace(HOP, port=222),
    "user": login(user="U"),
    "password": login(password="another"),
    "no password": login(password=None),
    "an empty password": login(password=""),
    "key file": keys(replace(KEY, path="/K"), TEXT, AgentKeys()),
    "passphrase of the key file": keys(replace(KEY, passphrase="another"), TEXT, AgentKeys()),
    "certificate of the key file": keys(replace(KEY, certificate_file=None), TEXT, AgentKeys()),
    "key text": keys(KEY, replace(TEXT, text="another"), AgentKeys()),
    "passphrase of the key text": keys(KEY, replace(TEXT, passphrase="another"), AgentKeys()),
    "certificate of the key text": keys(KEY, replace(TEXT, certificate_file="/C"), AgentKeys()),
    "text of the certificate of the key file": keys(replace(KEY, certificate="another"), TEXT, AgentKeys()),
    "text of the certificate of the key text": keys(KEY, replace(TEXT, certificate="another"), AgentKeys()),
    "certificate of any key": login(certificate_texts=("another",)),
    "order of the keys": keys(TEXT, KEY, AgentKeys()),
    "default key files": keys(KEY, TEXT, AgentKeys(), DefaultKeyFiles()),
    "a file for a text": keys(KEY, KeyFile("SECRET2", "SECRET3", "/c"), AgentKeys()),
    "question": login(prompts=(("pin", "SECRET5"),)),
    "answer": login(prompts=(("(?i)pin", "another"),)),
    "no answers": login(prompts=()),
    "host key checking": policy(checking=HostKeyChecking.OFF),
    "known_hosts": policy(known_hosts=("/f",)),
    "order of known_hosts": policy(known_hosts=("/g", "/f")),
    "alias": policy(alias=None),
    "global known_hosts": policy(global_known_hosts=("/g",)),
    "lines of known_hosts": policy(lines=("h ssh-ed25519 AAAA",)),
    "KnownHostsCommand": policy(command=("/bin/true",)),
    "revoked keys": policy(revoked="/r"),
    "how names are recorded": policy(hashed=True),
    "CheckHostIP": policy(check_address=True),
    "algorithms of the host key": policy(algorithms=("ssh-ed25519",)),
    "algorithms of authorities": policy(ca_algorithms=("ssh-ed25519",)),
    "length of RSA keys": policy(rsa_bits=4096),
    "certificates": login(certificates=("/c",)),
    "methods": login(methods=("publickey",)),
    "algorithms of keys": login(algorithms=("ssh-ed25519",)),
    "listed keys of the agent": keys(KEY, TEXT, AgentKeys(None, ("/k",))),
    "address family": transport(address_family="inet"),
    "own address": transport(bind_address="127.0.0.1"),
    "compression": transport(compression=True),
    "bytes before new keys": transport(rekey_bytes=1),
    "seconds before new keys": transport(rekey_seconds=1),
    "ciphers": transport(ciphers=("aes128-ctr",)),
    "macs": transport(macs=("hmac-sha2-256",)),
    "forwarding of the agent": transport(forward_agent="/agent"),
    "kex": transport(kex=("curve25519-sha256",)),
    "name, of which its proxy command may speak": replace(HOP, name="n"),
    "proxy command": replace(HOP, proxy_command="nc %h 22"),
    "directory of the proxy command": around(directory="/D"),
    "environment of the proxy command": around(environment=(("NAME", "another"),)),
    "no environment": around(environment=None),
    "no exec_context": replace(HOP, exec_context=None),
}


# trust: T20, T29
@pytest.mark.parametrize("hop", OTHERS.values(), ids=OTHERS)
def test_a_hop_is_another_one_with_another(hop: Hop) -> None:
    assert hop != HOP
    assert identity(hop) != identity(HOP)


# trust: T20, T29
def test_no_two_of_these_are_the_same() -> None:
    assert len({identity(hop) for hop in [HOP, *OTHERS.values()]}) == len(OTHERS) + 1


@pytest.mark.parametrize(
    "hop",
    [
        HOP,
        replace(HOP),
        replace(HOP, setting="the target"),
        replace(HOP, proxy_setting="ssh_config"),
        replace(HOP, timeout=1.0),
        login(fallback=()),
        keys(KEY, TEXT, AgentKeys("/agent")),
        keys(KEY, TEXT),
        transport(attempts=3, alive_interval=1.0, alive_count=1),
    ],
    ids=[
        "same",
        "equal",
        "place",
        "proxy command's place",
        "time",
        "keys of last resort",
        "agent's place",
        "lack of an agent",
        "how it is looked after",
    ],
)
def test_a_hop_is_the_same_whatever_its(hop: Hop) -> None:
    assert identity(hop) == identity(HOP)


# A field that is new has to be decided on.
def test_every_field_of_a_hop_is_in_these_tables() -> None:
    assert [field.name for field in fields(Hop)] == [
        "host", "port", "credentials", "host_keys", "timeout", "proxy_command", "setting", "exec_context", "transport", "name",
        "proxy_setting",
    ]  # fmt: skip
    assert [field.name for field in fields(Credentials)] == [
        "user", "password", "identities", "fallback", "prompts", "certificates", "certificate_texts", "methods", "algorithms",
    ]  # fmt: skip
    assert [field.name for field in fields(AgentKeys)] == ["socket", "listed"]
    assert [field.name for field in fields(HostKeyPolicy)] == [
        "checking", "known_hosts", "alias", "global_known_hosts", "lines", "command", "revoked", "hashed", "check_address",
        "algorithms", "ca_algorithms", "rsa_bits",
    ]  # fmt: skip
    assert [field.name for field in fields(TransportOptions)] == [
        "attempts", "address_family", "bind_address", "alive_interval", "alive_count", "compression", "rekey_bytes",
        "rekey_seconds", "ciphers", "macs", "kex", "forward_agent",
    ]  # fmt: skip


# trust: T20
@pytest.mark.parametrize(
    ("one", "another", "same"),
    [
        ("123456", "654321", True),
        ("123456", "1234567890", True),
        ("12345", "54321", False),
        ("12345678901", "10987654321", False),
        ("123456", "12345a", False),
        ("123456", "123456\n", False),
        ("123456", "", True),  # both are another one next time, or none at all
    ],
)
def test_a_one_time_code_is_another_one_next_time(one: str, another: str, same: bool) -> None:
    def asked(answer: str) -> str:
        return identity(login(prompts=(("code", answer), ("pin", "SECRET5"))))

    assert (asked(one) == asked(another)) == same


# trust: T20
@pytest.mark.parametrize(
    ("pattern", "one_time"),
    [
        ("verification code", True),
        ("(?i)Verification.code", True),
        ("^Verification code: $", True),
        ("one-time password", True),
        ("One.time passcode", True),
        (r"one\stime", True),
        ("otp", True),
        ("TOTP token", True),
        ("passcode", True),
        ("authentication code for .* at", True),
        ("Authenticator code", True),
        ("(?i)tokencode", True),
        ("token code", True),
        ("second factor password", True),
        ("token", False),
        ("api token", False),
        ("token: *$", False),
        ("authentication:", False),
        ("authenticator", False),
        ("verification", False),
        ("verification of the password", False),
        ("authentication password", False),
        ("token password", False),
        ("token codebook", False),
        ("token pin code", False),
        ("authentication code or PIN", False),
        ("2fa|mfa", True),
        ("second factor", True),
        ("", False),
        (".*", False),
        ("code", True),
        ("Code: ", True),
        ("decoder", False),
        ("password", False),
        ("Password:", False),
        ("pin", False),
        ("PIN code", False),
        ("pin for the token", False),
        ("verification code|pin", False),
        ("password|one-time password", False),
        ("passphrase", False),
        ("hotplug", False),
        ("answer", False),
    ],
)
def test_digits_are_a_one_time_code_where_the_pattern_calls_them_so(pattern: str, one_time: bool) -> None:
    one, another = (identity(login(prompts=((pattern, answer),))) for answer in ("48151623", "11111111"))
    assert (one == another) == one_time


# trust: T20
@pytest.mark.parametrize(
    ("others", "one_time"),
    [
        ({}, False),
        ({"identities": (AgentKeys(), DefaultKeyFiles())}, False),
        ({"fallback": (KEY,)}, False),
        ({"prompts": (("pin", "4815"),)}, True),
        ({"prompts": (("verification code", "4815162342"),)}, False),
        ({"password": "SECRET4"}, True),
        ({"identities": (KEY,)}, True),
        ({"identities": (TEXT,)}, True),
    ],
)
def test_what_is_only_called_a_code_is_a_one_time_code_beside_another_credential(
    others: dict[str, Any], one_time: bool
) -> None:
    def asked(pattern: str, answer: str) -> str:
        prompts = (*others.get("prompts", ()), (pattern, answer))
        return identity(replace(HOP, credentials=Credentials("u", **(others | {"prompts": prompts}))))

    assert (asked("code", "48151623") == asked("code", "11111111")) == one_time
    assert asked("one-time code", "48151623") == asked("one-time code", "11111111")


# trust: T20
@pytest.mark.parametrize(
    "key",
    [
        KeyFile("/K", "SECRET1", "/c"),
        KeyFile("/k", "another", "/c"),
        KeyFile("/k", "SECRET1", None),
        KeyText("/k", "SECRET1", "/c"),
        TEXT,
        KeyText("another", "SECRET3", "/c"),
        KeyText("SECRET2", "another", "/c"),
        KeyText("SECRET2", "SECRET3", None),
        KeyText("SECRET2", None, "/c"),
        AgentKeys(),
        DefaultKeyFiles(),
    ],
    ids=str,
)
def test_keys_of_last_resort_are_told_apart(key: Identity) -> None:
    others = {fallback(), fallback(KEY), fallback(KEY, key), *([] if key == TEXT else [fallback(TEXT)])}
    assert fallback(key) not in others
    assert fallback(key) == fallback(replace(key))


def test_the_steps_of_a_chain_are_those_of_its_hops() -> None:
    other = replace(HOP, host="H")
    assert hop_identities(Chain((HOP, other))) == (*hop_identities(Chain((HOP,))), *hop_identities(Chain((other,))))
    assert hop_identities(Chain((HOP, other), environment=(("A", "b"),))) == hop_identities(Chain((HOP, other)))


def test_a_name_is_of_no_matter_where_no_command_speaks_of_it() -> None:
    bare = replace(HOP, proxy_command=None)
    assert identity(replace(bare, name="n")) == identity(bare)
    asked = replace(bare, host_keys=replace(POLICY, command=("/bin/keys", "%n")))
    assert identity(replace(asked, name="n")) != identity(asked)


@pytest.mark.parametrize(
    "other",
    [
        Chain((replace(HOP, timeout=HOP.timeout + 1),)),
        Chain((HOP,), timeout=1.0),
        Chain((replace(HOP, credentials=replace(HOP.credentials, fallback=(KEY, KEY))),)),
        Chain((replace(HOP, credentials=replace(HOP.credentials, prompts=(("code", "123456"),))),)),
    ],
)
def test_a_dial_that_may_end_in_another_way_is_another_one(other: Chain) -> None:
    (step,), (mine,) = hop_identities(other), hop_identities(Chain((HOP,)))
    assert step.attempt != mine.attempt
    (elsewhere,) = hop_identities(replace(other, hops=(replace(other.hops[0], setting="elsewhere"),)))
    assert elsewhere.attempt == step.attempt


# trust: T13
def test_a_dial_may_end_in_another_way_for_a_jump_host_whose_key_is_not_checked() -> None:
    (target,) = hop_identities(Chain((replace(policy(checking=HostKeyChecking.OFF), setting=TARGET),)))
    first, second = (
        step
        for place in ("ansible_ssh_jump[0]", "ansible_ssh_jump[1]")
        for step in hop_identities(Chain((replace(policy(checking=HostKeyChecking.OFF), setting=place),)))
    )
    assert first.attempt == second.attempt != target.attempt
    assert first.identity == target.identity


# trust: T21
def test_there_is_no_secret_in_a_step() -> None:
    (step,) = hop_identities(Chain((HOP,)))
    assert re.fullmatch(
        f"{type(step).__name__}\\(" + ", ".join(f"{name}='[0-9a-f]{{64}}'" for name in HopIdentity._fields) + "\\)",
        repr(step),
    )


# trust: T57
def test_the_steps_of_a_chain_do_not_hold_it() -> None:
    chain = Chain((HOP,))
    found, gone = hop_identities(chain), weakref.ref(chain)
    assert hop_identities(Chain((replace(HOP),))) is found
    del chain
    assert gone() is None


SCRIPT = """
from ansible_collections.bastion.ssh.plugins.plugin_utils.pool.identity import HopIdentity, hop_identities
from ansible_collections.bastion.ssh.plugins.plugin_utils.chain.model import Chain, Credentials, Hop

go()
chain = Chain((Hop("h", 22, Credentials("u", "SECRET")),))
assert hop_identities(chain) == hop_identities(chain)
print(*hop_identities(chain)[0])
"""


# trust: T21
def test_another_process_has_other_digests(outputs: Callable[..., list[str]]) -> None:
    found = [word for output in outputs(SCRIPT, [], []) for word in output.split()]
    assert len(set(found)) == 6, found
