"""Settings: what may differ from model to model, and that it does."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from clipserve.rest.compat.adapters import ADAPTERS
from clipserve.settings import GONE, BadSettings, ModelSettings, Settings, as_markdown, read_settings
from clipserve.wiring.options import GatewayOptions
from tests.application.label_sets.making import Counted
from tests.support.process import ROOT
from tests.support.service import Recording, png, serving, write_toy_artifact


def with_models(**own: dict[str, Any]) -> Settings:
    return Settings.model_validate({"model_settings": own})


MISSPELT = """
    KEY_FILE: KEYS_FILE   KEYS: KEYS_FILE             MODEL: MODELS               PROT: PORT
    HOSTS: HOST           GRPCPORT: GRPC_PORT         DEADLINE: DEADLINE_SECONDS  BODY_MAX_BYTES: MAX_BODY_BYTES
    THREAD: THREADS       MAX_BODY_SIZE: MAX_BODY_BYTES TRITON_ADDRESS: TRITON_URL
"""


@pytest.mark.parametrize(("written", "meant"), re.findall(r"(\w+): (\w+)", MISSPELT))
def test_a_misspelt_variable_is_refused_with_the_name_that_was_meant(
    written: str, meant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"CLIPSERVE_{written}", "a-secret")
    with pytest.raises(BadSettings) as refused:
        read_settings()
    said = f"CLIPSERVE_{written} is not a setting: did you mean CLIPSERVE_{meant}? `clipserve settings` lists all"
    assert refused.value.reasons == (said,)


@pytest.mark.parametrize("name", GONE)
def test_a_setting_that_is_gone_is_refused_with_what_there_is_instead(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert name.lower() not in Settings.model_fields
    monkeypatch.setenv(f"CLIPSERVE_{name}", "1")
    with pytest.raises(BadSettings) as refused:
        read_settings()
    said = f"CLIPSERVE_{name} is not a setting: it is no longer one: {GONE[name]}"
    assert refused.value.reasons == (said,)
    assert f"| `CLIPSERVE_{name}` | {GONE[name]} |" in (ROOT / "docs/settings.md").read_text()


def test_an_address_has_half_of_the_bytes_unless_it_is_given_all() -> None:
    small = Settings(max_in_flight_bytes=100_000_000)
    assert (small.max_in_flight_bytes_per_address, small.shares_address) == (50_000_000, False)
    assert Settings(max_in_flight_bytes_per_address=256_000_000).shares_address


def test_a_body_and_a_label_set_have_more_room_where_bodies_may_be_larger() -> None:
    for size, times in ((20_000_000, 1), (100_000_000, 5)):
        options = GatewayOptions.of(Settings(max_body_bytes=size))
        assert options.rest.body.body_timeout_seconds == 15 * times
        assert options.limits.requests.max_label_set_bytes == 8_000_000 * times


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("URL", "http://localhost:8080"),
        ("KEY", "k"),
        ("IMAGE", "clipserve"),
        ("SERVICE_HOST", "10.96.0.7"),
        ("SERVICE_PORT", "8080"),
        ("SERVICE_PORT_HTTP", "8080"),
        ("PORT", "tcp://10.96.0.7:8080"),
        ("PORT_8080_TCP", "tcp://10.96.0.7:8080"),
        ("PORT_8080_TCP_PROTO", "tcp"),
        ("PORT_8080_TCP_PORT", "8080"),
        ("PORT_8080_TCP_ADDR", "10.96.0.7"),
        ("TRITON_SERVICE_PORT_GRPC", "8001"),
        ("TRITON_PORT", "tcp://10.96.0.8:8001"),
        ("GRPC_PORT", "tcp://10.96.0.9:8081"),
    ],
)
def test_variables_of_clients_compose_and_kubernetes_are_no_settings(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = read_settings()
    monkeypatch.setenv(f"CLIPSERVE_{name}", value)
    assert read_settings() == usual


@pytest.mark.parametrize("name", ["PORT", "TRITON_URL", "SERVICE"])
def test_other_values_are_refused_all_the_same(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"CLIPSERVE_{name}", "http://10.96.0.7:8080")
    with pytest.raises(BadSettings, match=f"CLIPSERVE_{name}"):
        read_settings()


def test_an_unknown_setting_of_a_model_is_refused_with_those_that_there_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CLIPSERVE_MODEL_SETTINGS", json.dumps({"a": {"thread": 2}}))
    said = "not a setting that may differ from model to model. Those are: backend, "
    with pytest.raises(BadSettings, match=rf"CLIPSERVE_MODEL_SETTINGS\.a\.thread=2: {said}"):
        read_settings()


def test_there_are_no_more_settings_than_somebody_can_read() -> None:
    """Those of single models are among them. What nobody tunes is a constant beside its use."""
    assert set(ModelSettings.model_fields) <= set(Settings.model_fields)
    assert len(Settings.model_fields) <= 54


def test_a_model_has_its_own_settings_and_the_common_ones_for_the_rest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CLIPSERVE_THREADS", "3")
    monkeypatch.setenv(
        "CLIPSERVE_MODEL_SETTINGS",
        json.dumps({"a": {"max_batch_images": 2, "triton_url": "one:8001,two:8001"}}),
    )
    settings = Settings()
    assert (settings.of_model("a").threads, settings.of_model("a").max_batch_images) == (3, 2)
    assert settings.of_model("a").triton_url == ("one:8001", "two:8001")
    assert settings.of_model("b").max_batch_images is Settings().max_batch_images is None


@pytest.mark.parametrize("name", sorted(set(Settings.model_fields) - set(ModelSettings.model_fields)))
def test_what_cannot_differ_from_model_to_model_is_refused(name: str) -> None:
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        with_models(demo={name: Settings.model_fields[name].default})


def test_the_table_marks_what_may_differ_by_model() -> None:
    rows = [row.split(" | ") for row in as_markdown().splitlines()[2:]]
    marked = {row[0].strip("| `") for row in rows if "yes" in row[-1]}
    assert marked == {f"CLIPSERVE_{name.upper()}" for name in ModelSettings.model_fields}
    assert len(rows) == len(Settings.model_fields)


@pytest.mark.parametrize(
    ("name", "given", "chosen"),
    [
        ("compat", "openai, immich", ("openai", "immich")),
        ("compat", "", ()),
        ("allowed_hosts", "clip.example, *", ("clip.example", "*")),
        (
            "cors_origins",
            "https://a.example, http://localhost:3",
            ("https://a.example", "http://localhost:3"),
        ),
        ("cors_origins", "", ()),
        ("triton_url", "one:8001, [fd00::7]:8001", ("one:8001", "[fd00::7]:8001")),
    ],
)
def test_lists_are_written_with_commas(
    name: str, given: str, chosen: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"CLIPSERVE_{name.upper()}", given)
    assert getattr(Settings(), name) == chosen


def test_all_adapters_are_on_by_default_and_one_that_there_is_not_is_refused() -> None:
    assert Settings().compat == tuple(ADAPTERS)
    with pytest.raises(ValidationError, match="Input should be 'openai'"):
        Settings.model_validate({"compat": "openai,ollama"})


async def test_caches_and_limits_of_one_model_are_its_own(tmp_path: Path) -> None:
    folders = [await write_toy_artifact(tmp_path / name, name) for name in ("a", "b")]
    backend = Counted()
    own = {"b": {"image_cache_bytes": 100_000, "max_pixels": 2_500}}
    async with serving(backend, *folders, model_settings=own) as running:

        async def cost(model: str) -> tuple[int, int]:
            texts, images = backend.texts, backend.images
            for _ in range(3):
                assert (await running.classify(png(), labels=["x", "y"], model=model)).status_code == 200
            return backend.texts - texts, backend.images - images

        assert await cost("a") == (2, 3), "labels are kept, images are not"
        assert await cost("b") == (2, 1), "images are kept too"
        large = png(size=(60, 60))
        assert (await running.embed(large, model="a")).status_code == 200
        refused = await running.embed(large, model="b")
        assert (refused.status_code, refused.json()["limit"]) == (413, 2_500)


async def test_two_artifacts_of_one_name_are_served_by_the_names_that_they_are_given(tmp_path: Path) -> None:
    folders = [await write_toy_artifact(tmp_path / name, "toy") for name in ("a", "b")]
    models = folders[0], Path(f"other={folders[1]}")
    async with serving(Recording(), *models, model_settings={"other": {"max_pixels": 2_500}}) as running:
        statuses = [
            (await running.embed(png(size=(60, 60)), model=name)).status_code for name in ("toy", "other")
        ]
        listed = (await running.client.get("/v1/models")).json()["data"]
    assert statuses == [200, 413]
    assert [each["id"] for each in listed] == ["toy", "other"]


async def test_the_queue_of_one_model_is_its_own(tmp_path: Path) -> None:
    folders = [await write_toy_artifact(tmp_path / name, name) for name in ("a", "b")]
    slow = Recording()
    own = {"b": {"max_queue_seconds": 0.0}}
    async with serving(slow, *folders, model_settings=own, max_queue_seconds=100.0) as running:
        statuses = {}
        for model in ("a", "b"):
            await running.embed(png(), model=model)  # now it is known what an image costs
            slow.gate.clear()
            asked = [asyncio.create_task(running.embed(png(i), model=model)) for i in range(6)]
            if model == "b":
                async with asyncio.timeout(60):
                    while sum(request.done() for request in asked) < 5:
                        await asyncio.sleep(0.01)
            slow.gate.set()
            statuses[model] = sorted([(await request).status_code for request in asked])
    assert statuses == {"a": [200] * 6, "b": [200] + [429] * 5}


@pytest.mark.parametrize(
    ("written", "model"),
    [
        pytest.param("~/clip", "/home/me/clip", id="a folder of the home"),
        pytest.param("other=~/clip", "other=/home/me/clip", id="with a name"),
        pytest.param("ViT-B-32", "ViT-B-32", id="no folder"),
    ],
)
def test_a_model_may_be_in_the_home(written: str, model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert Settings(models=written).models == (Path(model),)
