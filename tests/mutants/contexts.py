"""A plugin of pytest: coverage notes for each line the tests that ran it."""

from __future__ import annotations

from collections.abc import Iterator

import coverage
import pytest


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    measured = coverage.Coverage.current()
    if measured:
        measured.switch_context(item.nodeid)
    return (yield)
