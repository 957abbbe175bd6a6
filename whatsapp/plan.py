"""`whatsapp plan`: how much of everything so many users need, on the back of an envelope.

Plain arithmetic over a table of costs. The costs are in one place, each with its source, and
are replaced by what `whatsapp bench --json` has measured on a machine of yours. With its
defaults it is the size that this server was planned for: 50 million users a day.

What it assumes: users are spread evenly over instances; a group is delivered once to each
other member, sooner or later; nothing is ever deleted.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import replace

from whatsapp.errors import StartupError

DAY_SECONDS = 86_400
YEAR_DAYS = 365
MICRO = 1e-6
KIB = 1024

Share = Annotated[float, Meta(ge=0, le=1)]
Positive = Annotated[float, Meta(gt=0)]


class Wish(Struct, frozen=True, kw_only=True):
    """Who and how much. The defaults are the planning size."""

    daily_users: int = 50_000_000
    messages_per_user: float = 40
    bytes: int = 1000
    group_share: float = 0.4
    group_size: int = 10
    online_share: float = 0.4
    logins_per_user: float = 18
    peak_factor: float = 3
    years: float = 10
    copies: int = 3
    busy_share: float = 0.5
    connections_max: int = 100_000
    shard_tb: float = 4


class Costs(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one of each takes. CPU in µs of one core, sizes in the unit that the name says."""

    message_us: Positive = 91
    delivery_us: Positive = 18
    login_us: Positive = 500
    idle_us: Positive = 2
    route_us: Positive = 8
    hop_us: Positive = 3.6
    connection_kib: Positive = 3.4
    kernel_kib: Positive = 4
    frame_bytes: Positive = 200
    log_bytes: Positive = 450
    search_bytes: Positive = 890
    node_bytes: Positive = 545
    node_write_us: Positive = 16
    shard_inserts: Positive = 10_000


SOURCES = {
    "message_us": "BENCHMARKS.md: direct, with receipt, without the index",
    "delivery_us": "BENCHMARKS.md: a delivery in a room of 100, uvloop",
    "login_us": "BENCHMARKS.md: connect, with a token",
    "idle_us": "`whatsapp bench idle`: a second of one of 5,000",
    "route_us": "measured: one look-up in ZooKeeper of 100 at once",
    "hop_us": "measured: from instance to instance, both sides",
    "connection_kib": "BENCHMARKS.md: resident, 1,000 to 19,930",
    "kernel_kib": "measured: what the kernel keeps for a socket at rest",
    "frame_bytes": "what JSON, WebSocket, TCP and IP add to a text",
    "log_bytes": "measured: SQLite, beside a text (not so MongoDB)",
    "search_bytes": "measured: SQLite, for 1,000 bytes of words",
    "node_bytes": "measured: ZooKeeper 3.8, heap for a small node",
    "node_write_us": "measured: ZooKeeper's CPU, one create of 100 at once",
    "shard_inserts": "assumed: durable inserts/s that a MongoDB shard takes",
}

# Of a document that `whatsapp bench --json` wrote: scenario, figure → what it is here.
BENCH_FIGURES = {
    ("direct", "CPU per message"): "message_us",
    ("direct", "CPU per message without the search index"): "message_us",
    ("group", "CPU per delivery"): "delivery_us",
    ("connect", "CPU per reconnect"): "login_us",
    ("idle", "memory per connection"): "connection_kib",
    ("idle", "CPU per connection and second"): "idle_us",
}


class Load(Struct, frozen=True, kw_only=True):
    """What comes, a second unless the name says otherwise."""

    messages: float
    messages_peak: float
    deliveries: float
    deliveries_peak: float
    logins_peak: float
    connections: float


class Storage(Struct, frozen=True, kw_only=True):
    """Bytes on disk."""

    text_a_day: float
    text: float
    log_and_search: float
    with_copies: float


class Machines(Struct, frozen=True, kw_only=True):
    """What has to be there at the peak."""

    cores_busy: float
    instances: int
    connections_each: float
    memory_each: float
    memory: float
    network_in_bits: float
    network_out_bits: float
    between_bits: float


class Services(Struct, frozen=True, kw_only=True):
    """ZooKeeper and MongoDB."""

    directory_entries: float
    directory_heap: float
    directory_writes: float
    directory_cores: float
    shards_by_size: int
    shards_by_writes: int


class Envelope(Struct, frozen=True, kw_only=True):
    """Everything, as `--json` has it."""

    wish: Wish
    costs: Costs
    load: Load
    storage: Storage
    machines: Machines
    services: Services


