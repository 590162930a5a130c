"""One victim for all attacks of a session."""

from __future__ import annotations

from tests.abuse.fixtures import patient_victim as victim  # noqa: F401
