"""`clipserve doctor`: a planted fault is a line that says what to do, and no secret is in an output."""

from __future__ import annotations

import asyncio
import functools
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from clipserve.__main__ import cli
from clipserve.access.key_file import add_key, read_keys
from clipserve.commands.doctor import findings
from clipserve.commands.doctor.command import Secrets
from clipserve.demo import FOLDER as DEMO
from clipserve.settings import Settings
from loadtests.fake_backend import FakeBackend
from loadtests.process import free_port
from tests.commands.hostile import body, good_but
from tests.commands.hostile import serving as answering
from tests.support.certificates import self_signed
from tests.support.process import copy_of_demo
from tests.support.service import DIM, serving

PORTS = {"port": 0, "grpc_port": 0, "operations_port": 0}
READY = {
    "event": "model_ready", "level": "info", "fingerprint": "demo@fp32-1", "engine": "onnxruntime",
    "precision": "fp32", "ms_per_call": 6.1, "self_test_cosine": 1.0,
}  # fmt: skip
WARNING = {"event": "gpu_not_used", "level": "warning", "reason": "no driver", "do": "install one"}


@dataclass(frozen=True)
class Told:
    """What it said: exit status, and the object of JSON."""

    status: int
    report: dict[str, Any]

    def of(self, name: str) -> list[tuple[str, str, str]]:
        """Level, what was found, and what to do, of the lines with this name."""
        lines = [line for line in self.report["findings"] if line["name"] == name]
        return [(line["level"], line["found"], line["do"]) for line in lines]


def doctor(*words: str, **settings: object) -> Told:
    """In this process. `settings` are variables without CLIPSERVE_."""
    variables = {f"CLIPSERVE_{name.upper()}": str(value) for name, value in settings.items()}
    told = CliRunner().invoke(cli, ["doctor", "--json", *words], env=variables)
    assert told.exit_code in (0, 1), told.output
    return Told(told.exit_code, json.loads(told.stdout))


def test_a_machine_without_a_fault_has_no_problem(tmp_path: Path) -> None:
    told = doctor(backend="onnx", threads=1, state_dir=tmp_path, **PORTS)
    assert (told.status, told.report["level"] != "problem") == (0, True), told.report
    assert (told.report["format"], told.report["examined"]) == (2, "this machine")
    assert told.report["settings"].keys() == Settings.model_fields.keys()
    assert {line["name"] for line in told.report["findings"]} == {"versions", "cpu", "start", "memory"}
    assert any(" on onnxruntime in fp32: " in found for _, found, _ in told.of("start"))
    assert "; the start took " in told.of("memory")[0][1]


def test_a_fault_that_a_start_tells_is_a_line(tmp_path: Path) -> None:
    copy = copy_of_demo(tmp_path)
    (copy / "image.onnx").write_bytes((copy / "image.onnx").read_bytes()[:-100])
    told = doctor(backend="onnx", models=copy, **PORTS)
    (bad,) = (line for line in told.of("start") if line[0] != "ok")
    assert ("image.onnx has SHA-256" in bad[1], bool(bad[2])) == (True, True), told.report


@pytest.mark.parametrize(
    ("said", "status", "level", "found"),
    [
        pytest.param(json.dumps(READY), 0, "ok", "on onnxruntime in fp32: 6.1 ms a call", id="ready"),
        pytest.param(json.dumps(WARNING), 0, "warning", "gpu_not_used; reason: no driver", id="warning"),
        pytest.param("", -9, "problem", "the start ended with SIGKILL", id="killed"),
        pytest.param("...\nOSError: no", 1, "problem", "ended with status 1: OSError: no", id="crashed"),
    ],
)
def test_how_a_start_ends_is_told(said: str, status: int, level: str, found: str) -> None:
    (line,) = findings.of_start(said, status)
    assert (line.level, found in line.found, bool(line.do)) == (level, True, level != "ok")


def one_port_twice(_: Path) -> dict[str, object]:
    port = free_port()
    return {"port": port, "operations_port": port}


