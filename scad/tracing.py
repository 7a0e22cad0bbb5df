"""Traces by OpenTelemetry, for whoever has a collector: off unless SCAD_OTEL_ENDPOINT is set (extra `scad[otel]`).

A reading's trace id is computed from device, epoch and seq, and so is the choice which readings are traced: processes
agree without a word of it in MQTT or Kafka, and one trace shows a reading's way. Each batch of a process is a span
of its own with links to the readings in it. Spans say device, epoch and seq, as the log does; never a patient.

Traces are not data: what the collector does not take within seconds is dropped, and nobody waits for it.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256
from threading import Thread
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import SpanContext

LINKS_MAX = 32
"""Readings of a batch that are traced: a collector's usual limit is 128 links, and a worker's batch has thousands."""
QUEUE_SPANS = 2_048
"""Spans that wait to be sent, some 2 MB; more are dropped."""
EXPORT_SECONDS = 5
STOP_SECONDS = 2.0  # for what is still to be sent when the process ends
WHOLE = 2**64


class Traced(Protocol):
    """A reading, or a refusal of one."""

    @property
    def device(self) -> str: ...
    @property
    def epoch(self) -> int: ...
    @property
    def seq(self) -> int | None: ...


class TracingMissingError(RuntimeError):
    """SCAD_OTEL_ENDPOINT is set and OpenTelemetry is not installed."""


def trace_id(device: str, epoch: int, seq: int) -> int:
    """128 bits that every process computes alike; never 0, which OpenTelemetry does not allow."""
    return int.from_bytes(_digest(device, epoch, seq)[:16]) or 1


def root_id(device: str, epoch: int, seq: int) -> int:
    """The span, never sent, that a reading's spans in all processes have as their parent."""
    return int.from_bytes(_digest(device, epoch, seq)[16:24]) or 1


def chosen(device: str, epoch: int, seq: int, share: float) -> bool:
    """Whether a reading is among the `share` (0 to 1) that are traced: the same answer in every process."""
    return int.from_bytes(_digest(device, epoch, seq)[24:]) < share * WHOLE


def _digest(device: str, epoch: int, seq: int) -> bytes:
    return sha256(f"{device}\n{epoch}\n{seq}".encode()).digest()


class Tracing:
    """Sends spans of this process to `endpoint` (OTLP over HTTP, such as http://collector:4318)."""

    def __init__(self, endpoint: str, process: str, share: float) -> None:
        self._share = share
        self._provider, self._exporter = _provider(endpoint, process)
        self._tracer = self._provider.get_tracer("scad")

    def batch(self, event: str, readings: Iterable[Traced]) -> None:
        """A process is done with these readings: a span for them together, and one for each that is traced."""
        from opentelemetry.trace import Link

        count = 0
        contexts: list[tuple[Traced, SpanContext]] = []
        for reading in readings:
            count += 1
            known = reading.seq is not None and chosen(
                reading.device, reading.epoch, reading.seq, self._share
            )
            if known and len(contexts) < LINKS_MAX:
                contexts.append((reading, _root(reading)))
        if not contexts:
            return
        links = [Link(context) for _, context in contexts]
        about = {"scad.readings": count, "scad.readings_traced": len(contexts)}
        batch = self._tracer.start_span(f"{event} batch", links=links, attributes=about)
        for reading, context in contexts:
            self._reading(event, reading, context, batch.get_span_context())
        batch.end()

    def _reading(self, event: str, reading: Traced, root: SpanContext, batch: SpanContext) -> None:
        from opentelemetry.trace import Link, NonRecordingSpan, set_span_in_context

        about: dict[str, str | int] = {
            "scad.device": reading.device,
            "scad.epoch": reading.epoch,
            "scad.seq": reading.seq or 0,
        }
        parent = set_span_in_context(NonRecordingSpan(root))
        self._tracer.start_span(event, parent, links=[Link(batch)], attributes=about).end()

    def stop(self) -> None:
        """Send what waits, for at most STOP_SECONDS: by itself the library tries on for half a minute."""
        sending = Thread(target=self._provider.force_flush, name="last traces", daemon=True)
        sending.start()
        sending.join(STOP_SECONDS)
        self._exporter.shutdown()  # ends its waiting for another try
        self._provider.shutdown()
        sending.join(STOP_SECONDS)


def _root(reading: Traced) -> SpanContext:
    from opentelemetry.trace import SpanContext, TraceFlags

    name = (reading.device, reading.epoch, reading.seq or 0)
    return SpanContext(trace_id(*name), root_id(*name), True, TraceFlags(TraceFlags.SAMPLED))


def _provider(endpoint: str, process: str) -> tuple[TracerProvider, SpanExporter]:
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.sdk.trace.sampling import ALWAYS_ON
    except ImportError as error:
        raise TracingMissingError(
            f"SCAD_OTEL_ENDPOINT is set and {error.name} is not installed: pip install 'scad[otel]'"
        ) from None
    exporter = OTLPSpanExporter(f"{endpoint.rstrip('/')}/v1/traces", timeout=EXPORT_SECONDS)
    resource = Resource({"service.namespace": "scad", "service.name": f"scad-{process}"})
    provider = TracerProvider(sampler=ALWAYS_ON, resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(
        BatchSpanProcessor(exporter, max_queue_size=QUEUE_SPANS, export_timeout_millis=EXPORT_SECONDS * 1_000)
    )
    return provider, exporter


_tracing: Tracing | None = None


def start_tracing(endpoint: str, process: str, share: float) -> None:
    """Begin, where an endpoint is given. Raises TracingMissingError."""
    global _tracing
    _tracing = Tracing(endpoint, process, share) if endpoint else None


def tracing() -> Tracing | None:
    """This process's, or None where it is off."""
    return _tracing


def stop_tracing() -> None:
    global _tracing
    if _tracing is not None:
        _tracing.stop()
    _tracing = None
