"""Which value counts, and what a mistake is answered with."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest

from whatsapp import config
from whatsapp.errors import StartupError

EXAMPLE = Path(__file__).resolve().parents[2] / "config.example.toml"


def write(folder: Path, text: str) -> Path:
    file = folder / "whatsapp.toml"
    file.write_text(text, encoding="utf-8")
    return file


def test_the_example_has_every_option_at_its_default():
    table = tomllib.loads(EXAMPLE.read_text(encoding="utf-8"))
    assert table == msgspec.json.decode(msgspec.json.encode(config.Config()))
    assert config.load(EXAMPLE) == config.Config()


def test_the_example_says_something_about_each_option():
    lines = EXAMPLE.read_text(encoding="utf-8").splitlines()
    for before, line in zip(["", *lines], lines, strict=False):
        if re.match(r"[a-z_]+ = ", line):
            # Its own comment, or the one that it shares with the option above it.
            assert before.startswith("#") or re.match(r"[a-z_]+ = ", before), line


def test_the_defaults_keep_their_own_limits():
    assert config.load() == config.Config()


def test_flag_beats_environment_beats_file_beats_default(tmp_path: Path):
    file = write(tmp_path, '[server]\nport = 1\nhost = "a"\nport_tries = 1\n')
    environment = {"WHATSAPP_SERVER_PORT": "2", "WHATSAPP_SERVER_HOST": "b", "OTHER": "x"}
    loaded = config.load(file, environment, {"server": {"port": 3}}).server
    assert (loaded.port, loaded.host, loaded.port_tries) == (3, "b", 1)
    assert loaded.heartbeat_seconds == 30.0


def test_each_option_knows_its_source(tmp_path: Path):
    file = write(tmp_path, "[server]\nport_tries = 1\n")
    flags = {"rates": {"enabled": False}}
    found = config.explain(file, {"WHATSAPP_SERVER_HOST": "b"}, flags)
    by_name = {(o.section, o.name): (o.value, o.source, o.variable) for o in found}
    assert by_name["server", "port_tries"][:2] == (1, "file")
    assert by_name["server", "host"] == ("b", "environment", "WHATSAPP_SERVER_HOST")
    assert by_name["rates", "enabled"][:2] == (False, "flag")
    assert by_name["log", "level"][:2] == ("info", "default")
    assert len(by_name) == len(list(config.options_known()))


@pytest.mark.parametrize(
    "variable,text,section,value",
    [
        ("WHATSAPP_RATES_ENABLED", "false", "rates", False),
        ("WHATSAPP_RATES_ENABLED", "1", "rates", True),
        ("WHATSAPP_AUTH_INVITE_CODES", "a, b,,c", "auth", ("a", "b", "c")),
        ("WHATSAPP_AUTH_INVITE_CODES", "", "auth", ()),
        ("WHATSAPP_SERVER_DRAIN_TIMEOUT_SECONDS", "2.5", "server", 2.5),
        ("WHATSAPP_STORAGE_DATA", "/srv/x", "storage", "/srv/x"),
    ],
)
def test_the_environment_is_text_of_every_type(variable: str, text: str, section: str, value: Any):
    name = variable.removeprefix(f"WHATSAPP_{section.upper()}_").lower()
    assert getattr(getattr(config.load(None, {variable: text}), section), name) == value


@pytest.mark.parametrize(
    "text,cause,cure",
    [
        ("[server]\nprot = 1", r"\[server\].*`prot`", "Did you mean `port`"),
        ("[sever]\nport = 1", "`sever`", "Did you mean `server`"),
        ("xyz = 1", "`xyz`", "Known are: server, storage"),
        ("[server]\nport = 'x'", r"\[server\] port: Expected `int`, got `str`", "example"),
        ("[server]\nport = 70000", r"\[server\] port: .*65535", "example"),
        ("[limits]\nstall_seconds = nan", r"\[limits\] stall_seconds", "example"),
        ("[limits]\nwindow_messages = 0", r"\[limits\] window_messages", "example"),
        ("[auth]\npassword_characters_min = 4", "password_characters_min", "example"),
        ("[storage]\nbackend = 'mango'", r"\[storage\] backend.*mango", "sqlite, memory"),
        ("server = 1", r"\[server\]: Expected `object`", "example"),
        ("[server\n", "not TOML.*line 1", "Mend that line"),
        ("[server]\nport = 1\nport = 2", "not TOML", "Mend"),
    ],
)
def test_a_mistake_in_the_file_is_named(tmp_path: Path, text: str, cause: str, cure: str):
    file = write(tmp_path, text)
    with pytest.raises(StartupError) as raised:
        config.load(file)
    assert raised.value.cause.startswith(f"{file}: ")
    assert re.search(cause, raised.value.cause)
    assert cure in raised.value.cure


@pytest.mark.parametrize(
    "section,option,value,cause",
    [
        ("server", "trusted_proxies", ["10.0.0.0/99"], "trusted_proxies"),
        ("server", "allowed_origins", ["https://chat.example.org/"], "is not an origin"),
        ("server", "allowed_origins", ["chat.example.org"], "is not an origin"),
        ("auth", "registration", "invite", "invite_codes is empty"),
        # ZooKeeper takes no such paths.
        ("directory", "instance", "..", r"\[directory\] instance"),
        ("directory", "root", "/chat/.", r"\[directory\] root"),
        ("directory", "root", "/../chat", r"\[directory\] root"),
    ],
)
def test_what_could_never_work_is_told(section: str, option: str, value: Any, cause: str):
    with pytest.raises(StartupError, match=cause):
        config.load(None, None, {section: {option: value}})


def test_what_does_work_is_not():
    flags: dict[str, dict[str, Any]] = {
        "server": {
            "trusted_proxies": ["10.0.0.0/8", "::1"],
            "allowed_origins": ["https://a.example:8443", "app://local", "null"],
        },
        "auth": {"registration": "invite", "invite_codes": ["a"]},
        "directory": {"instance": "..a", "root": "/.chat/..."},
    }
    assert config.load(None, None, flags).auth.registration == "invite"


# Several instances, and nothing wrong with them.
CLUSTER: dict[str, dict[str, Any]] = {
    "storage": {"backend": "mongo"},
    "directory": {"backend": "zookeeper"},
    "cluster": {"secret": "s" * config.SECRET_CHARACTERS_MIN},
}


def clustered(section: str, **changed: Any) -> dict[str, dict[str, Any]]:
    return {**CLUSTER, section: {**CLUSTER[section], **changed}}


@pytest.mark.parametrize(
    "flags,cause,cure",
    [
        (clustered("storage", backend="sqlite"), '"sqlite": several instances need one', "mongo"),
        (clustered("storage", backend="memory"), '"memory": several instances need one', "mongo"),
        (clustered("cluster", secret=""), "secret: is missing", "openssl rand"),
        (
            clustered("cluster", secret="s" * 31),
            "secret: has 31 characters",
            "WHATSAPP_CLUSTER_SECRET",
        ),
        (clustered("cluster", host="0.0.0.0"), '"0.0.0.0" and address is empty', "address"),
        (clustered("cluster", host="::"), '"::" and address is empty', '"name:port"'),
        (clustered("cluster", tls_key="k.pem"), "not all", "all three"),
    ],
)
def test_what_several_instances_need_is_told(flags: config.Layer, cause: str, cure: str):
    with pytest.raises(StartupError) as raised:
        config.load(None, None, flags)
    assert cause in raised.value.cause
    assert cure in raised.value.cure
    for secret in ("s" * 31, "s" * 32):
        assert secret not in str(raised.value)


@pytest.mark.parametrize(
    "flags",
    [
        CLUSTER,
        clustered("cluster", host="0.0.0.0", address="a.example"),
        clustered("cluster", tls_certificate="c", tls_key="k", tls_authority="a"),
        # One instance on a MongoDB; and what is unused may be half filled in.
        {"storage": {"backend": "mongo"}, "cluster": {"host": "0.0.0.0", "secret": "x"}},
    ],
)
def test_several_instances_that_fit_may_start(flags: config.Layer):
    assert config.load(None, None, flags).storage.backend == "mongo"


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path):
    for file in (tmp_path / "absent.toml", tmp_path):
        with pytest.raises(StartupError, match="cannot be read"):
            config.load(file)
    (tmp_path / "latin.toml").write_bytes(b"# \xe4")
    with pytest.raises(StartupError, match="not TOML"):
        config.load(tmp_path / "latin.toml")


def test_a_mistake_in_the_environment_or_a_flag_is_named():
    with pytest.raises(StartupError, match="WHATSAPP_SERVER_PORT: Expected `int`"):
        config.load(None, {"WHATSAPP_SERVER_PORT": "tcp://10.0.0.1:80"})
    with pytest.raises(StartupError, match=r"the command line: \[server\] port"):
        config.load(None, None, {"server": {"port": -1}})


def test_variables_that_only_look_like_options_are_told_about():
    environment = {
        "WHATSAPP_SERVER_PROT": "1",
        "WHATSAPP_SERVER_PORT": "1",
        "WHATSAPP_CONFIG": "x",
        "WHATSAPP_LOG_ZZZZZZZZZZZZZZZZZZZ": "1",
    }
    assert config.unknown_variables(environment) == {
        "WHATSAPP_SERVER_PROT": "WHATSAPP_SERVER_PORT",
        "WHATSAPP_LOG_ZZZZZZZZZZZZZZZZZZZ": "",
    }


def test_the_data_folder_is_absolute(monkeypatch, tmp_path: Path):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("sys.platform", "linux")
    assert config.data_folder(config.Storage()) == tmp_path / "whatsapp"
    assert config.data_folder(config.Storage(data="~/x")) == tmp_path / "x"
    assert config.data_folder(config.Storage(data="x")) == Path.cwd() / "x"
    monkeypatch.setattr("sys.platform", "darwin")
    assert config.data_folder(config.Storage()).parts[-3:-1] == ("Library", "Application Support")


@pytest.mark.parametrize(
    "secret, cause",
    [
        ("", "is missing"),
        ("short", "has 5 characters, 32 are needed"),
        ("change-me" * 5, "an example"),
        ("CHANGE-ME-to-something-that-is-long", "an example"),
    ],
)
def test_a_secret_that_is_none(secret, cause):
    with pytest.raises(StartupError, match=cause) as caught:
        config.check_secret(secret)
    assert "openssl rand" in caught.value.cure
    assert not secret or secret not in str(caught.value)


def test_a_good_secret():
    config.check_secret("0123456789abcdef" * 2)
