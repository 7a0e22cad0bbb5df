"""Traces as a collector gets them: processes agree on a reading's trace without having spoken about it."""

from __future__ import annotations

import gzip
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from time import monotonic

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from scad.log import Named, follow, followed
from scad.services import free_port
from scad.tracing import LINKS_MAX, Tracing, chosen, root_id, start_tracing, stop_tracing, trace_id

names = st.builds(Named, st.text("abc-.1", min_size=1), st.integers(0, 9), st.integers(0, 2**40))


class Collector(ThreadingHTTPServer):
    """Takes spans by OTLP over HTTP, as a real one does."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests: list[ExportTraceServiceRequest] = []

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def spans(self) -> dict[str, list[Span]]:
        """By the name of the process."""
        found: dict[str, list[Span]] = {}
        for request in self.requests:
            for resource in request.resource_spans:
                about = {each.key: each.value.string_value for each in resource.resource.attributes}
                for scope in resource.scope_spans:
                    found.setdefault(about["service.name"], []).extend(scope.spans)
        return found


class Handler(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        assert self.path == "/v1/traces"
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        self.server.requests.append(ExportTraceServiceRequest.FromString(body))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Nothing on standard error."""


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


READINGS = [Named("sc-1", 0, seq) for seq in range(100)]


def test_two_processes_give_a_reading_one_trace_and_each_its_span(collector: Collector) -> None:
    for process, event, readings in (
        ("bridge", "bridge.forwarded", READINGS),
        ("writer", "writer.stored", [*reversed(READINGS), Named("sc-2", 0, None)]),
    ):
        start_tracing(collector.endpoint, process, 0.2)
        assert followed()
        follow(event, readings)
        stop_tracing()
    assert not followed()
    spans = collector.spans()
    assert set(spans) == {"scad-bridge", "scad-writer"}
    traced = {name: {span.trace_id for span in of if span.parent_span_id} for name, of in spans.items()}
    known = {trace_id(*each).to_bytes(16) for each in READINGS if chosen(*each, 0.2)}
    assert traced["scad-bridge"] == traced["scad-writer"] == known
    assert 5 < len(known) < LINKS_MAX
    for of in spans.values():
        (batch,) = (span for span in of if not span.parent_span_id)
        assert {link.trace_id for link in batch.links} == known
        for span in of:
            if span.parent_span_id:
                told = {each.key: each.value for each in span.attributes}
                assert set(told) == {"scad.device", "scad.epoch", "scad.seq"}
                name = ("sc-1", 0, told["scad.seq"].int_value)
                assert span.parent_span_id == root_id(*name).to_bytes(8)
                assert span.trace_id == trace_id(*name).to_bytes(16)
    (last,) = (span for span in spans["scad-writer"] if not span.parent_span_id)
    assert {each.key: each.value.int_value for each in last.attributes}["scad.readings"] == 101


def test_a_batch_of_thousands_has_a_bounded_number_of_links_and_spans(collector: Collector) -> None:
    traces = Tracing(collector.endpoint, "worker", 1.0)
    traces.batch("engine.evaluated", [Named("sc-1", 0, seq) for seq in range(5_000)])
    traces.batch("engine.evaluated", [])
    traces.stop()
    (spans,) = collector.spans().values()
    assert len(spans) == LINKS_MAX + 1
    assert max(len(span.links) for span in spans) == LINKS_MAX


def test_a_collector_that_is_away_holds_nobody_up() -> None:
    traces = Tracing(f"http://127.0.0.1:{free_port()}", "bridge", 1.0)
    for _ in range(100):
        traces.batch("bridge.forwarded", READINGS)
    began = monotonic()
    traces.stop()  # more than fits was dropped; nothing was raised
    assert monotonic() - began < 12, "by itself the library tries on for half a minute"


@settings(max_examples=50)
@given(names, names, st.floats(0, 1), st.floats(0, 1))
def test_a_reading_has_one_trace_and_a_larger_share_holds_the_smaller(
    one: Named, other: Named, share: float, more: float
) -> None:
    assert 0 < trace_id(*one) < 2**128
    assert 0 < root_id(*one) < 2**64
    assert (trace_id(*one) == trace_id(*other)) is (one == other)
    if chosen(*one, min(share, more)):
        assert chosen(*one, max(share, more))
    assert chosen(*one, 1.0)
    assert not chosen(*one, 0.0)


def test_without_an_endpoint_nothing_of_opentelemetry_is_loaded() -> None:
    program = (
        "import sys; from scad.process import settings_or_exit; import streams.bridge; settings_or_exit('x');"
        "print([name for name in sys.modules if name.startswith('opentelemetry')])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_process_that_is_to_trace_without_the_packages_says_what_to_install() -> None:
    program = (
        "import sys; sys.modules['opentelemetry.sdk'] = None; from scad.process import settings_or_exit;"
        "settings_or_exit('bridge')"
    )
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            f"import typer; app = typer.Typer()\n@app.command()\ndef run():\n {program}\napp()",
        ],
        capture_output=True,
        text=True,
        env={"PATH": "/usr/bin:/bin", "SCAD_OTEL_ENDPOINT": "http://collector:4318"},
    )
    assert (done.returncode, "pip install 'scad[otel]'" in done.stderr) == (2, True), done.stderr
