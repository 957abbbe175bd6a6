"""Every option, its type and its default: here and nowhere else.

A flag beats a `WHATSAPP_…` environment variable, which beats the TOML file, which beats
the defaults. The variable of `[section] option` is `WHATSAPP_SECTION_OPTION`; the rule is
mechanical. `config.example.toml` spells all of this out, and a test keeps it equal.

A component receives its own section or plain numbers, never the whole `Config`.
"""

from __future__ import annotations

import ipaddress
import os
import re
import sys
import tomllib
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import msgspec
from msgspec import Meta, Struct, field

from whatsapp.errors import StartupError
from whatsapp.model import FRAME_BYTES_MAX, TEXT_BYTES_MAX


def default_data_folder() -> str:
    """Where data goes when nobody says: the platform's place for a user's application data."""
    if sys.platform == "darwin":
        return str(Path("~/Library/Application Support/whatsapp").expanduser())
    base = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    return str(Path(base, "whatsapp").expanduser())


Count = Annotated[int, Meta(ge=1, le=1_000_000_000)]
Seconds = Annotated[float, Meta(gt=0, le=86_400)]
Days = Annotated[float, Meta(gt=0, le=36_500)]
Rate = Annotated[float, Meta(gt=0, le=1e9)]


class Section(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of the file."""


class Server(Section, frozen=True):
    """The address, and how a socket is treated."""

    host: Annotated[str, Meta(min_length=1)] = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65_535)] = 8080
    # The next free port, up to this many further, is taken where the port was not asked for.
    port_tries: Annotated[int, Meta(ge=0, le=1000)] = 20
    allowed_origins: tuple[str, ...] = ()
    trusted_proxies: tuple[str, ...] = ()
    reader: Literal["lean", "plain"] = "lean"
    heartbeat_seconds: Annotated[float, Meta(ge=1, le=3600)] = 30.0
    hello_timeout_seconds: Seconds = 5.0
    close_timeout_seconds: Seconds = 2.0
    drain_timeout_seconds: Seconds = 8.0
    unauthenticated_connections_max: Count = 1024
    unauthenticated_per_address_max: Count = 256


class Storage(Section, frozen=True):
    """Where messages are kept."""

    backend: Literal["sqlite", "memory", "mongo"] = "sqlite"
    data: str = ""
    url: str = "mongodb://127.0.0.1:27017"
    database: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,38}$")] = "whatsapp"
    driver: Literal["motor", "pymongo"] = "motor"
    timeout_seconds: Seconds = 5.0
    keep_days: Annotated[int, Meta(ge=0, le=36_500)] = 0


class DirectorySection(Section, frozen=True):
    """Who knows which user is on which instance."""

    backend: Literal["memory", "zookeeper"] = "memory"
    instance: Annotated[str, Meta(pattern=r"^(?!\.{1,2}$)[A-Za-z0-9._-]{0,64}$")] = ""
    hosts: str = "127.0.0.1:2181"
    root: Annotated[str, Meta(pattern=r"^(/(?!\.{1,2}(/|$))[A-Za-z0-9._-]+)+$")] = "/whatsapp"
    user: Annotated[str, Meta(pattern=r"^[A-Za-z0-9._-]{0,64}$")] = "whatsapp"
    password: str = ""
    session_timeout_seconds: Annotated[float, Meta(ge=2, le=60)] = 6.0


class Cluster(Section, frozen=True):
    """The links between instances."""

    secret: str = ""
    host: Annotated[str, Meta(min_length=1)] = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65_535)] = 0
    address: str = ""
    tls_certificate: str = ""
    tls_key: str = ""
    tls_authority: str = ""
    queue_bytes_max: Annotated[int, Meta(ge=1_048_576)] = 8_388_608


class Auth(Section, frozen=True):
    """Accounts, logins, passwords."""

    registration: Literal["open", "invite", "closed"] = "open"
    invite_codes: tuple[str, ...] = ()
    # Eight at least is what the protocol promises to everybody's users.
    password_characters_min: Annotated[int, Meta(ge=8, le=1024)] = 8
    password_memory_kib: Annotated[int, Meta(ge=1024, le=4_194_304)] = 47_104
    password_workers: Annotated[int, Meta(ge=1, le=64)] = 2
    password_queue_max: Count = 64
    token_idle_days: Days = 30.0
    token_absolute_days: Days = 180.0
    failures_free: Annotated[int, Meta(ge=0, le=1000)] = 5
    failure_delay_seconds_max: Annotated[float, Meta(ge=0, le=86_400)] = 900.0
    devices_per_user_max: Count = 32


class Limits(Section, frozen=True):
    """What one client, one group, one moment may take."""

    text_bytes_max: Annotated[int, Meta(ge=1, le=TEXT_BYTES_MAX)] = TEXT_BYTES_MAX
    frame_bytes_max: Annotated[int, Meta(ge=1024, le=FRAME_BYTES_MAX)] = FRAME_BYTES_MAX
    window_messages: Annotated[int, Meta(ge=1, le=100_000)] = 512
    group_members_max: Annotated[int, Meta(ge=1, le=100_000)] = 1024
    outbox_bytes_max: Annotated[int, Meta(ge=FRAME_BYTES_MAX)] = 1_048_576
    stall_seconds: Seconds = 30.0
    journal_drafts_max: Count = 20_000
    journal_batch_max: Count = 500
    loaded_chats_max: Count = 50_000


class Rates(Section, frozen=True):
    """How often; a burst, then so many a second. On unless `enabled` is false."""

    enabled: bool = True
    frames_per_second: Rate = 200.0
    frames_burst: Count = 2000
    sends_per_second: Rate = 50.0
    sends_burst: Count = 1000
    deliveries_per_second: Rate = 5000.0
    deliveries_burst: Count = 100_000
    lookups_per_minute: Rate = 30.0
    lookups_per_day: Count = 500
    logins_per_minute: Rate = 60.0
    logins_burst: Count = 300


class Log(Section, frozen=True):
    """The log, on standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["text", "json"] = "text"
    slow_seconds: Seconds = 1.0


class Config(Section, frozen=True):
    """The whole file."""

    server: Server = field(default_factory=Server)
    storage: Storage = field(default_factory=Storage)
    directory: DirectorySection = field(default_factory=DirectorySection)
    cluster: Cluster = field(default_factory=Cluster)
    auth: Auth = field(default_factory=Auth)
    limits: Limits = field(default_factory=Limits)
    rates: Rates = field(default_factory=Rates)
    log: Log = field(default_factory=Log)


SECRET_CHARACTERS_MIN = 32
# What an example says in place of a secret.
EXAMPLE_SECRETS = ("change-me", "changeme", "change_me", "example", "your-secret", "secret-secret")
EVERY_ADDRESS = frozenset({"0.0.0.0", "::", "[::]"})  # noqa: S104 (asked about, not listened on)

_origin = re.compile(r"[a-z][a-z0-9+.-]*://[^/\s]+|null")

Layer = Mapping[str, Mapping[str, Any]]

# What `whatsapp config show` does not show.
SECRETS = frozenset(
    {
        ("auth", "invite_codes"),
        ("storage", "url"),
        ("directory", "password"),
        ("cluster", "secret"),
    }
)


class Option(Struct, frozen=True, kw_only=True):
    """One option as it is in effect, and where its value came from."""

    section: str
    name: str
    value: Any
    source: Literal["default", "file", "environment", "flag"]

    @property
    def variable(self) -> str:
        return _variable(self.section, self.name)


def load(
    file: Path | None = None,
    environment: Mapping[str, str] | None = None,
    flags: Layer | None = None,
) -> Config:
    """The effective configuration, or `StartupError` that names file, option and mistake."""
    merged: dict[str, dict[str, Any]] = {}
    for _, layer in _layers(file, environment, flags):
        for section, options in layer.items():
            merged.setdefault(section, {}).update(options)
    effective = _convert(merged, "the configuration")
    _check_lists(effective)
    return effective


def explain(
    file: Path | None = None,
    environment: Mapping[str, str] | None = None,
    flags: Layer | None = None,
) -> list[Option]:
    """Every option with its source, as `load` would have it; the same errors."""
    effective = load(file, environment, flags)
    sources: dict[tuple[str, str], Any] = {}
    for source, layer in _layers(file, environment, flags):
        for section, options in layer.items():
            sources |= {(section, name): source for name in options}
    return [
        Option(
            section=section,
            name=name,
            value=getattr(getattr(effective, section), name),
            source=sources.get((section, name), "default"),
        )
        for section, name, _ in options_known()
    ]


def options_known() -> Iterator[tuple[str, str, Any]]:
    """Section, name and type of every option."""
    for section in msgspec.structs.fields(Config):
        for option in msgspec.structs.fields(section.type):
            yield section.name, option.name, option.type


def unknown_variables(environment: Mapping[str, str]) -> dict[str, str]:
    """Variables that look like ours and are not; with the nearest one that is, or "".

    Why not refuse them: Kubernetes sets WHATSAPP_SERVER_SERVICE_HOST and the like for a
    service that somebody called whatsapp-server.
    """
    known = {_variable(section, name) for section, name, _ in options_known()}
    sections = tuple(f"WHATSAPP_{f.name}_".upper() for f in msgspec.structs.fields(Config))
    unknown = [name for name in environment if name.startswith(sections) and name not in known]
    return {name: next(iter(get_close_matches(name, known, 1)), "") for name in unknown}


def data_folder(storage: Storage) -> Path:
    """The folder in effect, absolute."""
    return Path(storage.data or default_data_folder()).expanduser().absolute()


def _layers(
    file: Path | None, environment: Mapping[str, str] | None, flags: Layer | None
) -> Iterator[tuple[str, Layer]]:
    """From the weakest to the strongest; each one checked by itself, so that it can be named."""
    if file is not None:
        yield "file", _checked(_read(file), str(file))
    yield "environment", _from_environment(environment or {})
    yield "flag", _checked(flags or {}, "the command line")


def _variable(section: str, option: str) -> str:
    return f"WHATSAPP_{section}_{option}".upper()


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise StartupError(
            f"{file}: cannot be read: {error.strerror}", "Name a file with --config that exists."
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise StartupError(f"{file}: not TOML: {error}", "Mend that line of the file.") from None


def _checked(layer: Layer, where: str) -> Layer:
    _convert(layer, where)
    return layer


def _convert(table: Layer, where: str) -> Config:
    try:
        return msgspec.convert(table, Config)
    except msgspec.ValidationError as error:
        said, _, path = str(error).partition(" - at `$.")
        section, _, option = path.rstrip("`").partition(".")
        place = f"[{section}]{option and ' ' + option}: " if section else ""
        raise StartupError(f"{where}: {place}{said}", _cure(said, section, option)) from None


def _cure(said: str, section: str, option: str) -> str:
    """What was probably meant, or what there is to choose from."""
    if "unknown field `" in said:
        meant = said.partition("unknown field `")[2].rstrip("`")
        known = [name for group, name, _ in options_known() if group == section]
        known = known or [group.name for group in msgspec.structs.fields(Config)]
        near = get_close_matches(meant, known, 1)
        return f"Did you mean `{near[0]}`?" if near else f"Known are: {', '.join(known)}."
    for group, name, wanted in options_known():
        if (group, name) == (section, option) and get_origin(wanted) is Literal:
            return f"Choose one of: {', '.join(get_args(wanted))}."
    return "config.example.toml lists every option with its default."


def _check_lists(effective: Config) -> None:
    """What types do not say. Told at the start: later it would only look like a refused client."""
    for text in effective.server.trusted_proxies:
        try:
            ipaddress.ip_network(text, strict=False)
        except ValueError as error:
            raise StartupError(
                f"[server] trusted_proxies: {error}",
                'Name addresses or networks, such as "127.0.0.1" or "10.0.0.0/8".',
            ) from None
    for text in effective.server.allowed_origins:
        if not _origin.fullmatch(text):
            raise StartupError(
                f"[server] allowed_origins: {text!r} is not an origin",
                'Write it as browsers do, without a path: "https://chat.example.org".',
            )
    if effective.auth.registration == "invite" and not effective.auth.invite_codes:
        raise StartupError(
            '[auth] registration is "invite" and invite_codes is empty',
            'Add a code to [auth] invite_codes, or set registration to "closed".',
        )
    if effective.directory.backend == "zookeeper":
        _check_cluster(effective.storage, effective.cluster)


def _check_cluster(storage: Storage, cluster: Cluster) -> None:
    """What several instances need. Each of these would look like lost messages later."""
    if storage.backend != "mongo":
        raise StartupError(
            f'[directory] backend is "zookeeper" and [storage] backend is "{storage.backend}": '
            "several instances need one store",
            'Set [storage] backend to "mongo"; or, for one instance, [directory] to "memory".',
        )
    check_secret(cluster.secret)
    if cluster.host in EVERY_ADDRESS and not cluster.address:
        raise StartupError(
            f'[cluster] host is "{cluster.host}" and address is empty',
            "Set [cluster] address to what the other instances reach this one by: "
            '"name" or "name:port".',
        )
    together = (cluster.tls_certificate, cluster.tls_key, cluster.tls_authority)
    if any(together) and not all(together):
        raise StartupError(
            "[cluster] has some of tls_certificate, tls_key and tls_authority, not all",
            "Set all three for TLS between instances, or none of them.",
        )


def check_secret(secret: str) -> None:
    """`StartupError` where it is missing, short or everybody's."""
    if not secret:
        said = "is missing"
    elif secret.lower().startswith(EXAMPLE_SECRETS):
        said = "is the one of an example"
    elif len(secret) < SECRET_CHARACTERS_MIN:
        said = f"has {len(secret)} characters, {SECRET_CHARACTERS_MIN} are needed"
    else:
        return
    raise StartupError(
        f"[cluster] secret: {said}",
        "Give all instances the same one, best as WHATSAPP_CLUSTER_SECRET: "
        "what `openssl rand -hex 32` prints.",
    )


def _from_environment(environment: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    layer: dict[str, dict[str, Any]] = {}
    for section, name, wanted in options_known():
        variable = _variable(section, name)
        if variable in environment:
            value = _parsed(environment[variable], wanted, variable)
            layer.setdefault(section, {})[name] = value
    return layer


def _parsed(text: str, wanted: Any, variable: str) -> Any:
    value: Any = text
    if wanted == tuple[str, ...]:
        value = [part.strip() for part in text.split(",") if part.strip()]
    try:
        return msgspec.convert(value, wanted, strict=False)
    except msgspec.ValidationError as error:
        raise StartupError(f"{variable}: {error}", "Mend or unset that variable.") from None
