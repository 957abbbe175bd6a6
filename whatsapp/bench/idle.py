"""`idle`: what a connection costs that is there and says nothing, in memory and in CPU."""

from __future__ import annotations

from whatsapp.bench.figures import Figure, slope
from whatsapp.bench.process import need_files
from whatsapp.bench.scene import Outcome, Scene
from whatsapp.errors import StartupError

CONNECTIONS = 5000
FIRST = 1000
STEPS = 4
REST_SECONDS = 1.5
SPARE_FILES = 70


def run(scene: Scene) -> Outcome:
    """Resident memory at a few numbers of connections; the slope is what each one costs."""
    process = scene.target.process
    if process is None:
        raise StartupError("memory can be measured only by process", "Give the server's --pid.")
    count = scene.plan.count(CONNECTIONS)
    need_files(count + SPARE_FILES)
    peers = [scene.peer(person) for person in scene.people.make(count)]
    first = min(FIRST, count // 2)
    points: list[tuple[float, float]] = []
    connected = 0
    for step in range(STEPS + 1):
        goal = first + (count - first) * step // STEPS
        scene.tell("connecting", connected, count)
        scene.connect(peers[connected:goal])
        connected = goal
        scene.driver.run(REST_SECONDS)
        points.append((goal, process.resident_bytes()))
    meter = scene.meter()
    scene.watched(scene.plan.seconds)
    meter.stop()
    return Outcome(
        about=f"{count:,} connections that say nothing, from {first:,} on",
        figures=[
            Figure(name="memory per connection", value=slope(points) / 1024, unit="KB"),
            *(
                Figure(name=f"memory with {there:,.0f}", value=size / 1024**2, unit="MB")
                for there, size in points
            ),
            *meter.cpu("connection and second", round(count * meter.seconds)),
            *meter.loads(),
        ],
        verdict=scene.verdict(),
        errors=scene.traffic.errors,
    )