def keys(mode: int, *names: str):  # type: ignore[no-untyped-def]
    def plant(folder: Path) -> dict[str, object]:
        (folder / "keys").touch()
        for name in names:
            add_key(folder / "keys", name, ["use"])
        (folder / "keys").chmod(mode)
        return {"keys_file": folder / "keys"}

    return plant


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> None:
    """The start in a process of its own has gone well: it is tested apart, and takes seconds."""
    monkeypatch.setattr(findings, "start", lambda: (json.dumps(READY), 0))


# What is planted; the lines' name and level; what they say, and what to do.
PLANTED = [
    pytest.param(
        one_port_twice, "ports", "problem", f"already in use: process {os.getpid()} (",
        "set CLIPSERVE_OPERATIONS_PORT to another port", id="a port that a process has",
    ),
    pytest.param(
        lambda _: {"host": "192.0.2.1"}, "ports", "problem", "192.0.2.1: cannot assign requested address",
        "set CLIPSERVE_HOST to an address of this machine", id="another machine's address",
    ),
    pytest.param(
        keys(0o666, "a"), "keys", "warning", "by others than its owner", "chmod go-w", id="keys for all"
    ),
    pytest.param(
        keys(0o600), "keys", "warning", "every request is refused", "clipserve keys add", id="no key"
    ),
    pytest.param(
        lambda _: {"prot": 1}, "settings", "problem", "did you mean CLIPSERVE_PORT?", "correct", id="name"
    ),
]  # fmt: skip


@pytest.mark.usefixtures("started")
@pytest.mark.parametrize(("plant", "name", "level", "said", "do"), PLANTED)
def test_a_fault_that_a_start_does_not_tell_is_a_line(  # type: ignore[no-untyped-def]
    plant, name: str, level: str, said: str, do: str, tmp_path: Path
) -> None:
    told = doctor(**PORTS | plant(tmp_path))
    bad = {(line[0], said in line[1], do in line[2]) for line in told.of(name) if line[0] != "ok"}
    assert (bad, told.status) == ({(level, True, True)}, level == "problem"), told.report


