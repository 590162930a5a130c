"""What must not be told is in no output."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from clipserve.__main__ import cli
from clipserve.access.key_file import add_key, read_keys
from clipserve.commands.doctor.secrets import HIDDEN, Secrets
from loadtests.process import free_port

# Each is nowhere else in an output by chance.
TOKEN, PASSWORD, COLLECTOR, NESTED, HEADER, PROXY, API, MISSPELT, ORIGIN, TOKEN_OF_URL = (
    f"planted-{name}-{number:x}" for number, name in enumerate("abcdefghij", 0xA5EC12E7)
)


@pytest.fixture
def planted(tmp_path: Path) -> dict[str, str]:
    """An environment with a secret in every variable that may hold one."""
    port = free_port()
    nested = {"demo": {"triton_token": NESTED, "backend": "triton", "triton_url": [f"127.0.0.1:{port}"]}}
    return {
        "CLIPSERVE_TRITON_TOKEN": TOKEN,
        "CLIPSERVE_REDIS_URL": f"redis://a-user:{PASSWORD}@127.0.0.1:{port}/0?password={TOKEN_OF_URL}",
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://:{COLLECTOR}@127.0.0.1:{port}/path/{COLLECTOR}",
        "CLIPSERVE_MODEL_SETTINGS": json.dumps(nested),
        "CLIPSERVE_KEYS_FILE": str(tmp_path / "keys"),
        "CLIPSERVE_LABEL_SET_STORE": "redis",
        "CLIPSERVE_CORS_ORIGINS": f"https://somebody:{ORIGIN}@app.example.com",
        "CLIPSERVE_KEY": API,
        "OTEL_EXPORTER_OTLP_HEADERS": f"authorization=Bearer%20{HEADER}",
        "HTTPS_PROXY": f"http://somebody:{PROXY}@127.0.0.1:{port}",
    }


def every_secret(folder: Path) -> list[str]:
    key = add_key(folder / "keys", "a-camera", ["use"])
    (kept,) = read_keys(folder / "keys")
    planted = [TOKEN, PASSWORD, COLLECTOR, NESTED, HEADER, PROXY, API, ORIGIN, TOKEN_OF_URL]
    return [*planted, key, kept.sha256, "a-camera"]


@pytest.mark.slow  # two starts wait for a Triton that is not there
def test_no_secret_is_in_an_output(tmp_path: Path, planted: dict[str, str]) -> None:
    secrets = every_secret(tmp_path)
    outputs = [CliRunner().invoke(cli, ["doctor", *words], env=planted).output for words in ([], ["--json"])]
    for secret in secrets:
        assert not [text for text in outputs if secret in text], secret
    assert "problem\tstart" in outputs[0], "the start has said something"


@pytest.mark.parametrize(
    "spoilt",
    [
        {"CLIPSERVE_MODEL_SETTINGS": f'{{"demo": {{"triton_token": "{NESTED}"'},
        {"CLIPSERVE_MODEL_SETTINGS": json.dumps({"demo": {"triton_token": [NESTED], "redis_url": NESTED}})},
        {"CLIPSERVE_TRITON_URL": f"somebody:{TOKEN}@triton:8001", "CLIPSERVE_TRITON_TOKEN": TOKEN},
        {"CLIPSERVE_TRITON_URL": f"http://somebody:{TOKEN}@triton:8001"},
        {"CLIPSERVE_REDIS_URL": f"http://:{PASSWORD}@localhost"},
        {"CLIPSERVE_TRITON_TOKEN": f"{TOKEN}\nmore"},
        {"CLIPSERVE_TRITON_TOKN": MISSPELT},
        {"CLIPSERVE_CORS_ORIGINS": f"https://somebody:{ORIGIN}@app.example.com/path"},
    ],
)
def test_no_secret_is_in_what_is_said_of_a_setting_that_is_wrong(
    spoilt: dict[str, str],
) -> None:
    for words in ([], ["--json"]):
        told = CliRunner().invoke(cli, ["doctor", *words], env=spoilt)
        assert told.exit_code == 1
        for secret in (TOKEN, PASSWORD, NESTED, ORIGIN, MISSPELT):
            assert secret not in told.output


def test_no_key_for_a_server_is_told() -> None:
    for url in (f"http://localhost:{free_port()}", f"http://somebody:{PASSWORD}@localhost:{free_port()}"):
        told = CliRunner().invoke(cli, ["doctor", "--json", "--url", url, "--key", API])
        assert told.exit_code == 1
        assert API not in told.output
        assert PASSWORD not in told.output


def test_a_secret_in_a_line_is_hidden_and_short_words_are_not() -> None:
    secrets = Secrets(
        {"A_TOKEN": "a-long-secret", "ANOTHER_TOKEN": "ok", "CLIPSERVE_KEYS_FILE": "/etc/keys/file"}
    )
    assert secrets.hide("ok: a-long-secret, http://u:p@h/") == f"ok: {HIDDEN}, http://{HIDDEN}@h/"
    assert secrets.hide("/etc/keys/file") == "/etc/keys/file"
    assert secrets.hide(None) is None
