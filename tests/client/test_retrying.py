"""When a service is asked again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from clipserve.client.http import retry_after


def test_retry_after_is_seconds_or_a_date() -> None:
    assert retry_after({"retry-after": "3"}) == 3
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    assert retry_after({"retry-after": later}) == pytest.approx(30, abs=10)
    assert retry_after({"retry-after": "-1"}) == 0
    assert retry_after({"retry-after": "1e9"}) == 600


@pytest.mark.parametrize("said", ["", "soon", "nan", "12 seconds", f"Mon, 01 Jan {9**30} 00:00:00 GMT"])
def test_what_cannot_be_read_counts_as_nothing(said: str) -> None:
    assert retry_after({"retry-after": said} if said else {}) is None
