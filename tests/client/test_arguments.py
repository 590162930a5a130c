"""The arguments of the methods are the fields of the requests, and both clients take the same."""

from __future__ import annotations

from dataclasses import fields
from inspect import signature
from typing import Any

import pytest

import clipserve
from clipserve.api.requests import ClassifyRequest
from clipserve.client.methods import AsyncMethods

OF_THE_CLIENT = {"model", "expect_fingerprint"}  # given once, where it is made
# Fields of a request that are no arguments, with the reason.
CLASSIFY = {"label_sets": "one, `label_set`: labels of several are lists of lists", "truncate": "not offered"}


def arguments(method: Any) -> set[str]:
    return {*signature(method).parameters} - {"self"}


def fields_of(request: Any) -> set[str]:
    return {field.name for field in fields(request)} - OF_THE_CLIENT


def test_classify_takes_the_fields_of_its_request() -> None:
    assert arguments(AsyncMethods.classify) - {"label_set"} == fields_of(ClassifyRequest) - CLASSIFY.keys()


def test_the_two_clients_are_made_with_the_same_arguments() -> None:
    assert signature(clipserve.Client) == signature(clipserve.AsyncClient)
    assert clipserve.Client.__init__.__doc__ == clipserve.AsyncClient.__init__.__doc__
    clipserve.Client("http://localhost:9", timeout=1.0).close()
    with pytest.raises(TypeError):
        clipserve.Client("http://localhost:9", time=1.0)  # type: ignore[call-arg]
