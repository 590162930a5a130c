"""Checks of a running server: whether it is ready, and what it serves."""

from __future__ import annotations

from collections.abc import Iterator

from clipserve.client.errors import ClipserveError, Refused
from clipserve.client.server import Server
from clipserve.client.shapes import ModelsShape, StatusShape
from clipserve.commands.doctor.findings import Finding, ok, problem


def ready(server: Server) -> Iterator[Finding]:
    """Check whether a clipserve answers there, and is ready."""
    try:
        server.result("GET", "/readyz").shaped(StatusShape)
    except Refused as error:
        yield problem(
            f"{server.shown}/readyz: {error}",
            "its log says what it waits for: a model that is loaded, Triton, or its end after SIGTERM",
        )
    except ClipserveError as error:
        yield problem(
            str(error),
            "is it running, is this its port, is a firewall between? On its machine run `clipserve doctor`. A "
            "certificate of your own: --ca-file",
        )
    else:
        yield ok(f"{server.shown}/readyz says yes")


def models(server: Server) -> Iterator[Finding]:
    """Report its models with their fingerprints."""
    try:
        listed = server.result("GET", "/v1/models").shaped(ModelsShape).data
    except ClipserveError as error:
        yield problem(f"{server.shown}/v1/models: {error}", "look at its log, and see `ready`")
        return
    for model in listed:
        found = f"{model.id}: {model.fingerprint}"
        if model.ready:
            yield ok(found)
        else:
            yield problem(f"{found} is not ready", "its log says why; with Triton look at that too")
