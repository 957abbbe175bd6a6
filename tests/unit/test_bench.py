"""The benchmark: what it checks, what it computes, what it prints; and a short real one."""

from __future__ import annotations

import contextlib
import json
import math
import os
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest

from tests.support.command import ROOT, refused, run
from tests.support.doctored import CHAT, COUNT, RUN, Stage, result, to_client
from whatsapp import __version__, wire
from whatsapp.bench import filling, frames, report, scene
from whatsapp.bench.driver import Traffic
from whatsapp.bench.figures import Figure, percentile, slope, spreads
from whatsapp.bench.ledger import Ledger, Verdict
from whatsapp.bench.meter import Meter
from whatsapp.bench.peer import Place
from whatsapp.bench.process import SQLITE_THREADS, Process, need_files
from whatsapp.bench.scene import Plan, Schedule, _sources
from whatsapp.bench.server import Pauses, at, described, served
from whatsapp.errors import StartupError
from whatsapp.plan import read_costs

pytestmark = pytest.mark.usefixtures("home")


# --- the checker -----------------------------------------------------------------------


@pytest.fixture
def stage():
    return Stage()


@pytest.fixture
def answers(stage):
    return [stage.sent(n, n + 1) for n in range(COUNT)]


@pytest.fixture
def pushes(stage):
    return [stage.message(n, n + 1) for n in range(COUNT)]


def test_a_good_server_passes(stage, answers, pushes):
    verdict = stage.play(answers, pushes)
    assert verdict.good
    assert (verdict.acknowledged, verdict.received) == (COUNT, COUNT)


@pytest.mark.parametrize("index", [0, 5, COUNT - 1])
def test_a_lost_message_is_found(stage, answers, pushes, index):
    del pushes[index]
    verdict = stage.play(answers, pushes)
    assert (verdict.lost, verdict.doubled, verdict.misordered) == (1, 0, 0)
    assert not verdict.good


@pytest.mark.parametrize("index", [0, 5, COUNT - 1])
def test_a_message_that_is_pushed_twice_is_found(stage, answers, pushes, index):
    pushes.insert(index, pushes[index])
    verdict = stage.play(answers, pushes)
    assert (verdict.lost, verdict.doubled, verdict.misordered) == (0, 1, 0)
    assert not verdict.good


def test_a_message_that_is_stored_twice_is_found(stage, answers, pushes):
    pushes.append(stage.message(COUNT - 1, COUNT + 1))
    verdict = stage.play(answers, pushes)
    assert verdict.doubled == 1
    assert not verdict.good


@pytest.mark.parametrize("index", [0, 5, COUNT - 2])
def test_messages_in_wrong_order_are_found(stage, answers, pushes, index):
    pushes[index], pushes[index + 1] = pushes[index + 1], pushes[index]
    verdict = stage.play(answers, pushes)
    assert (verdict.lost, verdict.doubled) == (0, 0)
    assert verdict.misordered
    assert not verdict.good


def test_seqs_that_are_not_the_senders_order_are_found(stage, answers, pushes):
    """Seqs ascend at everybody, but the store has them the other way round."""
    answers[3], answers[4] = stage.sent(3, 5), stage.sent(4, 4)
    pushes[3], pushes[4] = stage.message(4, 4), stage.message(3, 5)
    verdict = stage.play(answers, pushes)
    assert verdict.misordered
    assert not verdict.good


def test_another_place_than_the_sender_was_told_is_found(stage, answers, pushes):
    answers[3], answers[4] = stage.sent(3, 5), stage.sent(4, 4)
    assert not stage.play(answers, pushes).good


def test_a_hole_is_found(stage, answers, pushes):
    answers[-1], pushes[-1] = stage.sent(COUNT - 1, COUNT + 1), stage.message(COUNT - 1, COUNT + 1)
    assert stage.play(answers, pushes).lost


