"""A service with a file of keys, as a process."""

from __future__ import annotations

from pathlib import Path

import pytest

from clipserve.access.key_file import add_key, remove_key
from tests.access.support import bearer
from tests.support.process import LIGHT, Process, get, metric, post, waited_until

pytestmark = pytest.mark.slow


def status(process: Process, key: str) -> int:
    return get(process.url + "/v1/models", headers=bearer(key)).status_code


def test_a_key_can_be_rotated_while_it_serves_and_no_key_is_in_the_log(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    old = add_key(file, "camera-2025", ["use"])
    process = Process(keys_file=str(file), log_level="DEBUG", **LIGHT)
    process.wait_ready()
    assert status(process, old) == 200
    assert post(process.url + "/embed", json={"texts": ["a cat"]}, headers=bearer(old)).status_code == 200
    series = 'clipserve_key_rows_total{key="camera-2025"}'
    assert metric(process, series) == 1
    new = add_key(file, "camera-2026", ["use"])
    waited_until(lambda: status(process, new) == 200)  # two seconds are promised
    assert status(process, old) == 200, "both are known"
    remove_key(file, "camera-2025")
    waited_until(lambda: status(process, old) == 401)
    assert series not in get(process.operations_url + "/metrics").text
    (tmp_path / "damaged").write_text("{")
    (tmp_path / "damaged").replace(file)  # written in place it would have no key for a moment
    waited_until(lambda: '"event": "keys_unchanged"' in process.log())
    assert (status(process, old), status(process, new)) == (401, 200)
    code, log = process.stop()
    assert code == 0
    assert '"key": "camera-2025"' in log
    assert '"event": "keys_unchanged"' in log
    for key in (old, new):
        assert key.removeprefix("clip_") not in log
        assert key[5:20] not in log


def test_a_key_that_is_added_to_an_empty_file_has_its_rate(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.touch()
    process = Process(keys_file=str(file), rows_per_second=5, rate_window_seconds=10, **LIGHT)
    process.wait_ready()
    key = add_key(file, "camera", ["use"])
    waited_until(lambda: status(process, key) == 200)
    texts = {"texts": ["a cat"] * 51}
    refused = post(process.url + "/embed", json=texts, headers=bearer(key))
    assert (refused.status_code, refused.json()["code"]) == (413, "too_many")
    assert process.stop()[0] == 0


def test_metrics_can_be_for_managers_alone_and_probes_stay_open(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    user, manager = add_key(file, "user", ["use"]), add_key(file, "prometheus", ["manage"])
    process = Process(keys_file=str(file), metrics_open="false", host="0.0.0.0", **LIGHT)
    process.wait_ready()
    metrics = process.operations_url + "/metrics"
    refused = get(metrics)
    assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
    assert refused.json()["code"] == "unauthenticated"
    assert get(metrics, headers=bearer(user)).status_code == 403
    assert "clipserve_requests_total" in get(metrics, headers=bearer(manager)).text
    assert get(process.operations_url + "/livez").status_code == 200
    assert get(process.operations_url + "/readyz").status_code in (200, 503), "it looks four times a second"
    status, log = process.stop()
    assert status == 0
    assert "open_to_all" not in log, "it has keys; tests/e2e/test_log_output.py has one without"
