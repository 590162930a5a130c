"""What the tests of documents have too."""

from __future__ import annotations

from tests.docs.conftest import demo, folder  # noqa: F401
from tests.e2e.conftest import photos  # noqa: F401
