# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private keys for a login, made by ssh-keygen and loaded from files, text and an agent."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec
from lab import Agent, Key, certify, make_key

from ansible_collections.bastion.ssh.plugins.plugin_utils.chain.model import (
    AgentKeys,
    Credentials,
    DefaultKeyFiles,
    KeyFile,
    KeyText,
)
from ansible_collections.bastion.ssh.plugins.plugin_utils.ssh.keys import LoginKey, login_keys

TYPES = ["ed25519", "ecdsa", "rsa"]
FORMATS = ["RFC4716", "PEM", "PKCS8"]  # in the words of ssh-keygen -m; the first is OpenSSH's own
SECRET = "open sesame é"

NEEDS_ONE = "it needs a passphrase and none is set"
WRONG_ONE = "it cannot be decrypted with the passphrase that is set"
UNKNOWN = "not a private key of a type that can be used (ed25519, ecdsa, rsa)"
PUBLIC = "a public key, whose private key only an agent can have"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Key]:
    """A key of each type, plain as "<type>" and "<type>-<format>", encrypted with SECRET as "<type>-<format>-secret"."""
    directory = tmp_path_factory.mktemp("keys")
    keys = {"ca": make_key(directory / "ca")}
    for kind in TYPES:
        keys[kind] = make_key(directory / kind, kind)
        for form in FORMATS:
            for name, passphrase in ((f"{kind}-{form}", ""), (f"{kind}-{form}-secret", SECRET)):
                for suffix in ("", ".pub"):
                    shutil.copyfile(f"{keys[kind].path}{suffix}", f"{directory / name}{suffix}")
                path = directory / name
                path.chmod(0o600)
                change = ["ssh-keygen", "-q", "-p", "-a", "1", "-m", form, "-P", "", "-N", passphrase, "-f", str(path)]
                subprocess.run(change, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
                keys[name] = Key(path, passphrase)
    return keys


def loaded(*identities: Any, password: str | None = None) -> tuple[list[LoginKey], list[str]]:
    """The keys that can sign, and what is said of the others."""
    skipped: list[str] = []
    return list(login_keys(Credentials("u", password, identities), skipped.append)), skipped


def works(key: LoginKey) -> bool:
    """Whether it signs with what its public half verifies."""
    algorithm = "rsa-sha2-512" if key.key.get_name() == "ssh-rsa" else None
    signature = key.key.sign_ssh_data(b"data", algorithm)
    kind: Any = type(key.key)
    public = kind(data=key.key.asbytes())
    return bool(public.verify_ssh_sig(b"data", type(signature)(signature.asbytes())))


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("kind", TYPES)
def test_a_key_of_every_type_and_format_is_loaded(made: dict[str, Key], kind: str, form: str) -> None:
    plain, secret = made[f"{kind}-{form}"], made[f"{kind}-{form}-secret"]
    identities = [
        KeyFile(str(plain.path)),
        KeyFile(str(plain.path), "a passphrase too much"),
        KeyFile(str(secret.path), SECRET),
        KeyText(plain.private),
        KeyText(secret.private, SECRET),
    ]
    for identity in identities:
        (key,), skipped = loaded(identity, password="another")
        assert key.name == f"{getattr(identity, 'path', 'the key given as text')} {made[kind].fingerprint}"
        assert works(key)
        assert skipped == []


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("kind", TYPES)
def test_a_wrong_or_missing_passphrase_is_told(made: dict[str, Key], kind: str, form: str) -> None:
    key = made[f"{kind}-{form}-secret"]
    path = str(key.path)
    assert loaded(KeyFile(path)) == ([], [f"{path}: {NEEDS_ONE}"])
    assert loaded(KeyFile(path, "wrong")) == ([], [f"{path}: {WRONG_ONE}"])
    assert loaded(KeyFile(path, "wrong"), password=SECRET) == ([], [f"{path}: {WRONG_ONE}"])
    assert loaded(KeyFile(path), password="wrong") == ([], [f"{path}: {NEEDS_ONE}"])
    assert loaded(KeyText(key.private)) == ([], [f"the key given as text: {NEEDS_ONE}"])


def test_a_password_that_unlocks_a_key_is_its_passphrase(made: dict[str, Key]) -> None:
    (key,), _skipped = loaded(KeyFile(str(made["rsa-PEM-secret"].path)), password=SECRET)
    assert works(key)


def test_text_may_have_lost_its_last_newline_or_got_others(made: dict[str, Key]) -> None:
    text = made["ed25519"].private
    for changed in (text.rstrip("\n"), f"\n\n  {text}\n\n", text.replace("\n", "\r\n")):
        (key,), _skipped = loaded(KeyText(changed))
        assert works(key)


def unusable(made: dict[str, Key], directory: Path) -> list[tuple[str, str]]:
    """Paths, and what is said of them."""
    curve = ec.generate_private_key(ec.SECP256K1())
    pem = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    texts = {
        "empty": b"",
        "garbage": b"garbage",
        "binary": bytes(range(256)),
        "public": Path(f"{made['rsa'].path}.pub").read_bytes(),
        "torn": made["rsa"].path.read_bytes()[:400],
        "headers": b"-----BEGIN OPENSSH PRIVATE KEY-----\n-----END OPENSSH PRIVATE KEY-----\n",
        "dsa": dsa.generate_private_key(1024).private_bytes(*pem),
        "curve": curve.private_bytes(*pem),
    }
    for name, text in texts.items():
        (directory / name).write_bytes(text)
    return [
        *[(str(directory / name), PUBLIC if name == "public" else UNKNOWN) for name in texts],
        (str(directory / "missing"), "No such file or directory"),
        (str(directory), "Is a directory"),
        ("~nobody-of-that-name/key", "No such file or directory"),
    ]


def test_a_file_that_cannot_be_used_is_named_with_the_reason(made: dict[str, Key], tmp_path: Path) -> None:
    paths = unusable(made, tmp_path)
    keys, skipped = loaded(*[KeyFile(path) for path, _why in paths], KeyFile(str(made["rsa"].path)))
    assert skipped == [f"{path}: {why}" for path, why in paths]
    assert [works(key) for key in keys] == [True]


# trust: T21
def test_what_is_said_of_a_key_never_quotes_it(made: dict[str, Key]) -> None:
    text = made["ed25519"].private
    torn = text.replace("-----END", "=")
    _keys, skipped = loaded(KeyText(torn, "SECRET"), KeyText("SECRET"), KeyText("SECRET", "SECRET"), password="SECRET")
    said = " ".join(skipped)
    assert len(skipped) == 3
    assert "SECRET" not in said
    assert not any(line in said for line in text.splitlines())


@pytest.mark.parametrize("kind", TYPES)
def test_a_certified_key_is_offered_with_its_certificate_and_then_without(
    made: dict[str, Key], kind: str, tmp_path: Path
) -> None:
    beside = Key(tmp_path / "beside")
    for suffix in ("", ".pub"):
        shutil.copyfile(f"{made[kind].path}{suffix}", f"{beside.path}{suffix}")
    elsewhere = certify(made["ca"], beside, ["u"], out=tmp_path / "elsewhere")
    by_name = loaded(KeyFile(str(beside.path), None, str(elsewhere)))
    by_text = loaded(KeyText(beside.private, None, str(elsewhere)))
    certify(made["ca"], beside, ["u"])
    for keys, skipped in (loaded(KeyFile(str(beside.path))), by_name, by_text):
        certified, plain = keys
        assert certified.key.public_blob is not None
        assert certified.key.public_blob.key_type.endswith("-cert-v01@openssh.com")
        assert certified.name == f"{plain.name} with certificate {certified.name.rpartition(' ')[2]}"
        assert plain.key.public_blob is None
        assert works(certified)
        assert skipped == []


def test_a_certificate_that_is_not_the_keys_is_left_out_and_the_key_offered(
    made: dict[str, Key], tmp_path: Path
) -> None:
    other = certify(made["ca"], make_key(tmp_path / "other"), ["u"])
    of_rsa = certify(made["ca"], made["rsa"], ["u"], out=tmp_path / "rsa-cert.pub")
    (tmp_path / "garbage").write_text("garbage")
    path = str(made["ed25519"].path)
    certificates = [other, of_rsa, tmp_path / "garbage", tmp_path / "missing", tmp_path]
    keys, skipped = loaded(*[KeyFile(path, None, str(certificate)) for certificate in certificates])
    assert [key.key.public_blob for key in keys] == [None] * 5
    assert [line.partition(": ")[0] for line in skipped] == [str(certificate) for certificate in certificates]
    assert "of another key" in skipped[0]
    assert "No such file" in skipped[3]


def test_default_files_are_those_of_ssh_that_exist(
    made: dict[str, Key], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert loaded(DefaultKeyFiles()) == ([], [])
    (tmp_path / ".ssh").mkdir()
    for kind in ("rsa", "ed25519"):
        shutil.copyfile(made[kind].path, tmp_path / ".ssh" / f"id_{kind}")
    keys, skipped = loaded(DefaultKeyFiles())
    assert [key.name for key in keys] == [f"~/.ssh/id_{kind} {made[kind].fingerprint}" for kind in ("rsa", "ed25519")]
    assert skipped == []


def test_a_key_is_loaded_when_its_turn_comes(made: dict[str, Key], tmp_path: Path) -> None:
    skipped: list[str] = []
    identities = (KeyFile(str(made["rsa"].path)), KeyFile(str(tmp_path / "missing")))
    keys = login_keys(Credentials("u", None, identities), skipped.append)
    assert works(next(keys))
    assert skipped == []
    assert list(keys) == []
    assert len(skipped) == 1


def test_an_agents_keys_are_offered_in_its_order(
    made: dict[str, Key], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Agent(tmp_path, "unit") as agent:
        agent.add(made["rsa"], made["ed25519"])
        monkeypatch.setenv("SSH_AUTH_SOCK", str(agent.socket))
        keys, skipped = loaded(AgentKeys(), KeyFile(str(made["ecdsa"].path)))
        assert [key.name.rpartition(" ")[2] for key in keys] == [
            made[kind].fingerprint for kind in ("rsa", "ed25519", "ecdsa")
        ]
        assert skipped == []


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # paramiko forgets its socket
@pytest.mark.parametrize("socket", [None, "missing"])
def test_without_an_agent_the_other_keys_are_offered(
    made: dict[str, Key], socket: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if socket is None:
        monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    else:
        monkeypatch.setenv("SSH_AUTH_SOCK", socket)
    keys, _skipped = loaded(AgentKeys(), KeyFile(str(made["rsa"].path)))
    assert [works(key) for key in keys] == [True]