def reckon(wish: Wish, costs: Costs) -> Envelope:
    """The whole envelope."""
    load = _load(wish)
    storage = _storage(wish, costs)
    return Envelope(
        wish=wish,
        costs=costs,
        load=load,
        storage=storage,
        machines=_machines(wish, costs, load),
        services=_services(wish, costs, load, storage),
    )


def read_costs(file: Path) -> tuple[Costs, dict[str, str]]:
    """Costs from a file: `{"message_us": …}`, or what `whatsapp bench --json` wrote.

    And the sources of all costs. What the file does not say keeps its default.
    """
    try:
        found: Any = msgspec.json.decode(file.read_bytes())
        if not isinstance(found, dict):
            raise TypeError("a JSON object is expected")  # noqa: TRY301 — told with the others
        measured = dict(_measured(found)) if "scenarios" in found else found
        costs = msgspec.convert({**msgspec.to_builtins(Costs()), **measured}, Costs)
    except OSError as error:
        raise StartupError(f"{file}: cannot be read: {error.strerror}", "Name a file.") from None
    except (msgspec.MsgspecError, KeyError, TypeError) as error:
        raise StartupError(
            f"{file}: no costs in it: {error}",
            "Make one: whatsapp bench --calibrate FILE.",
        ) from None
    return costs, {**SOURCES, **dict.fromkeys(measured, str(file))}


def _measured(document: dict[str, Any]) -> Iterator[tuple[str, float]]:
    for result in document["scenarios"]:
        for figure in result["figures"]:
            name = BENCH_FIGURES.get((result["scenario"], figure["name"]))
            # Too few connections to see what one of them takes: no figure.
            if name and figure["median"] > 0:
                yield name, figure["median"]


def _load(wish: Wish) -> Load:
    messages = wish.daily_users * wish.messages_per_user / DAY_SECONDS
    to_each = 1 - wish.group_share + wish.group_share * (wish.group_size - 1)
    deliveries = messages * to_each
    logins = wish.daily_users * wish.logins_per_user / DAY_SECONDS
    return Load(
        messages=messages,
        messages_peak=messages * wish.peak_factor,
        deliveries=deliveries,
        deliveries_peak=deliveries * wish.peak_factor,
        logins_peak=logins * wish.peak_factor,
        connections=wish.daily_users * wish.online_share,
    )


def _storage(wish: Wish, costs: Costs) -> Storage:
    count = wish.daily_users * wish.messages_per_user
    days = wish.years * YEAR_DAYS
    search = costs.search_bytes * wish.bytes / 1000
    all_of_it = count * days * (wish.bytes + costs.log_bytes + search)
    return Storage(
        text_a_day=count * wish.bytes,
        text=count * days * wish.bytes,
        log_and_search=all_of_it,
        with_copies=all_of_it * wish.copies,
    )


def _machines(wish: Wish, costs: Costs, load: Load) -> Machines:
    # A direct message's cost has its one delivery in it.
    further = max(0.0, load.deliveries_peak - load.messages_peak)
    cores = MICRO * (
        load.messages_peak * (costs.message_us + costs.route_us)
        + further * costs.delivery_us
        + load.deliveries_peak * costs.hop_us
        + load.logins_peak * costs.login_us
        + load.connections * costs.idle_us
    )
    by_cores, by_connections = cores / wish.busy_share, load.connections / wish.connections_max
    instances = max(1, _ceil(max(by_cores, by_connections)))
    memory = load.connections * (costs.connection_kib + costs.kernel_kib) * KIB
    frame = (wish.bytes + costs.frame_bytes) * 8
    alone = instances == 1
    return Machines(
        cores_busy=cores,
        instances=instances,
        connections_each=load.connections / instances,
        memory_each=memory / instances,
        memory=memory,
        network_in_bits=load.messages_peak * frame + load.deliveries_peak * costs.frame_bytes * 8,
        network_out_bits=load.deliveries_peak * frame + load.messages_peak * costs.frame_bytes * 8,
        between_bits=0.0 if alone else load.deliveries_peak * frame,
    )


def _services(wish: Wish, costs: Costs, load: Load, storage: Storage) -> Services:
    writes = 2 * load.logins_peak  # who comes goes again
    return Services(
        directory_entries=load.connections,
        directory_heap=load.connections * costs.node_bytes,
        directory_writes=writes,
        directory_cores=writes * costs.node_write_us * MICRO,
        shards_by_size=_ceil(storage.log_and_search / (wish.shard_tb * 1e12)),
        shards_by_writes=_ceil(load.messages_peak / costs.shard_inserts),
    )


