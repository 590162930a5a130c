"""The settings of traces."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from clipserve.settings import Settings
from tests.process import failed_start


@pytest.mark.parametrize("url", ["http://collector:4318", "https://collector/otlp", "http://[::1]:4318/"])
def test_a_collector_is_a_url(url: str) -> None:
    assert Settings(otlp_endpoint=url).otlp_endpoint == url


@pytest.mark.parametrize("url", ["", "collector:4318", "grpc://collector:4317", "http://", "http://[::1"])
def test_anything_else_is_refused(url: str) -> None:
    with pytest.raises(ValidationError, match="otlp_endpoint"):
        Settings(otlp_endpoint=url)


@pytest.mark.parametrize("url", ["http://me:secret@collector", "http://collector?key=secret"])
def test_credentials_in_the_url_are_refused_because_it_is_logged(url: str) -> None:
    with pytest.raises(ValidationError, match="OTEL_EXPORTER_OTLP_HEADERS"):
        Settings(otlp_endpoint=url)


def test_a_url_that_is_refused_is_not_written_to_the_log() -> None:
    status, reason = failed_start(otlp_endpoint="http://me:secret@collector")
    assert status == 2
    assert "CLIPSERVE_OTLP_ENDPOINT=...: only scheme" in reason
