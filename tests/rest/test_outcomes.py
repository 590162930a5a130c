"""What is counted and logged of each request."""

from __future__ import annotations

import io
import json
from pathlib import Path

from loadtests.fake_backend import FakeBackend
from tests.rest.test_exchange import posted
from tests.support import DIM, Running, eventually, png, serving


async def test_each_outcome_is_counted_once_by_endpoint(toy: Path) -> None:
    async with serving(FakeBackend(DIM), toy, max_body_bytes=1_000) as running:
        await posted(running)
        await posted(running, b"{")
        await posted(running, bytes(1_001))
        for path in ("/nowhere", "/classify", "/livez", "/label-sets/pets"):
            await running.client.get(path)
        await running.client.head("/")  # its client has all before the file is read
        registry = running.gateway.metrics.registry

        def counted() -> dict[tuple[str, str], float]:
            samples = [each for family in registry.collect() for each in family.samples]
            return {
                (each.labels["endpoint"], each.labels["outcome"]): each.value
                for each in samples
                if each.name == "clipserve_requests_total"
            }

        await eventually(
            lambda: sum(counted().values()) == 8
        )  # the last is counted after its answer has left
        assert counted() == {
            ("/embed", "200"): 1,
            ("/embed", "invalid_input"): 1,
            ("/embed", "body_too_large"): 1,
            ("other", "404"): 1,
            ("/classify", "405"): 1,
            ("/livez", "200"): 1,
            ("/", "200"): 1,
            ("/label-sets/{name}", "unknown_label_set"): 1,
        }


async def test_the_time_of_a_request_is_counted_in_seconds(toy: Path) -> None:
    async with serving(FakeBackend(DIM, delay=0.05), toy) as running:
        await running.embed(png())

        def seconds() -> float:
            labels = {"endpoint": "/embed"}
            return (
                running.gateway.metrics.registry.get_sample_value("clipserve_request_seconds_sum", labels)
                or 0
            )

        await eventually(lambda: seconds() > 0)
        assert 0.045 <= seconds() < 5  # a timer may be early by a tick


async def test_each_request_is_one_line_of_the_log_and_a_probe_is_none(
    running: Running, written: io.StringIO
) -> None:
    await posted(running, x_request_id="first")
    await posted(running, b"{", x_request_id="second")
    for path in ("/livez", "/readyz"):
        await running.client.get(path)
    await running.client.get("/nowhere", headers={"x-request-id": "third"})
    await eventually(lambda: len(written.getvalue().splitlines()) >= 3)
    lines = [json.loads(line) for line in written.getvalue().splitlines()]
    assert [(each["event"], each["request_id"], each["endpoint"], each["outcome"]) for each in lines] == [
        ("request", "first", "/embed", "200"),
        ("request", "second", "/embed", "invalid_input"),
        ("request", "third", "other", "404"),
    ]
    assert all(0 < each["ms"] < 5_000 and each["ms"] == round(each["ms"], 1) for each in lines)
