"""A collector of traces for tests: takes OTLP over HTTP, as protobuf from the service and as JSON from Triton."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


@dataclass(frozen=True)
class Sent:
    """A span as it came. Ids are hexadecimal; `service` is the name of who sent it; times are nanoseconds."""

    service: str
    name: str
    trace_id: str
    span_id: str
    parent_id: str
    began: int
    ended: int
    failed: bool
    attributes: dict[str, Any]
    links: tuple[str, ...]  # ids of spans


class Collector:
    """Attributes:
    url: for OTEL_EXPORTER_OTLP_ENDPOINT.
    status: what is answered.
    """

    def __init__(self, server: ThreadingHTTPServer) -> None:
        self.url = f"http://127.0.0.1:{server.server_port}"
        self.status = 200
        self.spans: list[Sent] = []

    def take(self, media_type: str, body: bytes) -> None:
        if media_type == "application/json":
            said = json.loads(body)
        else:
            message = ExportTraceServiceRequest.FromString(body)
            said = MessageToDict(message)
            _ids_in_hex(message, said)
        self.spans += _spans(said)


def _ids_in_hex(message: Any, said: dict[str, Any]) -> None:
    """JSON of protobuf has bytes in base64, that of OTLP has ids in hexadecimal."""
    for resource, of_resource in zip(message.resource_spans, said.get("resourceSpans", []), strict=True):
        for scope, of_scope in zip(resource.scope_spans, of_resource["scopeSpans"], strict=True):
            for span, written in zip(scope.spans, of_scope["spans"], strict=True):
                written.update(
                    traceId=span.trace_id.hex(),
                    spanId=span.span_id.hex(),
                    parentSpanId=span.parent_span_id.hex(),
                    links=[{"spanId": link.span_id.hex()} for link in span.links],
                )


def _spans(said: dict[str, Any]) -> Iterator[Sent]:
    for resource in said.get("resourceSpans", []):
        service = _attributes(resource["resource"]).get("service.name", "")
        for scope in resource["scopeSpans"]:
            for span in scope["spans"]:
                yield Sent(
                    service,
                    span["name"],
                    span["traceId"],
                    span["spanId"],
                    span.get("parentSpanId", ""),
                    int(span["startTimeUnixNano"]),
                    int(span["endTimeUnixNano"]),
                    span.get("status", {}).get("code") in (2, "STATUS_CODE_ERROR"),
                    _attributes(span),
                    tuple(link["spanId"] for link in span.get("links", [])),
                )


def _attributes(said: dict[str, Any]) -> dict[str, Any]:
    return {each["key"]: next(iter(each["value"].values()), None) for each in said.get("attributes", [])}


@contextmanager
def collecting() -> Iterator[Collector]:
    """A collector on a free port."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            assert self.path == "/v1/traces"
            if collector.status == 200:
                collector.take(self.headers["content-type"], body)
            self.send_response(collector.status)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        collector = Collector(server)
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        yield collector
        server.shutdown()
        thread.join()
