"""Tabs of the page, open."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.external.browser.page.classify import Classify
from tests.external.browser.page.label_sets import LabelSets
from tests.external.browser.visit import Visit
from tests.process import delete, get


@pytest.fixture
def classify(visit: Visit, url: str) -> Classify:
    """With the example classified."""
    return Classify(visit, url).open()


@pytest.fixture
def sets(visit: Visit, url: str) -> Iterator[LabelSets]:
    """The tab, open; the sets that are made with it are deleted."""
    yield LabelSets(visit, url).open()
    for each in get(f"{url}/label-sets").json()["label_sets"]:
        delete(f"{url}/label-sets/{each['name']}").raise_for_status()
