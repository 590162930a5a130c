"""What is no setting follows the settings where a larger one would be of no use without it."""

from __future__ import annotations

import pytest

from clipserve.api.limits import RequestLimits
from clipserve.clip.images import ImageLimits
from clipserve.settings import ModelSettings, Settings
from clipserve.wiring.options import GatewayOptions


def test_with_more_texts_as_many_more_labels_may_come_and_with_fewer_no_fewer() -> None:
    usual = RequestLimits()
    for texts, times in ((10, 1), (256, 1), (1_280, 5)):
        limits = GatewayOptions.of(Settings(max_texts=texts)).limits.requests
        assert limits.max_labels == times * usual.max_labels
        assert limits.max_label_bytes == times * usual.max_label_bytes
        assert limits.max_prompts_chars == times * usual.max_prompts_chars


def test_a_photo_of_any_size_may_be_progressive() -> None:
    assert ModelSettings().image_limits() == ImageLimits()
    assert ModelSettings(max_pixels=10**8).image_limits().max_scan_pixels == 10**9
    assert ModelSettings(max_pixels=10).image_limits().max_scan_pixels == ImageLimits.max_scan_pixels


@pytest.mark.parametrize(("body", "json"), [(1_000, 10**6), (20_000_000, 10**6), (100_000_000, 5 * 10**6)])
def test_a_twentieth_of_a_body_may_be_json(body: int, json: int) -> None:
    options = GatewayOptions.of(Settings(max_body_bytes=body))
    assert options.rest.max_json_bytes == options.rpc.max_json_bytes == json


@pytest.mark.parametrize(
    ("more", "times"),
    [
        ({"max_texts": 1_024}, 4),
        ({"max_texts": 100_000}, 20),  # all of a body
    ],
)
def test_with_more_texts_and_labels_more_may_be_json(more: dict[str, int], times: int) -> None:
    options = GatewayOptions.of(Settings(**more))  # type: ignore[arg-type] # each is a number
    assert options.rest.max_json_bytes == options.rpc.max_json_bytes == times * 10**6


def test_two_images_of_the_largest_size_fit_a_request() -> None:
    own = {"large": ModelSettings(max_pixels=9 * 10**7)}
    for settings, pixels in (
        (Settings(max_pixels=10), 10**8),
        (Settings(max_pixels=8 * 10**7), 16 * 10**7),
        (Settings(model_settings=own), 18 * 10**7),
    ):
        assert GatewayOptions.of(settings).limits.requests.max_request_pixels == pixels
