"""Settings of Triton: which endpoints and tokens are taken."""

from __future__ import annotations

import json

import pytest
from pydantic import ValidationError

from clipserve.settings import BadSettings, Settings, read_settings


def test_endpoints_are_written_with_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Settings().triton_url == ("localhost:8001",)
    monkeypatch.setenv("CLIPSERVE_TRITON_URL", "one:8001, [fd00::7]:8001")
    assert Settings().triton_url == ("one:8001", "[fd00::7]:8001")


def test_a_model_may_have_endpoints_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIPSERVE_MODEL_SETTINGS", '{"a": {"triton_url": "one:8001,two:8001"}}')
    assert Settings().of_model("a").triton_url == ("one:8001", "two:8001")


@pytest.mark.parametrize(
    ("given", "said"),
    [("", "at least 1 item"), ("one", "is not host:port"), ("http://one:8001", "no scheme"),
     ("one:8001,one:8001", "an endpoint twice")],
)  # fmt: skip
def test_endpoints_that_cannot_be_meant_are_refused(given: str, said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Settings(triton_url=given)


@pytest.mark.parametrize(
    "given", ["grpc://me:secret@one:8001", "me:secret@one:8001", "one:8001,secret@two:8001"]
)
@pytest.mark.parametrize("of_a_model", [False, True])
def test_a_password_before_an_endpoint_is_not_told(
    monkeypatch: pytest.MonkeyPatch, given: str, of_a_model: bool
) -> None:
    monkeypatch.setenv("CLIPSERVE_TRITON_URL", "one:8001" if of_a_model else given)
    if of_a_model:
        monkeypatch.setenv("CLIPSERVE_MODEL_SETTINGS", json.dumps({"a": {"triton_url": given}}))
    with pytest.raises(BadSettings, match="is not host:port") as refused:
        read_settings()
    assert "secret" not in str(refused.value)
    assert "8001" in str(refused.value)