def test_a_time_in_which_nothing_was_acknowledged_is_no_success(monkeypatch):
    monkeypatch.setattr(scene, "WARM_UP_SECONDS", 0.01)
    target, places = at("http://127.0.0.1:1", None), [Place("127.0.0.1", 1)] * 2
    made = scene.Scene(Plan(), target, lambda *_: None, places=places)
    with contextlib.closing(made) as silent:
        silent.closed_loop([], 0.05)
        assert not silent.verdict().good
        assert silent.traffic.errors == ["nothing was acknowledged in 0.05 s: see --seconds"]


def test_an_error_is_no_success(stage, answers, pushes):
    stage.ann._handle(to_client(wire.Error("busy", "later", retryable=True)))
    assert stage.play(answers, pushes).errors == 1
    assert "busy" in stage.traffic.errors[0]


def test_a_catch_up_counts_like_live_messages(stage, answers, pushes):
    items = [
        wire.Item(**{k: v for k, v in msgspec.structs.asdict(push).items() if k != "type"})
        for push in pushes
    ]
    stage.bob._handle(to_client(wire.Messages(CHAT, items[:5])))
    stage.bob._handle(to_client(*pushes[5:]))
    verdict = stage.play(answers, [])
    assert verdict.good
    assert verdict.received == COUNT


def test_a_devices_own_messages_are_no_deliveries(stage, pushes):
    """They come with a catch-up; counted, a run would be over before all has arrived."""
    fields = msgspec.structs.asdict(pushes[0])
    item = wire.Item(**{k: v for k, v in fields.items() if k != "type"})
    stage.ann._handle(to_client(wire.Messages(CHAT, [item]), pushes[1]))
    assert stage.traffic.delivered == 0
    stage.bob._handle(to_client(wire.Messages(CHAT, [item]), pushes[1]))
    assert stage.traffic.delivered == 2


def test_what_was_not_told_as_received_may_come_again_on_a_new_connection():
    ledger = Ledger()
    record = ledger.record(CHAT)
    ledger.record(CHAT).acknowledged(1, 0)
    ledger.record(CHAT).acknowledged(2, 1)
    record.pushed(1, 0)
    record.leaving()
    record.pushed(2, 1)
    record.reconnected()
    record.pushed(2, 1)
    assert [len(record.seqs), ledger.judge().doubled] == [2, 0]
    record.pushed(1, 0)
    assert ledger.judge().doubled == 1


def test_random_damage_never_passes():
    chance = random.Random(5)
    for _ in range(100):
        stage = Stage()
        answers = [stage.sent(n, n + 1) for n in range(COUNT)]
        pushes = [stage.message(n, n + 1) for n in range(COUNT)]
        damaged = pushes[:]
        for _ in range(chance.randint(1, 3)):
            match chance.randrange(3):
                case 0:
                    del damaged[chance.randrange(len(damaged))]
                case 1:
                    damaged.insert(chance.randrange(len(damaged)), chance.choice(pushes))
                case _:
                    chance.shuffle(damaged)
        assert stage.play(answers, damaged).good == (damaged == pushes)


# --- frames --------------------------------------------------------------------------------


def unmasked(data: bytes) -> bytes:
    """The payload of one client frame; its head must say how long it is."""
    assert data[0] == frames.TEXT
    length, start = data[1] & 0x7F, 2
    assert data[1] & 0x80
    if length == frames.LENGTH_16_BITS:
        length, start = int.from_bytes(data[2:4], "big"), 4
    assert data[start : start + 4] == frames.NO_KEY
    assert len(data) == start + 4 + length
    return data[start + 4 :]


@pytest.mark.parametrize("count", [1, 60, 1000, 16_384])
def test_prepared_frames_are_what_the_server_decodes(count):
    template = frames.Template(RUN, 7, CHAT, frames.text(count))
    for number in (0, 12_345_678):
        sent = wire.decode(unmasked(template.frame(number)))
        assert isinstance(sent, wire.Send)
        assert sent.id == f"{RUN}-00007{number:08d}"
        assert (sent.chat, len(sent.text)) == (CHAT, count)
    acks = frames.Acks(CHAT)
    for seq in (1, 99, 123_456_789):
        assert wire.decode(unmasked(acks.frame(seq))) == wire.Received(CHAT, seq)
    assert wire.decode(unmasked(frames.Acks(CHAT, "read").frame(3))) == wire.Read(CHAT, 3)


