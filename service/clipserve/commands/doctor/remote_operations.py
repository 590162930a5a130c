"""Checks of a server's operations port, where it can be reached from here."""

from __future__ import annotations

import time
from collections.abc import Iterator
from http import HTTPStatus

from prometheus_client.parser import text_string_to_metric_families

from clipserve.client.errors import ClipserveError
from clipserve.client.server import Server
from clipserve.commands.doctor.findings import Finding, ok, problem, warning
from clipserve.commands.doctor.remote import Remote, detail_of

_BETWEEN_SECONDS = 1.0  # two looks at the counters
_NAME_IT = "--operations-url names its operations port"
_CAPACITY = ("overloaded", "too_many_connections")  # reasons of a refusal that more capacity would mend

Samples = dict[tuple[str, str], float]  # (metric, its label `reason` or `tower`) -> value


def operations(remote: Remote) -> Iterator[Finding]:
    """The probes there: they are answered where the REST port is full."""
    if remote.operations is None:
        yield ok(f"not asked: {_NAME_IT}")
        return
    for path in ("/livez", "/readyz"):
        try:
            answer = remote.operations.ask("GET", path)
        except ClipserveError as error:
            yield problem(
                str(error), "correct --operations-url, or ask from where its operations port can be reached"
            )
            return
        if answer.status == HTTPStatus.OK:
            yield ok(f"{remote.operations.shown}{path} says yes")
        else:
            yield problem(
                f"{remote.operations.shown}{path} is {answer.status}: {detail_of(answer)}",
                "restart it if /livez fails; send it no traffic while /readyz does, and look at its log",
            )


def load(remote: Remote) -> Iterator[Finding]:
    """Whether it refuses requests now, because too much is ahead of them."""
    if remote.operations is None:
        yield ok(f"not asked: {_NAME_IT}")
        return
    before = _samples(remote.operations)
    if before is None:
        yield ok("not seen: the metrics cannot be read from here")
        return
    time.sleep(_BETWEEN_SECONDS)
    after = _samples(remote.operations) or before
    shed = {reason: _refused(after, reason) - _refused(before, reason) for reason in _CAPACITY}
    ahead = max(
        (value for (name, _), value in after.items() if name == "clipserve_work_ahead_seconds"), default=0.0
    )
    told = f"{ahead:.2f} s of work ahead; refused since its start: " + ", ".join(
        f"{_refused(after, reason):,.0f} {reason}" for reason in _CAPACITY
    )
    if any(shed.values()):
        number = sum(shed.values())
        yield warning(
            f"it sheds load now, {number:,.0f} requests or connections within {_BETWEEN_SECONDS:g} s; {told}",
            "add capacity (docs/capacity.md), or let callers wait as Retry-After says",
        )
    else:
        yield ok(f"it sheds no load now; {told}")


def _refused(samples: Samples, reason: str) -> float:
    return samples.get(("clipserve_refused_total", reason), 0.0)


def _samples(server: Server) -> Samples | None:
    """None: they cannot be had."""
    try:
        answer = server.ask("GET", "/metrics")
    except ClipserveError:
        return None
    if answer.status != HTTPStatus.OK:
        return None
    try:
        return {
            (sample.name, sample.labels.get("reason") or sample.labels.get("tower") or ""): sample.value
            for family in text_string_to_metric_families(answer.text)
            for sample in family.samples
            if sample.name in ("clipserve_refused_total", "clipserve_work_ahead_seconds")
        }
    except Exception:  # of the parser, which has several for what is something else
        return None
