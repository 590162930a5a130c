"""Shared by all tests: quiet logs."""

from __future__ import annotations

from service.telemetry import log

log.configure("CRITICAL")
