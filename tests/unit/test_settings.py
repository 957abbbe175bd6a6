"""Flags, file and environment, and what `config show` makes of them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.command import run
from whatsapp.settings import Settings

pytestmark = pytest.mark.usefixtures("home")


def test_config_show_is_toml_with_sources(tmp_path: Path, monkeypatch):
    file = tmp_path / "w.toml"
    file.write_text("[server]\nhost = 'h\u00e9'\n[auth]\ninvite_codes = ['hush']\n")
    monkeypatch.setenv("WHATSAPP_STORAGE_URL", "db://user:hush@host")
    monkeypatch.setenv("WHATSAPP_LOG_LEVEL", "debug")
    shown = run("config", "show", "--config", str(file), "--port", "9").stdout
    lines = {line.split(" = ")[0]: line for line in shown.splitlines() if " = " in line}
    assert re.search(r"(?m)^port = 9 +# flag$", shown)
    assert re.search(f'(?m)^host = "h\u00e9" +# file {file}$', shown)
    assert re.fullmatch(r'level = "debug" +# WHATSAPP_LOG_LEVEL', lines["level"])
    assert re.fullmatch(r"enabled = true +# default", lines["enabled"])
    assert "hush" not in shown
    again = tmp_path / "again.toml"
    again.write_text(shown)
    assert run("config", "check", str(again)).exit_code == 0


def test_a_flag_does_not_change_the_settings_it_is_added_to():
    before = Settings()
    after = before.with_flag("server", "port", 1).with_flag("server", "host", "a")
    assert before.flags == {}
    assert after.flags == {"server": {"port": 1, "host": "a"}}


def test_what_is_given_is_known(tmp_path: Path, monkeypatch):
    file = tmp_path / "w.toml"
    file.write_text("[log]\nlevel = 'info'\n")
    monkeypatch.setenv("WHATSAPP_STORAGE_DATA", "/x")
    settings = Settings(file).with_flag("server", "port", 8080)
    assert settings.given("log", "level")
    assert settings.given("storage", "data")
    assert settings.given("server", "port")
    assert not settings.given("server", "host")