def _ceil(value: float) -> int:
    return int(-(-value // 1))


def lines(envelope: Envelope, sources: dict[str, str], *, costs: bool) -> Iterator[str]:
    """For a terminal: one screen, and the costs with their sources where they are wanted."""
    wish = envelope.wish
    yield (
        f"{wish.daily_users:,} users a day, {wish.messages_per_user:g} messages each of"
        f" {wish.bytes:,} bytes"
    )
    yield (
        f"{wish.group_share:.0%} of them to groups of {wish.group_size},"
        f" {wish.online_share:.0%} of the users online, peak {wish.peak_factor:g} times average"
    )
    for title, rows in _tables(envelope):
        yield ""
        yield title
        for name, value, note in rows:
            yield f"  {name:<32}{value:>14}  {note}".rstrip()
    yield ""
    if not costs:
        yield "Rough by nature: good to a factor of two. --show-costs says what it rests on."
        return
    yield "Costs"
    for name, value in msgspec.to_builtins(envelope.costs).items():
        yield f"  {name:<15}{_plain(value):>7}  {sources[name]}"


def _tables(envelope: Envelope) -> Iterator[tuple[str, list[tuple[str, str, str]]]]:
    wish, load, storage = envelope.wish, envelope.load, envelope.storage
    machines, services = envelope.machines, envelope.services
    between, busy = machines.between_bits, machines.cores_busy / machines.instances
    copies = f"{wish.copies} copies" if wish.copies > 1 else "1 copy"
    yield (
        "Load",
        [
            ("messages, average", _rate(load.messages), ""),
            ("messages, peak", _rate(load.messages_peak), ""),
            ("deliveries, average", _rate(load.deliveries), "to each other one of a chat"),
            ("deliveries, peak", _rate(load.deliveries_peak), ""),
            ("logins, peak", _rate(load.logins_peak), f"{wish.logins_per_user:g} a user a day"),
            ("open connections", f"{load.connections:,.0f}", ""),
        ],
    )
    yield (
        "Storage",
        [
            ("texts a day", _bytes(storage.text_a_day), ""),
            (f"texts in {wish.years:g} years", _bytes(storage.text), ""),
            ("with rows, indexes, search", _bytes(storage.log_and_search), "one copy"),
            ("on disk in all", _bytes(storage.with_copies), copies),
        ],
    )
    yield (
        "Instances (one core each), at the peak",
        [
            ("cores busy", _plain(machines.cores_busy), ""),
            (
                "instances",
                f"{machines.instances:,}",
                f"each {busy:.0%} busy ({wish.busy_share:.0%} at most)",
            ),
            (
                "connections on each",
                f"{machines.connections_each:,.0f}",
                f"{wish.connections_max:,} at most",
            ),
            ("memory for them on each", _memory(machines.memory_each), "kernel's share too"),
            ("network in / out", _pair(machines.network_in_bits, machines.network_out_bits), ""),
            *([("between instances", _bits(between), "at most")] if between else []),
        ],
    )
    if machines.instances == 1:
        yield "Services", [("none", "", "one instance with SQLite")]
        return
    by_size, by_writes = services.shards_by_size, services.shards_by_writes
    why = f"{wish.shard_tb:g} TB each; by writes {by_writes:,}"
    yield (
        "Services",
        [
            ("ZooKeeper entries", f"{services.directory_entries:,.0f}", "one an online user"),
            ("ZooKeeper heap", _memory(services.directory_heap), "on each server of it"),
            ("ZooKeeper writes, peak", _rate(services.directory_writes), _cores(services)),
            ("MongoDB shards", f"{max(by_size, by_writes):,}", why),
        ],
    )


def _cores(services: Services) -> str:
    return f"{services.directory_cores:.1f} cores, in batches"


def _plain(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"  # noqa: PLR2004


def _rate(value: float) -> str:
    return f"{value:,.{0 if value >= 10 else 2}f} /s"  # noqa: PLR2004


def _scaled(value: float, step: int, units: str, unit: str) -> str:
    prefix = ""
    for larger in units:
        if value < step:
            break
        value, prefix = value / step, larger
    return f"{value:,.{0 if value >= 100 or not prefix else 1}f} {prefix}{unit}"  # noqa: PLR2004


def _bytes(value: float) -> str:
    return _scaled(value, 1000, "kMGTPE", "B")


def _bits(value: float) -> str:
    return _scaled(value, 1000, "kMGTPE", "bit/s")


def _pair(one: float, other: float) -> str:
    return f"{_bits(one).removesuffix('bit/s')}/ {_bits(other)}"


def _memory(value: float) -> str:
    return _scaled(value, 1024, "KMGTP", "iB").replace(" iB", " B")


def as_json(envelope: Envelope) -> str:
    return msgspec.json.format(msgspec.json.encode(envelope), indent=2).decode()


def with_options(**options: Any) -> Wish:
    """The defaults, but for what was said (None: nothing was)."""
    return replace(Wish(), **{name: value for name, value in options.items() if value is not None})
