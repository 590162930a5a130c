"""A running service on arithmetic encoders, as for the tests of the REST front."""

from __future__ import annotations

from tests.rest.conftest import running

__all__ = ["running"]  # a fixture