def test_frames_are_split_wherever_the_bytes_are_cut():
    whole = to_client(*[Stage().message(n, n + 1) for n in range(3)], wire.Synced())
    for cut in range(len(whole)):
        found: list[tuple[int, bytes]] = []
        rest = frames.split(whole[:cut], found)
        assert frames.split(rest + whole[cut:], found) == b""
        assert [frames.kind(payload) for _, payload in found] == [b"message"] * 3 + [b"synced"]


def test_members_are_found_in_bytes():
    scanner = frames.Scanner(RUN)
    payload = wire.encode(Stage().message(42, 1_000_007))
    assert (scanner.seq(payload), scanner.key(payload)) == (1_000_007, frames.key(0, 42))
    event = wire.encode(wire.Message(chat=CHAT, seq=9, time=1, kind="joined", sender="ann"))
    assert (scanner.seq(event), scanner.key(event)) == (9, frames.NO_KEY_OF_OURS)


# --- numbers -------------------------------------------------------------------------------


def test_percentiles():
    ordered = [float(n) for n in range(1, 101)]
    assert [percentile(ordered, p) for p in (50, 90, 99, 99.9, 100)] == [50, 90, 99, 100, 100]
    assert percentile([3.0], 99.9) == 3.0
    assert math.isnan(percentile([], 50))


def test_the_slope_is_what_one_more_costs():
    assert slope([(1000, 50_000), (2000, 60_000), (3000, 70_000)]) == pytest.approx(10)


def test_median_and_spread_of_runs():
    runs = [[Figure(name="rate", value=value, unit="/s")] for value in (5.0, 1.0, 3.0)]
    [spread] = spreads(runs)
    assert (spread.median, spread.low, spread.high) == (3.0, 1.0, 5.0)


def test_arrivals_do_not_wait_for_answers():
    class Mute:
        began: list[float]

        def __init__(self) -> None:
            self.began, self.peer = [], self
            self.ended = False

        def send(self, at: float) -> None:
            self.began.append(at)

        def flush(self) -> None:
            pass

    senders = [Mute(), Mute()]
    schedule = Schedule(cast("Any", senders), 10.0, 100.0)
    assert schedule.arrive(100.0) == pytest.approx(0.1)
    # The loop was away for a second: each message counts from when it was due.
    schedule.arrive(101.05)
    assert senders[0].began + senders[1].began == pytest.approx(
        [100.0, 100.2, 100.4, 100.6, 100.8, 101.0, 100.1, 100.3, 100.5, 100.7, 100.9]
    )


def test_words_are_different_and_plain():
    words = [filling.word(rank) for rank in range(3000)]
    assert len(set(words)) == 3000
    assert all(word.isalpha() and word.isascii() for word in words)


# --- processes ---------------------------------------------------------------------------


def test_cpu_and_memory_of_a_process():
    process = Process(os.getpid(), SQLITE_THREADS)
    before = process.cpu_seconds()
    end = time.process_time() + 0.1
    while time.process_time() < end:
        pass
    assert 0.05 < process.cpu_seconds() - before < 5
    assert process.cpu_by_thread()["event loop"] > 0
    assert process.resident_bytes() > 10**6


def test_a_process_that_is_not_there():
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        child.wait()
    with pytest.raises(StartupError, match="no process"):
        Process(child.pid)


def test_too_many_connections_are_refused_before_anything_begins():
    with pytest.raises(StartupError, match="open files"):
        need_files(10**9)


@pytest.mark.parametrize(
    "host, count, sources",
    [
        ("127.0.0.1", 200, ()),
        ("192.0.2.1", 28_000, ()),
        ("127.0.0.1", 50_000, ("127.0.0.1", "127.0.0.2")),
    ],
)
def test_a_second_address_where_one_has_not_ports_enough(host, count, sources):
    assert _sources(host, count) == sources


