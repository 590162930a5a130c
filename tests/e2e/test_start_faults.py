"""What a newcomer may get wrong: each start ends with a line that says what, and how to mend it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from clipserve.demo import FOLDER as DEMO
from tests.support.process import copy_of_demo, failed_start

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"device": "cuda"}, "device=cuda"),
        ({"models": "/nowhere"}, "/nowhere is not an artifact"),
        ({"models": __file__}, "is not an artifact"),
        ({"keys_file": "/nowhere"}, "CLIPSERVE_KEYS_FILE: /nowhere: no such file"),
        ({"host": "192.0.2.1"}, "cannot listen on 192.0.2.1"),
        ({"host": "no such host"}, "cannot listen on no such host"),
        ({"port": "http"}, "CLIPSERVE_PORT='http'"),
        ({"image_formats": "JPEG,HEIF"}, "HEIF is not one of"),
        ({"models": f"{DEMO},{DEMO}"}, "are both named demo"),
        ({"model_settings": '{"dmo": {"threads": 1}}'}, "is about dmo, but what is served is demo"),
        (
            {"model_settings": '{"demo": {"threads": -1}}'},
            "CLIPSERVE_MODEL_SETTINGS.demo.threads=-1: Input should",
        ),
        ({"model_settings": "demo"}, 'must be JSON is not: error parsing value for field "model_settings"'),
        ({"models": ""}, "CLIPSERVE_MODELS='': it is empty: write names or folders"),
        ({"host": ""}, "CLIPSERVE_HOST='': String should have at least 1 character"),
        ({"host": "\udcff"}, "CLIPSERVE_HOST='\\udcff': Input should be a valid string"),
        ({"host": "ü..ü"}, "cannot listen on ü..ü"),
        ({"max_body_bytes": "9" * 5_000}, "9999: Unable to parse input string as an integer"),
        ({"model_settings": "[" * 100_000}, "a CLIPSERVE_* variable that must be JSON is not"),
        ({"max_body_bytes": 10**6, "max_in_flight_bytes": 10**6}, "set the latter to 2000000"),
        (
            {"triton_ca_file": "/nowhere"},
            "CLIPSERVE_TRITON_CA_FILE='/nowhere': Path does not point to a file",
        ),
        (
            {"triton_token": "sec\nret"},
            "CLIPSERVE_TRITON_TOKEN=...: a token has printable ASCII characters only",
        ),
    ],
)
def test_what_the_service_cannot_start_with_is_said_in_a_line(
    settings: dict[str, str | int], said: str
) -> None:
    status, log = failed_start(**settings)
    assert status in (1, 2)
    assert said in log
    assert len(log) < 500
    assert "ret" not in log.replace("retry", "")


def test_bad_templates_of_a_model_are_refused_at_the_start_and_not_at_a_request(tmp_path: Path) -> None:
    copy = copy_of_demo(tmp_path)
    manifest = json.loads((copy / "model.json").read_text()) | {"prompt_templates": ["a photo"]}
    (copy / "model.json").write_text(json.dumps(manifest))
    status, log = failed_start(models=str(copy))
    assert status == 1
    assert log.startswith("prompt_templates of demo: template 0 has no slot {} or {label} for the label")


def test_certificates_that_may_not_be_read_are_said(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may read every file")
    (tmp_path / "ca.pem").touch(0)
    status, log = failed_start(backend="triton", triton_tls="true", triton_ca_file=str(tmp_path / "ca.pem"))
    assert (status, log) == (1, f"{tmp_path}/ca.pem cannot be read: Permission denied")
