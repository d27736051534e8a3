# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real OpenSSH client is asked; and paramiko reads the files where there is none."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ansible_collections.bastion.ssh.plugins.plugin_utils.chain.openssh import NO_FILE, ConfigQuery, HostConfig
from ansible_collections.bastion.ssh.plugins.plugin_utils.errors import SettingsError
from ansible_collections.bastion.ssh.plugins.plugin_utils.openssh import client_config
from ansible_collections.bastion.ssh.plugins.plugin_utils.openssh.client_config import ClientConfig

# Counts its runs, and then is the client.
COUNTING = '#!/bin/sh\necho "$@" >>{log}\nexec ssh "$@"\n'

Write = Callable[..., str]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a configuration file long ago, so that it counts as unchanged since; returns its path."""

    def written(text: str, name: str = "config", mode: int = 0o600) -> str:
        path = tmp_path / name
        path.write_text(text)
        path.chmod(mode)
        os.utime(path, (1, 1))
        return str(path)

    return written


@pytest.fixture
def counted(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Callable[[], list[str]]]:
    """A client, and the command lines that it has got, those for what nobody says left out."""
    directory = tmp_path_factory.mktemp("counted")
    program, log = directory / "counting-ssh", directory / "log"
    program.write_text(COUNTING.format(log=log))
    program.chmod(0o755)
    return str(program), lambda: [line for line in log.read_text().splitlines() if not line.endswith(" -- nothing")]


def asked(query: ConfigQuery, config: ClientConfig | None = None, **environment: str) -> HostConfig:
    return (config or ClientConfig()).config_lookup("/", {**os.environ, **environment})(query)


# trust: T07, T08
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Host x\n HostName x%%r\n", {"host": "x%r"}),
        ("Host x\n HostName %h.example.com\n", {"host": "x.example.com"}),
        ("Host y\n Port 1\nHost *\n Port 2\n", {"port": 2}),
        ("Host !x *\n Port 1\n", {}),
        ("Match host x\n Port 1\n", {"port": 1}),
        ("Match originalhost x\n HostName y\nMatch host y\n Port 1\n", {"host": "y", "port": 1}),
        ("Match user me\n Port 1\n", {}),
        ("Match user ops\n Port 1\n", {"user": "ops", "port": 1}),
        ("Match exec true\n Port 1\n", {"port": 1}),
        ("Match exec false\n Port 1\n", {}),
        ('Match exec "test $PLACE = office"\n Port 1\n', {"port": 1}),
        ("Match final\n Port 1\nHost y\n User u\nHost x\n HostName y\n", {"host": "y", "user": "u", "port": 1}),
        ("Match all\n ProxyJump none\n ProxyJump a\n", {}),
        ("ProxyJump a\nProxyCommand nc %h %p\n", {"proxy_jump": "a"}),
        ("ProxyCommand nc %h %p\nProxyJump a\n", {"proxy_command": "nc %h %p"}),
        ("ProxyCommand none\nProxyJump a\n", {}),
        ("IdentityFile ~/%r\n", {"identity_files": ("~/%r",)}),
    ],
)
def test_the_client_says_what_its_files_mean(text: str, expected: dict[str, object], write: Write) -> None:
    query = ConfigQuery("x", "ops" if expected.get("user") == "ops" else None, config_file=write(text))
    assert asked(query, PLACE="office") == HostConfig(**{"host": "x", **expected})  # type: ignore[arg-type]


# trust: T07
def test_files_are_included_as_openssh_includes_them(write: Write, tmp_path: Path) -> None:
    write("Port 1\nUser u\n", "second")
    write(f"Host x\n Include {tmp_path}/second\n", "first")
    config = write(f"Include {tmp_path}/fir*\nPort 3\n")
    assert asked(ConfigQuery("x", config_file=config)) == HostConfig("x", user="u", port=1)
    assert asked(ConfigQuery("y", config_file=config)) == HostConfig("y", port=3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Host x\n Prot 22\n", r"OpenSSH refuses it: .*config: line 2: Bad configuration option: prot"),
        ("Port abc\n", r"OpenSSH refuses it: .*config line 1: Bad "),
        ("Include {here}/config\n", r"OpenSSH refuses it: .*[Tt]oo many"),
        ("Match nonsense x\n Port 1\n", r"OpenSSH refuses it: .*config line 1"),
        ("ProxyUseFdpass yes\n", r"proxyusefdpass: a ProxyCommand cannot hand"),
    ],
)
def test_what_openssh_refuses_is_an_error_with_its_line(text: str, message: str, write: Write, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=rf"^ssh_config for x: {message}"):
        asked(ConfigQuery("x", config_file=write(text.format(here=tmp_path))))


def test_a_file_that_is_named_and_missing_is_an_error() -> None:
    with pytest.raises(SettingsError, match=r"^ssh_config for x: OpenSSH refuses it: .*No such file"):
        asked(ConfigQuery("x", config_file="/nonexistent"))


def test_no_file_and_no_argument_is_no_question() -> None:
    assert asked(ConfigQuery("x", config_file="none"), ClientConfig("/nonexistent")) == HostConfig("x")


def test_arguments_mean_what_they_mean_to_the_client(write: Write) -> None:
    config = write("Host x\n ProxyJump a\n Port 1\n User u\n")
    arguments = ("-J", "b", "-o", "Port=2", "-C", "-i", config)  # ssh leaves out a file that is not there
    expected = HostConfig("x", user="u", port=2, proxy_jump="b", compression=True, identity_files=(config,))
    assert asked(ConfigQuery("x", config_file=config, arguments=arguments)) == expected
    assert asked(ConfigQuery("x", "v", 3, config, arguments)).user == "v"
    with pytest.raises(SettingsError, match="Bad configuration option: prot"):
        asked(ConfigQuery("x", config_file="none", arguments=("-o", "Prot=2")))


def test_a_name_is_asked_about_once(counted: tuple[str, Callable[[], list[str]]], write: Write) -> None:
    program, lines = counted
    config, file = ClientConfig(program), write("Port 1\n")
    for _time in range(3):
        assert config.version() == config.version()
        assert asked(ConfigQuery("x", config_file=file), config).port == 1
    assert len(lines()) == 1
    asked(ConfigQuery("y", config_file=file), config)
    asked(ConfigQuery("x", "u", config_file=file), config)
    assert len(lines()) == 3


def test_who_asks_the_same_at_once_waits_for_one_answer(
    counted: tuple[str, Callable[[], list[str]]], write: Write
) -> None:
    program, lines = counted
    config, file = ClientConfig(program), write("Port 1\n")
    start = threading.Barrier(20)

    def ask(number: int) -> int | None:
        start.wait(10)
        return asked(ConfigQuery(f"h{number % 2}", config_file=file), config).port

    with ThreadPoolExecutor(20) as pool:
        assert set(pool.map(ask, range(20))) == {1}
    assert len(lines()) == 2


def test_a_file_that_changes_is_read_anew(
    counted: tuple[str, Callable[[], list[str]]], write: Write, tmp_path: Path
) -> None:
    program, lines = counted
    write("Port 1\n", "included")
    config, file = ClientConfig(program), write(f"Include {tmp_path}/included\n")
    assert asked(ConfigQuery("x", config_file=file), config).port == 1
    before = config.version()
    (tmp_path / "included").write_text("Port 22222\n")
    assert config.version() != before
    assert asked(ConfigQuery("x", config_file=file), config).port == 22222
    assert len(lines()) == 2


@pytest.mark.parametrize("include", ["{here}/conf.d/*.conf", "{here}/conf.d/later.conf", '"{here}/conf.d/*"'])
def test_a_file_that_comes_later_is_read(include: str, write: Write, tmp_path: Path) -> None:
    (tmp_path / "conf.d").mkdir()
    os.utime(tmp_path / "conf.d", (1, 1))
    config, file = ClientConfig(), write(f"Include {include.format(here=tmp_path)}\n")
    assert asked(ConfigQuery("x", config_file=file), config).proxy_jump is None
    assert config.version() == 0
    (tmp_path / "conf.d/later.conf").write_text("ProxyJump edge\n")
    config.version()
    assert asked(ConfigQuery("x", config_file=file), config).proxy_jump == "edge"


def test_a_file_whose_name_has_other_letters_is_watched(tmp_path: Path) -> None:
    directory = tmp_path / "\u00fcber" / ("d" * 100) / ("e" * 100)
    directory.mkdir(parents=True)
    included = directory / "included"
    included.write_text("Port 1\n")
    (tmp_path / "config").write_text(f"Include {included}\n")
    for path in (included, tmp_path / "config", directory):
        os.utime(path, (1, 1))
    config, query = ClientConfig(), ConfigQuery("x", config_file=str(tmp_path / "config"))
    assert asked(query, config).port == 1
    included.write_text("Port 22222\n")
    config.version()
    assert asked(query, config).port == 22222


def test_an_answer_of_before_a_change_is_not_kept(write: Write, tmp_path: Path) -> None:
    """One asks, the file changes, another asks and is answered, and then the first gets its answer."""
    program, told, go = tmp_path / "slow-ssh", tmp_path / "told", tmp_path / "go"
    program.write_text(
        f'#!/bin/sh\nout=$(ssh "$@") || exit\ncase $* in *slow*) touch {told}; while ! test -e {go}; do sleep 0.05; done;; esac\n'
        'echo "$out"\necho "debug1: Reading configuration data $CONFIG" >&2\n'
    )
    program.chmod(0o755)
    file = write("Port 1\n")
    config, query = ClientConfig(str(program)), ConfigQuery("slow", config_file=file)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(asked, query, config, CONFIG=file)
        while not told.exists():
            time.sleep(0.01)
        asked(ConfigQuery("other", config_file=file), config, CONFIG=file)
        Path(file).write_text("Port 22222\n")
        assert config.version() == 1
        go.touch()
        assert first.result(20).port == 1
    assert asked(query, config, CONFIG=file).port == 22222


def test_a_warning_of_the_client_is_passed_on() -> None:
    found = asked(ConfigQuery("x", config_file="none", arguments=("-i", "/nonexistent")))
    assert found.warnings == ("Warning: Identity file /nonexistent not accessible: No such file or directory.",)


def test_a_host_that_is_its_own_jump_host_is_none_where_the_way_is_known(write: Write) -> None:
    file = write("Host *\n ProxyJump x\n")
    with pytest.raises(SettingsError, match="jumphost loop via x"):
        asked(ConfigQuery("x", config_file=file))
    for arguments in ((), ("-J", "y")):
        found = asked(ConfigQuery("x", config_file=file, arguments=arguments, direct=True))
        assert (found.proxy_jump, found.proxy_command) == (None, None)


def test_an_argument_that_ssh_takes_for_the_host_is_an_error() -> None:
    with pytest.raises(SettingsError, match="ssh takes '22222' for the host"):
        asked(ConfigQuery("x", config_file="none", arguments=("-C", "22222")))


def test_a_file_that_may_have_changed_while_it_was_read_is_read_anew(write: Write) -> None:
    config, file = ClientConfig(), write("Port 1\n")
    os.utime(file, (time.time() + 60, time.time() + 60))
    asked(ConfigQuery("x", config_file=file), config)
    assert config.version() == 1


def test_an_error_is_not_kept(write: Write) -> None:
    config, file = ClientConfig(), write("Prot 1\n")
    with pytest.raises(SettingsError):
        asked(ConfigQuery("x", config_file=file), config)
    write("Port 1\n")
    assert asked(ConfigQuery("x", config_file=file), config).port == 1


def test_another_environment_is_the_same_question_where_nothing_speaks_of_it(
    counted: tuple[str, Callable[[], list[str]]], write: Write
) -> None:
    program, lines = counted
    config, file = ClientConfig(program), write("Port 1\n")
    for place in ("office", "home"):
        assert asked(ConfigQuery("x", config_file=file), config, PLACE=place).port == 1
    assert len(lines()) == 1


def test_another_environment_is_another_question(write: Write) -> None:
    config, file = ClientConfig(), write('Match exec "test $PLACE = office"\n Port 1\n')
    assert asked(ConfigQuery("x", config_file=file), config, PLACE="office").port == 1
    assert asked(ConfigQuery("x", config_file=file), config, PLACE="home").port is None


# trust: T57
def test_what_was_said_in_an_environment_is_forgotten_with_its_run(
    counted: tuple[str, Callable[[], list[str]]], write: Write
) -> None:
    program, runs = counted
    config = ClientConfig(program)
    plain = ConfigQuery("x", config_file=write("Port 1\n"))
    bound = ConfigQuery("x", config_file=write('Match exec "test $PLACE = SECRET"\n Port 2\n', "bound"))

    def asks(query: ConfigQuery) -> int:
        before = len(runs())
        assert asked(query, config, PLACE="SECRET").port in (1, 2)
        return len(runs()) - before

    asked(plain, config)
    assert [asks(plain), asks(bound), asks(bound)] == [0, 1, 0]
    assert "SECRET" not in repr(config._known.keys())
    config.forget_runs(unused=True)  # it was asked since it was begun
    assert [asks(plain), asks(bound)] == [0, 0]
    config.forget_runs(unused=True)
    config.forget_runs(unused=True)
    assert [asks(plain), asks(bound)] == [0, 1]
    config.forget_runs(unused=False)
    assert [asks(plain), asks(bound)] == [0, 1]


@pytest.mark.parametrize("included", [False, True])
def test_what_runs_a_command_is_asked_again_before_each_login(write: Write, tmp_path: Path, included: bool) -> None:
    runs = tmp_path / "runs"
    file = write(f'Match host x exec "echo >>{runs}; test -e {tmp_path}/office"\n Port 1\n')
    query = ConfigQuery("x", config_file=write(f"Include {file}\n", "outer") if included else file)
    config, environment = ClientConfig(), dict(os.environ)
    config.config_lookup("/", environment)(query)

    def login() -> tuple[bool, int]:
        """Whether there is another answer, and how often the command was run."""
        before = len(runs.read_text())
        return config.ask_anew(query, "/", environment), len(runs.read_text()) - before

    assert [login(), login(), login()] == [(False, 0), (False, 1), (False, 1)]
    version = config.version()
    (tmp_path / "office").touch()
    assert [login(), login(), login()] == [(True, 1), (False, 0), (False, 1)]
    assert config.version() != version
    found = config.config_lookup("/", environment)(query)
    assert (found.port, found.before_login) == (1, query)
    assert (
        config.config_lookup("/", environment)(ConfigQuery("x", config_file=write("Port 1\n", "none"))).before_login
        is None
    )


# trust: T57
@pytest.mark.parametrize(
    ("agent", "anew"), [("/agent", 0), ("${PLACE}", 1)], ids=["not of the environment", "of the environment"]
)
def test_what_is_said_of_arguments_alone_is_kept_if_it_is_of_no_environment(
    agent: str, anew: int, counted: tuple[str, Callable[[], list[str]]]
) -> None:
    program, runs = counted
    config = ClientConfig(program)
    query = ConfigQuery("x", config_file=NO_FILE, arguments=("-o", "Port=1", "-o", f"IdentityAgent={agent}"))
    asked(query, config, PLACE="/SECRET")
    config.forget_runs(unused=False)
    before = len(runs())
    asked(query, config, PLACE="/SECRET")
    assert len(runs()) - before == anew


def test_no_more_answers_are_kept_than_have_room(
    counted: tuple[str, Callable[[], list[str]]], write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_config, "_ANSWERS_KEPT", 3)  # one of which is what nobody says
    program, runs = counted
    config, query = (
        ClientConfig(program),
        ConfigQuery("x", config_file=write('Match exec "test $PLACE = 1"\n Port 1\n')),
    )
    places = ["1", "2", "3", "3", "2", "1"]
    assert [asked(query, config, PLACE=place).port for place in places] == [1, None, None, None, None, 1]
    assert len(runs()) == 4  # the first one is asked twice


def test_a_question_without_an_answer_ends(monkeypatch: pytest.MonkeyPatch, write: Write, tmp_path: Path) -> None:
    monkeypatch.setattr(client_config, "_SECONDS", 0.5)
    pid = tmp_path / "pid"
    file = write(f'Match exec "echo $$ >{pid}; sleep 60"\n Port 1\n')
    with pytest.raises(SettingsError, match=r"'ssh -G' did not end within 0\.5 seconds"):
        asked(ConfigQuery("x", config_file=file))
    stat = Path(f"/proc/{pid.read_text().strip()}/stat")
    with contextlib.suppress(FileNotFoundError):  # it is no more, or nobody has asked how it ended
        assert stat.read_text().rpartition(")")[2].split()[0] == "Z"


@pytest.fixture(params=["missing", "nameless"])
def no_client(request: pytest.FixtureRequest, tmp_path: Path) -> ClientConfig:
    """Where there is no client, or it does not know who runs it."""
    if request.param == "missing":
        return ClientConfig("/nonexistent/ssh")
    program = tmp_path / "ssh"
    program.write_text('#!/bin/sh\necho "No user exists for uid 4711" >&2\nexit 255\n')
    program.chmod(0o755)
    return ClientConfig(str(program))


@pytest.mark.parametrize(
    "text",
    [
        "Port 1\n",
        "Host x\n HostName h%h\n User u\n Port 2222\nHost *\n User v\n",
        "Host a? x\n ProxyJump a,u@b:22\n",
        "ProxyCommand nc -q 1 %h %p\n",
        "ProxyCommand none\n",
        "Host !x *\n Port 1\n",
        "Match host x user u\n Port 1\n",
        "Match originalhost x\n StrictHostKeyChecking accept-new\n",
        "IdentityFile ~/a\nIdentityFile ~/b\nIdentitiesOnly yes\nIdentityAgent none\n",
        "StrictHostKeyChecking no\nUserKnownHostsFile /a /b\nHostKeyAlias h\n",
        "ServerAliveInterval 7\nServerAliveCountMax 2\nConnectTimeout 3\nCompression yes\n",
        "PubkeyAuthentication no\nPreferredAuthentications password\n",
        "Ciphers aes128-ctr,aes256-ctr\n",
        "# comment\n\n  Port = 2\n",
        "GSSAPIAuthentication yes\n",
        "Include /nonexistent/*.conf\nPort 1\n",
    ],
)
def test_paramiko_reads_what_it_reads_right(text: str, write: Write, no_client: ClientConfig) -> None:
    query = ConfigQuery("x", config_file=write(text))
    assert asked(query, no_client) == asked(query)


@pytest.mark.parametrize(
    "arguments", [("-J", "a"), ("-o", "Port=2", "-l", "u"), ("-C", "-i", "/dev/null", "-o", "IdentityFile=/l")]
)
def test_arguments_mean_the_same_without_the_client(
    arguments: tuple[str, ...], write: Write, no_client: ClientConfig
) -> None:
    query = ConfigQuery("x", config_file=write("Port 1\nUser v\n"), arguments=arguments)
    assert asked(query, no_client) == asked(query)


# trust: T07
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Host y\nInclude conf*\n", "config:2: Include: that takes the ssh program to read"),
        ("include=config\n", "config:1: include: that takes the ssh program"),
        ("Match exec true\n Port 1\n", "config:1: Match exec: that takes the ssh program"),
        ("Match host x !exec true\n Port 1\n", "config:1: Match exec: that takes"),
        ("Match final\n Port 1\n", "config:1: Match final: that takes"),
        ("Match tagged x\n Port 1\n", "config:1: Match tagged: that takes"),
        ("CanonicalizeHostname yes\n", "config:1: CanonicalizeHostname: that takes"),
        ("Ciphers +aes128-cbc\n", r"config:1: Ciphers \+: that takes"),
        ("ProxyJump a\nProxyCommand b\n", "both ProxyJump and ProxyCommand apply: that takes"),
        ('Include "/nonexistent/*.conf"\n', "config:1: Include: that takes"),
        ("Include nonexistent.d/*.conf\n", "config:1: Include: that takes"),
        ("Include ${HOME}/nonexistent\n", "config:1: Include: that takes"),
        ("Host [x]\n", r"config:1: Host with \[: that takes"),
        ("SetEnv A=1 B=2\n", "config:1: SetEnv of several: that takes"),
        ("CertificateFile /a\nCertificateFile /b\n", "certificatefile more than once: that takes"),
        ("HostNam x\n", "config:1: no such keyword: HostNam"),
        ("ConnectTimeout 1m\n", "connecttimeout: '1m' cannot be read"),
        ("Match host\n", "it cannot be read: Missing parameter"),
    ],
)
def test_what_paramiko_would_get_wrong_is_an_error(
    text: str, message: str, write: Write, no_client: ClientConfig
) -> None:
    with pytest.raises(SettingsError, match=message):
        asked(ConfigQuery("x", config_file=write(text)), no_client)
    with pytest.raises(SettingsError, match="/nonexistent: it cannot be read: No such file"):
        asked(ConfigQuery("x", config_file="/nonexistent"), no_client)


def test_the_usual_files_need_not_be_there(no_client: ClientConfig, tmp_path: Path) -> None:
    assert asked(ConfigQuery("x"), no_client, HOME=str(tmp_path)).port is None
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh/config").write_text("Port 7\nUserKnownHostsFile ~/k\n")
    no_client.version()
    found = asked(ConfigQuery("x"), no_client, HOME=str(tmp_path))
    assert (found.port, found.known_hosts) == (7, (f"{tmp_path}/k",))


def test_a_client_that_cannot_be_started_is_told_of_the_host_that_was_asked_for(tmp_path: Path) -> None:
    torn = tmp_path / "ssh"
    torn.write_bytes(b"\x7fELF torn")
    torn.chmod(0o755)
    with pytest.raises(SettingsError, match=r"^ssh_config for web: .*/ssh cannot be started: Exec format error$"):
        asked(ConfigQuery("web", config_file="none", arguments=("-C",)), ClientConfig(str(torn)))