@pytest.mark.usefixtures("started")
@pytest.mark.parametrize(
    ("answer", "levels"), [(body([]), []), (body({}, 503), ["problem"])], ids=["there", "away"]
)
def test_whether_the_hub_is_reached_is_told_where_a_model_must_be_exported(  # type: ignore[no-untyped-def]
    answer, levels: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with answering(good_but({"/api/models": answer})) as (url, _):
        monkeypatch.setenv("HF_ENDPOINT", url)
        lines = doctor(**PORTS, models=f"{DEMO},ViT-B-31", cache_dir=tmp_path).of("hub")
    assert [level for level, _, _ in lines] == levels


@pytest.mark.parametrize(("limit", "memory"), [("max", "ok"), ("1000000000", "warning")])
def test_memory_and_cpu_are_compared_with_the_limits_of_the_cgroup(
    limit: str, memory: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sysconf", {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 2_000_000}.__getitem__)
    (tmp_path / "memory.max").write_text(f"{limit}\n")
    (tmp_path / "cpu.max").write_text("50000 100000\n")
    settings, said = Settings(models=(DEMO,)), json.dumps({"event": "started", "peak_bytes": 300_000_000})
    (line,) = findings.memory(settings, said, tmp_path)
    assert line.level == memory
    assert ("1,000 MB" if memory == "warning" else "the machine has 8,192 MB") in line.found
    (line,) = findings.cpu(settings, tmp_path)
    assert (line.level, "quota: 0.5" in line.found) == ("warning", True)


@pytest.mark.parametrize("warm", [True, False], ids=["ready", "not ready"])
async def test_a_server_that_runs(warm: bool, toy: Path) -> None:
    async with serving(FakeBackend(DIM), toy, warm=warm) as running:
        told = await asyncio.to_thread(doctor, "--url", running.url)
        fingerprint = running.gateway.models[toy].fingerprint if warm else ""
    assert (told.status, told.report["examined"]) == (not warm, running.url), told.report
    assert told.of("ready")[0][0] == ("ok" if warm else "problem")
    assert told.of("models") == ([("ok", f"toy: {fingerprint}", "")] if warm else [])


def test_a_server_that_cannot_be_asked_is_a_problem(tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    ((level, found, do),) = doctor("--url", url).of("ready")
    assert (level, found) == ("problem", f"{url} cannot be asked: Connection refused")
    assert "is a firewall between?" in do
    certificate = self_signed(tmp_path, "server", "IP:127.0.0.1")
    with answering(good_but({}), certificate) as (url, _):
        assert doctor("--url", url, "--ca-file", str(certificate)).status == 0
        ((_, found, do),) = doctor("--url", url).of("ready")
    assert ("certificate" in found, "--ca-file" in do) == (True, True)
    refusal = {"code": "unauthenticated", "detail": "the key is unknown."}
    for answer, do in ((body(refusal, 401), "CLIPSERVE_KEY"), (body({}, 404), "is this its port")):
        with answering(good_but({"/v1/models": answer})) as (url, _):
            ((level, _, told),) = doctor("--url", url).of("models")
        assert (level, do in told) == ("problem", True)


@pytest.mark.slow  # a start waits for a Triton that is not there
def test_no_secret_is_in_an_output(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(findings, "start", functools.cache(findings.start))  # what one said, in both forms
    port, secrets = free_port(), [f"planted-{letter}-5ec12e7" for letter in "abcdefghij"]
    a, b, c, d, e, f, g, h, i, j = secrets
    nested = {"demo": {"triton_token": d, "backend": "triton", "triton_url": [f"127.0.0.1:{port}"]}}
    planted = {
        "CLIPSERVE_TRITON_TOKEN": a,
        "CLIPSERVE_REDIS_URL": f"redis://a-user:{b}@127.0.0.1:{port}/0?password={c}",
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://:{e}@127.0.0.1:{port}/path/{e}",
        "CLIPSERVE_MODEL_SETTINGS": json.dumps(nested),
        "CLIPSERVE_KEYS_FILE": str(tmp_path / "keys"),
        "CLIPSERVE_LABEL_SET_STORE": "redis",
        "CLIPSERVE_CORS_ORIGINS": f"https://somebody:{f}@app.example.com",
        "CLIPSERVE_KEY": g,
        "OTEL_EXPORTER_OTLP_HEADERS": f"authorization=Bearer%20{h}",
        "HTTPS_PROXY": f"http://somebody:{i}@127.0.0.1:{port}",
    }
    secrets.append(add_key(tmp_path / "keys", "a-camera", ["use"]))
    secrets += [read_keys(tmp_path / "keys")[0].sha256, "a-camera"]
    there = ["--json", "--url", f"http://somebody:{b}@localhost:{port}", "--key", j]
    runs = (["doctor"], ["doctor", "--json"], ["doctor", *there])
    outputs = [CliRunner().invoke(cli, words, env=planted).output for words in runs]
    assert not [(secret, text) for secret in secrets for text in outputs if secret in text]
    assert "problem\tstart" in outputs[0], "the start has said something"
    assert '"start"' in outputs[1]


SPOILT = "planted-5ec12e7"


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("MODEL_SETTINGS", f'{{"demo": {{"triton_token": "{SPOILT}"'),
        ("TRITON_URL", f"http://somebody:{SPOILT}@triton:8001"),
        ("REDIS_URL", f"http://:{SPOILT}@localhost"),
        ("TRITON_TOKEN", f"{SPOILT}\nmore"),
        ("CORS_ORIGINS", f"https://somebody:{SPOILT}@app.example.com/path"),
    ],
)
def test_no_secret_is_in_what_is_said_of_a_setting_that_is_wrong(setting: str, value: str) -> None:
    for words in ([], ["--json"]):
        told = CliRunner().invoke(cli, ["doctor", *words], env={f"CLIPSERVE_{setting}": value})
        assert (told.exit_code, SPOILT in told.output) == (1, False), told.output


def test_a_secret_in_a_line_is_hidden_and_short_words_are_not() -> None:
    secrets = Secrets({"A_TOKEN": 'a-"long"-secret', "B_TOKEN": "ok", "CLIPSERVE_KEYS_FILE": "/etc/keys"})
    assert secrets.hide('ok: a-"long"-secret, http://u:p@h/') == "ok: ***, http://***@h/"
    assert secrets.hide(json.dumps(['/etc/keys a-"long"-secret'])) == '["/etc/keys ***"]'
