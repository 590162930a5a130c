"""Checks of a server's operations port, where it can be reached from here."""

from __future__ import annotations

import time
from collections.abc import Iterator
from http import HTTPStatus

from prometheus_client.parser import text_string_to_metric_families

from service.commands.asking import CannotAsk
from service.commands.doctor.findings import Finding, ok, problem, warning
from service.commands.doctor.remote import Remote

_BETWEEN_SECONDS = 1.0  # two looks at the counters
_CAPACITY = ("overloaded", "too_many_connections")  # reasons of a refusal that more capacity would mend

Samples = dict[tuple[str, str], float]  # (metric, its label `reason` or `tower`) -> value


def operations(remote: Remote) -> Iterator[Finding]:
    """The probes there: they are answered where the REST port is full."""
    for path in ("/livez", "/readyz"):
        try:
            answer = remote.operations.ask("GET", path)
        except CannotAsk as error:
            yield _unreachable(remote, str(error))
            return
        if answer.status == HTTPStatus.OK:
            yield ok(f"{remote.operations.shown}{path} says yes")
            continue
        detail = answer.json.get("detail") if isinstance(answer.json, dict) else None
        yield problem(
            f"{remote.operations.shown}{path} is {answer.status}{f': {detail}' if detail else ''}",
            "restart it if /livez fails; send it no traffic while /readyz does, and look at its log",
        )


def load(remote: Remote) -> Iterator[Finding]:
    """Whether it refuses requests now, because too much is ahead of them."""
    before = _samples(remote)
    if before is None:
        yield ok("not seen: the metrics cannot be read from here")
        return
    time.sleep(_BETWEEN_SECONDS)
    after = _samples(remote) or before
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


def _samples(remote: Remote) -> Samples | None:
    """None: they cannot be had."""
    try:
        answer = remote.operations.ask("GET", "/metrics")
    except CannotAsk:
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
    except ValueError:  # it is something else
        return None


def _unreachable(remote: Remote, reason: str) -> Finding:
    if remote.named:
        return problem(
            reason, "correct --operations-url, or ask from where its operations port can be reached"
        )
    return ok(f"not seen from here ({reason}): it is not meant for everybody. --operations-url names another")
