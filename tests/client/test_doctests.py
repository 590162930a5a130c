"""The examples in docstrings of the Python API."""

from __future__ import annotations

import doctest

import pytest

from clipserve.client import in_process
from tests.process import ROOT


def test_examples_print_what_they_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    failed, tried = doctest.testmod(in_process)
    assert (failed, tried > 5) == (0, True)
