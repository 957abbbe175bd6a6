"""Every story of `stories/` against the real server over real sockets, on every store; on one
of them also over the plain way to read a socket, which promises the same.

How a story is written is said in `language.py`; a bug becomes a story that tells it.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.scripts import steps_rest, steps_socket
from tests.scripts.language import PATTERNS, Story, match, read
from tests.scripts.stage import CLUSTER, LEAN, PLAIN, Failed, Stage
from tests.support.peer import client_session

STORIES = sorted(Path(__file__).with_name("stories").glob("*.txt"))
PLAYS = [
    pytest.param(
        path,
        store,
        reader,
        id=f"{path.stem}-{store}" + ("" if reader == LEAN else f"-{reader}"),
        marks=[pytest.mark.external] if store == CLUSTER else [],
    )
    for path in STORIES
    for store in read(path).stores
    for reader in ([LEAN, PLAIN] if store == "memory" else [LEAN])
]


@pytest.mark.parametrize("path, store, reader", PLAYS)
async def test_story(path: Path, store: str, reader: str, tmp_path: Path) -> None:
    failure = await play(read(path), store, tmp_path / "data", reader=reader)
    if failure is not None:
        pytest.fail(str(failure), pytrace=False)


async def play(story: Story, store: str, data: Path, *, reader: str = LEAN) -> Failed | None:
    async with client_session() as http:
        stage = Stage(story, store, data, http, reader=reader)
        await stage.open()
        try:
            await stage.play()
        except Failed as failure:
            return failure
        finally:
            await stage.leave()
            await stage.close()
    return None


# --- the language itself -------------------------------------------------------------


@pytest.mark.parametrize("path", STORIES, ids=lambda path: path.stem)
def test_every_line_is_of_the_language(path: Path) -> None:
    story = read(path)
    assert story.lines, "an empty story tells nothing"
    for line in story.lines:
        match(line)


def test_every_step_is_used() -> None:
    used = {id(match(line)[0].step) for path in STORIES for line in read(path).lines}
    idle = [one.written for one in PATTERNS if id(one.step) not in used]
    assert not idle
    assert {one.step.__module__ for one in PATTERNS} == {
        steps_rest.__name__,
        steps_socket.__name__,
    }


WRONG = {
    "another text": ('bob gets message 1 "ho" from alice', 'got:      message 1 "hi" from alice'),
    "another seq": ('bob gets message 2 "hi" from alice', 'got:      message 1 "hi" from alice'),
    "not for him": ('carol gets message 1 "hi" from alice', "got:      nothing"),
    "not told": ("nobody gets anything", "got:      something, see alice, bob"),
    "left over": ("carol gets nothing", "got:      something, see alice, bob"),
    "no refusal": ("alice is refused id_reused of m1", "got:      nothing"),
    "another status": ("answer 404 not_found", "got:      200"),
    "another part": (".0.unread is 7", "got:      0"),
    "still there": ("bob is closed 4010 within 1 s", "TimeoutError"),
    "no such step": ("bob jumps", "line 6 is not of the language: bob jumps"),
}


@pytest.mark.parametrize("name", WRONG)
async def test_a_wrong_story_fails_and_says_where(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A story that cannot fail proves nothing."""
    monkeypatch.setattr("tests.support.peer.WAIT_SECONDS", 0.3)
    line, said = WRONG[name]
    path = tmp_path / "wrong.txt"
    path.write_text(
        "# Two who talk.\n"
        "alice, bob and carol are online\n"
        'alice sends "hi" to bob as m1\n'
        "\n"
        "alice calls GET /v1/chats\n"
        f"{line}\n"
    )
    failure = await play(read(path), "memory", tmp_path / "data")
    assert failure is not None
    told = str(failure)
    assert told.startswith("wrong.txt:6 on memory: ")
    assert said in told
    assert "bob (connected) has: " in told