def test_only_the_loopback_has_a_second_address():
    with pytest.raises(StartupError, match="ports"):
        _sources("192.0.2.1", 50_000)


# --- the report ----------------------------------------------------------------------------


def test_the_table():
    lines = list(report.table(result(Verdict(acknowledged=5, received=5))))
    assert lines[1] == "direct: pairs; median of 3 runs (least to greatest)"
    text = "\n".join(" ".join(line.split()) for line in lines)
    assert "messages 1,001 /s (1,000 to 1,002)" in text
    assert "\nevent loop 70.0 µs" in text
    assert "until `sent`, p50/p90/p99/p99.9 5.00 / 9.00 / 10.0 / 10.0 ms" in text
    assert "at half load:\nmessages 500.0 /s" in text
    assert "lost 0, doubled 0, misordered 0" in lines[-1]


def test_a_failure_is_said_last():
    lines = list(report.table(result(Verdict(lost=1, received=1), runs=1)))
    assert lines[-1].startswith("  FAILED")


def test_the_document():
    document = json.loads(report.as_json(report.Setting(), [result(Verdict(lost=1))]))
    assert document["passed"] is False
    assert document["scenarios"][0]["figures"][0]["median"] == 1001.0


def test_secrets_are_not_printed(monkeypatch):
    monkeypatch.setenv("WHATSAPP_STORAGE_URL", "db://me:secret@host")
    monkeypatch.setenv("WHATSAPP_SERVER_PORT", "1")
    assert report.environment() == {
        "WHATSAPP_SERVER_PORT": "1",
        "WHATSAPP_STORAGE_URL": "********",
    }


def test_pauses_of_the_collector_between_two_looks():
    before = Pauses(1.0, ((0.001, 5), (0.01, 5), (math.inf, 5)))
    after = Pauses(1.5, ((0.001, 6), (0.01, 9), (math.inf, 9)))
    assert after.since(before) == (0.5, 0.01)
    assert after.since(Pauses()) == (1.5, 0.01)
    assert after.since(after) == (0.0, 0.0)
    assert Pauses().since(Pauses()) == (0.0, 0.0)


def test_a_busy_generator_is_told():
    meter = Meter(Traffic(RUN), None)
    meter.stop()
    meter.seconds, meter.generator_seconds = 1.0, 0.9
    assert "90%" in meter.warnings()[0]
    meter.generator_seconds = 0.3
    assert meter.warnings() == []


# --- the command ---------------------------------------------------------------------------


def test_an_unknown_scenario_is_wrong_usage():
    assert "teleport" in refused("bench", "teleport", code=2)[0]


@pytest.mark.parametrize("url", ["https://127.0.0.1:1", "chat.example", "http://"])
def test_a_url_must_be_plain_http(url):
    with pytest.raises(StartupError, match="not what"):
        at(url, None)


@pytest.mark.parametrize("scenario", ["ready", "search"])
def test_what_needs_a_server_of_its_own(scenario):
    cause, _ = refused("bench", scenario, "--url", "http://127.0.0.1:9", code=1)
    assert "of its own" in cause or "127.0.0.1:9" in cause


def test_a_folder_with_something_else_in_it_is_left_alone(tmp_path):
    (tmp_path / "mine").touch()
    with pytest.raises(StartupError, match="something else"):
        filling.fill(tmp_path, filling.Wish.of(Plan(messages=1)), lambda *_: None)


def test_a_short_real_one(tmp_path):
    file = tmp_path / "results.json"
    found = run(
        *("bench", "direct", "group", "--store", "memory", "--connections", "4", "--members", "4"),
        *("--seconds", "0.5", "--runs", "1", "--json", str(file)),
    )
    assert found.exit_code == 0, found.output
    assert "lost 0, doubled 0, misordered 0" in found.stdout
    document = json.loads(file.read_bytes())
    assert document["passed"] is True
    names = {spread["name"] for spread in document["scenarios"][0]["figures"]}
    assert {"messages", "CPU per message", "until `sent`, p99.9", "generator"} <= names


