"""The metrics of several processes are one page, on which no counter goes backwards."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from clipserve.processes.children import Children
from clipserve.processes.summing import GAUGES, Families, Told, counted, page_of, read, summed
from clipserve.settings import Settings
from clipserve.telemetry.metrics import Metrics


def told(fill: Callable[[Metrics], object]) -> Families:
    """What a process with these metrics tells."""
    metrics = Metrics()
    fill(metrics)
    return read(page_of(metrics.registry))


def value(families: Families, name: str, **labels: str) -> float:
    found = [
        sample.value
        for family in families
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    ]
    assert len(found) == 1, f"{name}: {found}"
    return found[0]


def test_counters_and_histograms_are_added_up_by_label() -> None:
    def ask(*requests: tuple[str, float]) -> Callable[[Metrics], object]:
        def fill(metrics: Metrics) -> None:
            for endpoint, seconds in requests:
                metrics.request(endpoint, "200", seconds)

        return fill

    one = told(ask(("/embed", 0.3), ("/embed", 0.3), ("/embed", 0.3)))
    both = summed([one, told(ask(("/embed", 3.0), ("/classify", 0.1)))])
    assert value(both, "clipserve_requests_total", endpoint="/embed") == 4
    assert value(both, "clipserve_requests_total", endpoint="/classify") == 1
    bucket = {"endpoint": "/embed", "le": "0.5"}
    assert value(both, "clipserve_request_seconds_bucket", **bucket) == 3
    assert value(both, "clipserve_request_seconds_sum", endpoint="/embed") == pytest.approx(3.9)


def test_gauges_follow_their_table() -> None:
    def fill(rows: int) -> Callable[[Metrics], object]:
        def change(metrics: Metrics) -> None:
            metrics.rows_in_flight.labels("image").set(rows)
            metrics.label_sets.states({"ready": rows})

        return change

    both = summed([told(fill(2)), told(fill(5))])
    assert value(both, "clipserve_rows_in_flight", tower="image") == 7
    assert value(both, "clipserve_label_sets", state="ready") == 5
    started = [value(told(lambda _: None), "process_start_time_seconds") for _ in range(2)]
    assert value(both, "process_start_time_seconds") == min(started)


def test_every_gauge_has_a_row_in_the_table() -> None:
    metrics = Metrics()
    metrics.watch_decoding(bytes_taken=lambda: 0, images_waiting=lambda: 0)
    families = [*metrics.registry.collect(), *Children(Settings()).registry.collect()]
    gauges = {family.name for family in families if family.type not in ("counter", "histogram")}
    assert "clipserve_processes" in gauges
    assert gauges <= GAUGES.keys(), "say in clipserve.processes.summing how processes have it together"


def test_what_an_ended_process_has_counted_stays_and_what_it_held_does_not() -> None:
    def change(metrics: Metrics) -> None:
        metrics.request("/embed", "200", 0.3)
        metrics.rows_in_flight.labels("image").set(3)

    ended = counted(told(change))
    for _ in range(2):  # another one ends
        ended = summed([ended, counted(told(change))])
    now = summed([ended, told(change)])
    assert value(now, "clipserve_requests_total") == 4
    assert value(now, "clipserve_request_seconds_count") == 4
    assert value(now, "clipserve_rows_in_flight") == 3


def test_what_triton_counts_is_told_once_however_many_repeat_it() -> None:
    def queued(seconds: float) -> Callable[[Metrics], object]:
        def fill(metrics: Metrics) -> None:
            server = metrics.triton.add("triton:8001", "demo", up=lambda: True, rows=lambda: 0)
            server.phases["demo_image", "queue"] = seconds

        return fill

    one = told(queued(7.0))
    other = told(queued(7.5))
    both = summed([counted(one), one, other])
    assert value(both, "clipserve_triton_phase_seconds_total") == 7.5
    restarted = told(queued(0.1))
    assert value(summed([counted(one), restarted]), "clipserve_triton_phase_seconds_total") == 0.1


def test_of_two_exemplars_the_newest_is_kept() -> None:
    pages = []
    for trace in ("old", "new"):
        registry = CollectorRegistry()
        Histogram("seconds", "A test.", registry=registry, buckets=(1.0,)).observe(0.5, {"trace": trace})
        pages.append(read(page_of(registry)))
    exemplars = [
        sample.exemplar.labels
        for family in summed(reversed(pages))
        for sample in family.samples
        if sample.exemplar
    ]
    assert exemplars == [{"trace": "new"}]


def test_the_sum_is_a_page_that_prometheus_reads() -> None:
    registry = CollectorRegistry()
    Counter("asked", "A test.", ["who"], registry=registry).labels('a "quoted" name').inc()
    Gauge("held", "A test.", registry=registry).set(float("inf"))
    told_twice = [read(page_of(registry)), read(page_of(registry))]
    together = CollectorRegistry()
    together.register(Told(summed(told_twice)))
    text = text_string_to_metric_families(generate_latest(together).decode())
    asked = [sample for family in text for sample in family.samples if sample.name == "asked_total"]
    assert [(each.labels, each.value) for each in asked] == [({"who": 'a "quoted" name'}, 2)]
    assert value(read(page_of(together)), "held") == float("inf")
