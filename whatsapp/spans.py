"""OpenTelemetry spans, where the environment asks for them: `pip install whatsapp[otel]`.

The standard variables say all of it. Spans are made where OTEL_TRACES_EXPORTER is "otlp" or
"console", or is not set and OTEL_EXPORTER_OTLP_ENDPOINT is; OTEL_SDK_DISABLED=true overrides
that. OTEL_SERVICE_NAME, OTEL_TRACES_SAMPLER and the rest are read by the SDK itself.

There is one span for each REST request, the caller's trace continued where it sends a
`traceparent`, and one for each append of the journal: a batch of many senders' messages, so
it is nobody's child. No text, user or chat is in any of them. They are made when the thing
is over, so what is not traced pays nothing; they are sent by a thread of the SDK, which
drops them where the collector is slow or away.
"""

# ruff: noqa: PLC0415

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from whatsapp.watch import Over, Span

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter

log = logging.getLogger(__name__)

REST = "rest."
TRACED_CALLS = {"messages.append"}
# For what is left to be sent at the end.
END_SECONDS = 1.0


def exporter_wanted(environment: Mapping[str, str]) -> str:
    """The exporter that the variables name; "" for none."""
    if environment.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return ""
    named = environment.get("OTEL_TRACES_EXPORTER", "").lower()
    endpoints = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
    if not named and any(environment.get(name) for name in endpoints):
        return "otlp"
    return "" if named == "none" else named


@contextlib.contextmanager
def open_spans(
    environment: Mapping[str, str], version: str, *, exporter: SpanExporter | None = None
) -> Iterator[Span | None]:
    """Who is to be told of what is over; None where nobody wants to know."""
    wanted = exporter_wanted(environment)
    if not wanted and exporter is None:
        yield None
        return
    try:
        provider = _provider(environment, version, exporter or _exporter(wanted))
    except ImportError:
        # No error: the variables may be there for every program of the machine.
        log.warning("spans are not made, OpenTelemetry is not installed: whatsapp[otel]")
        yield None
        return
    except ValueError as error:
        log.warning("spans are not made error=%s", error)
        yield None
        return
    log.info("spans are made exporter=%s", wanted)
    try:
        yield _teller(provider, version)
    finally:
        # A collector that is away must not hold up the end.
        ending = threading.Thread(target=provider.shutdown, daemon=True)
        ending.start()
        ending.join(END_SECONDS)


def _exporter(name: str) -> SpanExporter:
    if name == "otlp":
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

        return OTLPSpanExporter()
    if name == "console":
        from opentelemetry.sdk.trace.export import ConsoleSpanExporter

        return ConsoleSpanExporter()
    raise ValueError(f'OTEL_TRACES_EXPORTER is "otlp", "console" or "none", not {name[:32]!r}')


def _provider(
    environment: Mapping[str, str], version: str, exporter: SpanExporter
) -> TracerProvider:
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    described = {"service.version": version}
    if not (
        environment.get("OTEL_SERVICE_NAME")
        or "service.name=" in environment.get("OTEL_RESOURCE_ATTRIBUTES", "")
    ):
        described["service.name"] = "whatsapp"
    provider = TracerProvider(resource=Resource.create(described))
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return provider


def _teller(provider: TracerProvider, version: str) -> Span:
    from opentelemetry.propagate import extract
    from opentelemetry.trace import SpanKind, StatusCode

    tracer = provider.get_tracer("whatsapp", version)

    def tell(over: Over) -> None:
        request = over.name.startswith(REST)
        if not request and over.name not in TRACED_CALLS:
            return
        ended = time.time_ns()
        counted = "http.response.status_code" if request else "whatsapp.messages"
        span = tracer.start_span(
            over.name,
            context=extract(over.headers) if "traceparent" in over.headers else None,
            kind=SpanKind.SERVER if request else SpanKind.CLIENT,
            attributes={counted: over.count},
            start_time=ended - int(over.seconds * 1e9),
        )
        if over.failed:
            span.set_status(StatusCode.ERROR)
        span.end(ended)

    return tell
