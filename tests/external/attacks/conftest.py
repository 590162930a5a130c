"""One victim for all attacks of a session."""

from __future__ import annotations

from tests.abuse.fixtures import victim  # noqa: F401
