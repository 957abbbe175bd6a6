"""Two devices of the benchmark and a server of doctored frames; and a result, as it prints them."""

from __future__ import annotations

from whatsapp import wire
from whatsapp.bench import figures, frames, report
from whatsapp.bench.driver import Driver, Traffic
from whatsapp.bench.figures import Figure
from whatsapp.bench.ledger import Verdict
from whatsapp.bench.peer import Peer, Place, Sender

RUN = "abc123"
CHAT = "ann:bob"
COUNT = 12


def to_client(*sent: wire.AnyServerFrame) -> bytes:
    """The bytes that a server writes."""
    whole = b""
    for frame in sent:
        payload = wire.encode(frame)
        if len(payload) <= frames.SHORT_BYTES_MAX:
            head = bytes((0x81, len(payload)))
        else:
            head = bytes((0x81, 126)) + len(payload).to_bytes(2, "big")
        whole += head + payload
    return whole


class Stage:
    """Ann sends, bob receives; a server of doctored frames stands between."""

    def __init__(self) -> None:
        self.driver = Driver()
        self.traffic = Traffic(RUN)
        place = Place("127.0.0.1", 1)
        self.ann = Peer(self.driver, self.traffic, place, "token")
        self.bob = Peer(self.driver, self.traffic, place, "token")
        self.bob_line = self.bob.line(CHAT)
        self.sender = Sender(self.ann, self.traffic, self.ann.line(CHAT), b"lorem")
        for _ in range(COUNT):
            self.sender.send(self.driver.now)

    def sent(self, number: int, seq: int) -> wire.Sent:
        return wire.Sent(f"{RUN}-00000{number:08d}", CHAT, seq, 1)

    def message(self, number: int, seq: int) -> wire.Message:
        name = f"{RUN}-00000{number:08d}"
        return wire.Message(
            chat=CHAT, seq=seq, time=1, kind="text", id=name, sender="ann", text="lorem"
        )

    def play(self, answers: list[wire.Sent], pushes: list[wire.Message]) -> Verdict:
        for peer, told in ((self.ann, answers), (self.bob, pushes)):
            peer._handle(to_client(*told))
            peer.close()
        self.driver.close()
        return self.traffic.ledger.judge()


def result(verdict: Verdict, runs: int = 3) -> report.Result:
    measured = [
        [
            Figure(name="messages", value=1000.0 + n, unit="/s"),
            Figure(name="CPU per message", value=100.0, unit="µs"),
            Figure(name="CPU per message, event loop", value=70.0, unit="µs", part=True),
            *figures.times("until `sent`", [0.001 * n for n in range(1, 11)]),
            Figure(name="at half load: messages", value=500.0, unit="/s"),
        ]
        for n in range(runs)
    ]
    return report.Result(
        scenario="direct",
        about="pairs",
        runs=runs,
        figures=figures.spreads(measured),
        verdict=verdict,
    )
