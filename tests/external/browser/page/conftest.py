"""The tab "classify", open, with the example classified."""

from __future__ import annotations

import pytest

from tests.external.browser.page.classify import Classify
from tests.external.browser.visit import Visit


@pytest.fixture
def classify(visit: Visit, url: str) -> Classify:
    return Classify(visit, url).open()