def test_what_it_calibrates_is_what_the_plan_reckons_with(tmp_path):
    file = tmp_path / "costs.json"
    found = run(
        *("bench", "--store", "memory", "--connections", "4", "--members", "4"),
        *("--seconds", "0.5", "--calibrate", str(file)),
    )
    assert found.exit_code == 0, found.output
    assert f"whatsapp plan --costs {file}" in found.stdout
    scenarios = json.loads(file.read_bytes())["scenarios"]
    assert [scenario["runs"] for scenario in scenarios] == [1, 1, 1, 1]
    figures = {s["scenario"]: {f["name"]: f["median"] for f in s["figures"]} for s in scenarios}
    costs, sources = read_costs(file)
    assert costs.message_us == figures["direct"]["CPU per message"]
    assert costs.delivery_us == figures["group"]["CPU per delivery"]
    assert costs.login_us == figures["connect"]["CPU per reconnect"]
    assert costs.idle_us == figures["idle"]["CPU per connection and second"]
    assert sources["message_us"] == str(file)
    said = json.loads(run("plan", "--costs", str(file), "--json").stdout)
    assert said["costs"]["login_us"] == costs.login_us


@pytest.mark.parametrize("more", [["direct"], ["--json", "x"], ["--url", "http://127.0.0.1:9"]])
def test_calibrating_has_its_own_scenarios(more, tmp_path):
    assert "goes without" in refused("bench", "--calibrate", str(tmp_path / "x"), *more, code=2)[0]


def test_the_server_ends_with_its_context():
    with pytest.raises(RuntimeError), served("memory", core=None) as target:
        assert described(target) == (__version__, "memory")
        assert isinstance(target.process, Process)
        pid = target.process.pid
        raise RuntimeError
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_filling_makes_a_store_that_can_be_searched(tmp_path):
    wish = filling.Wish(messages=300, chats=5, text_bytes=60)
    filling.fill(tmp_path / "data", wish, lambda *_: None)
    filled = filling.read(tmp_path / "data")
    assert len(filled.chats) == 5
    # Once filled, it is taken as it is; or refused where something else was wanted.
    filling.fill(tmp_path / "data", wish, lambda *_: None)
    with pytest.raises(StartupError, match="another way"):
        filling.fill(tmp_path / "data", msgspec.structs.replace(wish, chats=6), lambda *_: None)


def test_other_scenarios_write_to_a_filled_store_and_to_no_other(tmp_path):
    folder = tmp_path / "data"
    cause, cure = refused("bench", "direct", "--data", str(folder), code=1)
    assert "was not filled" in cause
    assert "bench search" in cure
    for names in ([], ["direct", "search"]):
        cause, _ = refused("bench", *names, "--data", str(folder), code=1)
        assert "was not filled" in cause
    cause, _ = refused("bench", "direct", "--data", str(folder), "--store", "memory", code=1)
    assert "SQLite" in cause
    filling.fill(folder, filling.Wish(messages=300, chats=5, text_bytes=60), lambda *_: None)
    before = (folder / "messages.db").stat().st_size
    found = run(
        *("bench", "direct", "--data", str(folder), "--connections", "2"),
        *("--seconds", "0.5", "--runs", "1"),
    )
    assert found.exit_code == 0, found.output
    assert (folder / "messages.db").stat().st_size > before


def test_no_server_is_left_when_it_is_told_to_end():
    command = [sys.executable, "-m", "whatsapp", "bench", "direct", "--store", "memory"]
    with subprocess.Popen(
        [*command, "--connections", "2", "--seconds", "60"], cwd=ROOT, stdout=subprocess.DEVNULL
    ) as process:
        child = 0
        end = time.monotonic() + 30
        while not child and time.monotonic() < end:
            time.sleep(0.1)
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
            child = int((children.read_text("ascii").split() or ["0"])[0])
        time.sleep(0.5)
        process.terminate()
        assert process.wait(30) == 128 + 15
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)
