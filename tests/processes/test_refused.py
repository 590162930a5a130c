"""A start of several processes that cannot be ends with one line, before any of them is started."""

from __future__ import annotations

import pytest

from tests.process import failed_start


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "CLIPSERVE_PROCESSES=2 is for encoders on Triton"),
        ({"backend": "triton", "host": "203.0.113.1"}, "CLIPSERVE_OPERATIONS_PORT="),
    ],
)
def test_settings_that_cannot_be_those_of_several_processes_are_refused(
    settings: dict[str, str], said: str
) -> None:
    status, reason = failed_start(processes=2, **settings)
    assert (status, reason.startswith(said)) == (1, True)
