"""The settings of traces."""

from __future__ import annotations

from urllib.parse import urlsplit

from pydantic import BaseModel, Field, field_validator


class TracingSettings(BaseModel):
    """A part of `Settings`."""

    otlp_endpoint: str | None = Field(
        None,
        description="URL of an OpenTelemetry collector, OTLP over HTTP: `http://collector:4318`; gets the spans of "
        "requests whose `traceparent` says sampled; needs `clipserve[tracing]`",
    )
    trace_ratio: float = Field(
        0.0, ge=0, le=1, description="share of the requests without `traceparent` that are traced too"
    )

    @field_validator("otlp_endpoint")
    @classmethod
    def _is_a_url(cls, value: str | None) -> str | None:
        if value is None:
            return None
        url = urlsplit(value)  # raises ValueError
        if url.scheme not in ("http", "https") or not url.hostname:
            raise ValueError("write a URL with its scheme, http://collector:4318")
        if url.username or url.query or url.fragment:
            raise ValueError(
                "only scheme, host, port and path; credentials are for OTEL_EXPORTER_OTLP_HEADERS"
            )
        return value
