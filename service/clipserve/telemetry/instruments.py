"""Counters and histograms that are cheap to count in, and the buckets that they share."""

from __future__ import annotations

import functools
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Histogram

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

# `labels` takes a lock and checks its arguments each time, most of what counting costs: hence the caches. They stay
# small, because labels have few words.


def counter(registry: CollectorRegistry, name: str, help_text: str, *labels: str) -> Callable[..., Counter]:
    """A counter, which is called with the values of its labels."""
    return functools.cache(Counter(name, help_text, labels, registry=registry).labels)


def histogram(
    registry: CollectorRegistry, name: str, help_text: str, label: str, buckets: tuple[float, ...] = SECONDS
) -> Callable[..., Histogram]:
    """A histogram, which is called with the value of its one label."""
    return functools.cache(Histogram(name, help_text, [label], buckets=buckets, registry=registry).labels)
