"""A running service on arithmetic encoders, as for the tests of REST."""

from __future__ import annotations

from tests.rest.conftest import running

__all__ = ["running"]  # a fixture
