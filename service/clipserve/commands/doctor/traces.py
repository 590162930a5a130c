"""The check of what traces need."""

from __future__ import annotations

import importlib.util
import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

from clipserve.commands.doctor.context import Context
from clipserve.commands.doctor.findings import Finding, ok, problem, warning

_SECONDS = 2.0


def traces(context: Context) -> Iterator[Finding]:
    """OpenTelemetry is installed, and a collector listens. Of the endpoint scheme, host and port are told alone."""
    endpoint = context.settings.otlp_endpoint
    if endpoint is None:
        yield ok("not sent: CLIPSERVE_OTLP_ENDPOINT is not set")
        return
    if not _installed():
        yield problem(
            "CLIPSERVE_OTLP_ENDPOINT is set, and OpenTelemetry is not installed: the service does not start",
            "pip install 'clipserve[tracing]'",
        )
    url = urlsplit(endpoint)
    port = url.port or (443 if url.scheme == "https" else 80)
    where = f"{url.scheme}://{url.hostname}:{port}"
    try:
        socket.create_connection((url.hostname or "", port), _SECONDS).close()
    except OSError as error:
        yield warning(
            f"no collector listens at {where}: {error.strerror or error}",
            "start it, or correct CLIPSERVE_OTLP_ENDPOINT; the service serves, and spans are lost",
        )
    else:
        yield ok(f"a collector listens at {where}")


def _installed() -> bool:
    try:
        return importlib.util.find_spec("opentelemetry.exporter.otlp.proto.http") is not None
    except ModuleNotFoundError:  # of a package around it
        return False
