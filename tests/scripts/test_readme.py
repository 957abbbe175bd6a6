"""The README says what is true: its commands are run, its bot is started, its lists compared."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from pathlib import Path

from tests.support.command import serving
from tests.support.need import need
from whatsapp.client import Client

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
TARGETS = [
    "setup",
    "run",
    "test",
    "check",
    "lint",
    "format",
    "types",
    "bench",
    "services",
    "cluster",
    "fuzz",
    "clean",
]


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


def conversation(port: int) -> str:
    [script] = [block for block in blocks("sh") if "websocat" in block]
    return script.replace("8080", str(port))


def objects(text: str) -> list[object]:
    """The JSON values that are printed one after the other."""
    found, at = [], 0
    while start := re.compile(r"\S").search(text, at):
        value, at = json.JSONDecoder().raw_decode(text, start.start())
        found.append(value)
    return found


def test_the_conversation_by_copy_and_paste(tmp_path: Path) -> None:
    websocat = need("websocat")
    need("curl")
    path = f"{Path(websocat).parent}:{os.environ['PATH']}"
    with serving("--port", "0", home=tmp_path) as server:
        ran = subprocess.run(
            [need("bash"), "-euo", "pipefail", "-c", conversation(int(server.url.split(":")[-1]))],
            capture_output=True,
            text=True,
            timeout=60,
            env={**os.environ, "PATH": path},
            check=False,
        )
    assert ran.returncode == 0, ran.stderr
    said = [value for value in objects(ran.stdout) if isinstance(value, dict)]
    frames = [value["type"] for value in said if "type" in value]
    assert frames[:3] == ["welcome", "synced", "sent"]
    assert "messages" in frames
    assert not [value for value in said if "code" in value]
    [history] = [value for value in said if "more" in value and "messages" in value]
    assert [message["text"] for message in history["messages"]] == ["Are you there?", "I am."]
    [search] = [value for value in said if "results" in value]
    assert [hit["message"]["text"] for hit in search["results"]] == ["Are you there?"]
    [group] = [value for value in said if value.get("kind") == "group"]
    assert group["title"] == "Boats"


async def test_the_echo_bot(tmp_path: Path) -> None:
    [bot] = blocks("python")
    example = (ROOT / "tests" / "support" / "echo_bot.py").read_text(encoding="utf-8")
    assert example.partition("import asyncio")[2] == bot.partition("import asyncio")[2]
    with serving("--port", "0", home=tmp_path) as server:
        program = bot.replace("http://127.0.0.1:8080", server.url)
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", program, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}
        )
        try:
            async with Client(server.url) as me:
                await me.login("ann", "a long road home", register=True)
                async with asyncio.timeout(30):
                    await answered(me, "echo", "hello?")
        finally:
            process.kill()
            await process.wait()


async def answered(me: Client, bot: str, text: str) -> None:
    """The bot may not have registered yet: then there is no such user, for a moment."""
    while bot not in [found.user for found in await me.users(bot)]:
        await asyncio.sleep(0.2)
    await me.send(bot, text)
    async for message in me.messages():
        if message.sender == bot:
            assert message.text == text
            return


def test_make_help_lists_every_target() -> None:
    listed = subprocess.run(
        [need("make"), "help"], cwd=ROOT, capture_output=True, text=True, timeout=30, check=True
    ).stdout
    for target in TARGETS:
        assert re.search(rf"^ *make {target} ", listed, re.MULTILINE), target


def test_the_commands_for_operators_exist(tmp_path: Path) -> None:
    [block] = [block for block in blocks("sh") if "doctor" in block]
    for line in block.splitlines():
        words = line.partition("#")[0].split()
        command = [word for word in words[1:] if not word.startswith(("-", "/", "0", "8", "dora"))]
        ran = subprocess.run(
            [sys.executable, "-m", "whatsapp", *command, "--help"],
            cwd=ROOT,
            capture_output=True,
            timeout=30,
            check=False,
            env={**os.environ, "HOME": str(tmp_path)},
        )
        assert ran.returncode == 0, line
