"""One victim for all attacks of a session."""

from __future__ import annotations

from tests.abuse.fixtures import keyed_victim, victim  # noqa: F401
