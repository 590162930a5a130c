"""Several processes together use what the settings say, and settings that cannot be shared are refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from clipserve.cores import usable_cores
from clipserve.demo import FOLDER as DEMO
from clipserve.processes.sharing import check_shared, share
from clipserve.settings import Settings
from clipserve.wiring.start_faults import CannotShare

DIVIDED = [
    "max_connections",
    "max_connections_per_address",
    "grpc_max_calls",
    "max_bulk_requests",
    "max_in_flight_bytes",
    "max_in_flight_bytes_per_address",
    "decode_memory_bytes",
    "decode_threads",
    "label_cache_bytes",
    "image_cache_bytes",
]


def settings(processes: int = 2, **changes: Any) -> Settings:
    return Settings(models=(DEMO,), backend="triton", processes=processes, **changes)


@pytest.mark.parametrize("processes", [2, 3, 7])
def test_the_parts_of_all_processes_are_the_whole(processes: int) -> None:
    whole = settings(processes, **{name: 100_000_003 for name in DIVIDED if name != "decode_threads"})
    whole = whole.model_copy(update={"decode_threads": 17})
    parts = [share(whole, number) for number in range(processes)]
    for name in DIVIDED:
        assert sum(getattr(part, name) for part in parts) == getattr(whole, name), name


def test_a_limit_of_one_request_and_a_time_are_the_same_in_each_process() -> None:
    whole = settings(4)
    changed = {
        name for name, value in share(whole, 1).model_dump().items() if value != whole.model_dump()[name]
    }
    assert changed <= set(DIVIDED)


def test_each_process_has_a_thread_to_decode_and_a_place_for_a_bulk_request() -> None:
    part = share(settings(16, max_bulk_requests=1, decode_threads=1), 15)
    assert (part.decode_threads, part.max_bulk_requests) == (1, 1)


def test_the_cores_are_shared_where_no_number_of_threads_is_set() -> None:
    assert share(settings(1), 0).decode_threads == usable_cores()
    assert share(settings(64), 63).decode_threads == max(1, usable_cores() // 64)


def test_no_limit_and_no_cache_stay_so() -> None:
    part = share(settings(max_connections_per_address=0, image_cache_bytes=0), 0)
    assert (part.max_connections_per_address, part.image_cache_bytes) == (0, 0)


def test_the_caches_of_a_model_with_settings_of_its_own_are_divided_too() -> None:
    own = {"demo": {"backend": "triton", "image_cache_bytes": 1_000}, "other": {"threads": 3}}
    part = share(settings(label_cache_bytes=800, model_settings=own), 0)
    assert part.of_model("demo").image_cache_bytes == 500
    assert part.of_model("demo").label_cache_bytes == 400
    assert part.model_settings["other"].model_fields_set == {"threads"}


def test_encoders_in_process_are_refused_with_the_reason() -> None:
    with pytest.raises(CannotShare, match=r"demo run in the service itself.*CLIPSERVE_THREADS"):
        check_shared(Settings(models=(DEMO,), processes=2))


def test_what_counts_is_the_backend_of_each_model() -> None:
    on_triton = {"demo": {"backend": "triton"}}
    check_shared(Settings(models=(DEMO,), processes=2, model_settings=on_triton))
    inside = {"demo": {"backend": "onnx"}}
    with pytest.raises(CannotShare, match="demo"):
        check_shared(settings(model_settings=inside))


@pytest.mark.parametrize(("own", "common"), [({}, {"rows_per_second": 9}), ({"bytes_per_second": 9_000}, {})])
def test_rates_need_redis_whoever_has_them(tmp_path: Path, own: dict[str, int], common: Any) -> None:
    key = {"name": "ann", "sha256": "0" * 64, "scopes": ["use"]}
    (tmp_path / "keys").write_text(json.dumps(key | own))
    with pytest.raises(CannotShare, match="CLIPSERVE_REDIS_URL"):
        check_shared(settings(keys_file=tmp_path / "keys", **common))
    check_shared(settings(keys_file=tmp_path / "keys", redis_url="redis://localhost", **common))
    (tmp_path / "keys").write_text(json.dumps(key))
    check_shared(settings(keys_file=tmp_path / "keys"))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"max_in_flight_bytes": 50_000_000, "max_body_bytes": 30_000_000},
            "CLIPSERVE_MAX_IN_FLIGHT_BYTES=50000000 is 25000000 .* Set it to 60000000 or more",
        ),
        ({"max_in_flight_bytes_per_address": 30_000_000}, "CLIPSERVE_MAX_IN_FLIGHT_BYTES_PER_ADDRESS"),
        ({"decode_memory_bytes": 15_000_000}, "CLIPSERVE_DECODE_MEMORY_BYTES"),
    ],
)
def test_a_part_that_no_body_or_image_fits_into_is_refused(changes: dict[str, int], said: str) -> None:
    with pytest.raises(CannotShare, match=said):
        check_shared(settings(**changes))
