"""A real Prometheus with the product's own configuration, thirty times as fast."""

from __future__ import annotations

import json
import math
import re
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import yaml

from loadtests.process import free_port
from tests.monitoring.files import CONFIG, RUNBOOK, read, rule_files

# Every duration of the rules, and the pause between two evaluations, is divided by this: the window of an hour is
# two minutes. The expressions are the same but for that. The shortest window, of two minutes, has four scrapes.
FASTER = 30
# Instead of each 15. With less a scrape of a busy service would time out.
SCRAPE_MILLISECONDS = 1000
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def faster(duration: str) -> str:
    """`5m` as it is here: `10000ms`."""
    number, unit = re.fullmatch(r"(\d+)([smhd])", duration).groups()  # type: ignore[union-attr]
    return f"{int(number) * _SECONDS[unit] * 1000 // FASTER}ms"


def faster_expression(expression: str) -> str:
    """With all its ranges so."""
    return re.sub(r"\[(\w+)\]", lambda found: f"[{faster(found[1])}]", expression)


def faster_rules(path: Path) -> dict[str, Any]:
    """The same rules, with all ranges and all `for` so."""
    rules = read(path)
    for rule in (rule for group in rules["groups"] for rule in group["rules"]):
        rule["expr"] = faster_expression(rule["expr"])
        if "for" in rule:
            rule["for"] = faster(rule["for"])
    return rules


class Prometheus:
    """What it knows, while the block of `prometheus` lasts."""

    def __init__(self, url: str, targets: Path) -> None:
        self._targets = targets
        self._client = httpx.Client(base_url=url, timeout=60)

    def scrape(self, addresses: Mapping[str, list[str]]) -> None:
        """From now on these: job -> host:port of each instance."""
        listed = [{"labels": {"job": job}, "targets": hosts} for job, hosts in addresses.items()]
        written = self._targets.with_suffix(".new")
        written.write_text(json.dumps(listed))
        written.rename(self._targets)  # it is followed, and must never be seen in part

    def query(self, expression: str) -> list[float]:
        """The values of all series now, but for those that are not numbers."""
        answer = self._client.post("/api/v1/query", data={"query": expression}).json()
        assert answer["status"] == "success", f"{expression}: {answer.get('error')}"
        values = [float(series["value"][1]) for series in answer["data"]["result"]]
        return [value for value in values if not math.isnan(value)]

    def firing(self) -> set[tuple[str, str]]:
        """(alert, job) of all that fire now; the job is empty where the alert has none."""
        alerts = self._client.get("/api/v1/alerts").json()["data"]["alerts"]
        return {
            (each["labels"]["alertname"], each["labels"].get("job", ""))
            for each in alerts
            if each["state"] == "firing"
        }

    def answers(self) -> bool:
        try:
            return self._client.get("/-/ready").status_code == 200
        except httpx.TransportError:
            return False

    def close(self) -> None:
        self._client.close()


@contextmanager
def prometheus(folder: Path, *alertmanagers: str) -> Iterator[Prometheus]:
    """A server that keeps its data in `folder`, tells `alertmanagers` (host:port), scrapes what it is told."""
    config = read(CONFIG)
    port = free_port()
    config["alerting"]["alertmanagers"] = [{"static_configs": [{"targets": [*alertmanagers]}]}]
    config["rule_files"] = [path.name for path in rule_files()]
    config["global"] |= {
        "scrape_interval": f"{SCRAPE_MILLISECONDS}ms",
        "evaluation_interval": faster(config["global"]["evaluation_interval"]),
    }
    labels = config["global"]["external_labels"]
    labels["runbook"] = labels["runbook"].replace("localhost:9090", f"127.0.0.1:{port}")
    # In place of the names of containers; Triton's own metrics are those of a real Triton.
    config["scrape_configs"] = [
        {"job_name": "clipserve", "file_sd_configs": [{"files": [str(folder / "targets.json")]}]}
    ]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    for path in rule_files():
        (folder / path.name).write_text(yaml.safe_dump(faster_rules(path)))
    options = ["--config.file=prometheus.yml", "--storage.tsdb.path=data", "--log.level=warn"]
    options.append(f"--web.user-assets={RUNBOOK.parent}")
    # It knows Alertmanagers five seconds after its start, and tells them again of an alert that fired before.
    options.append(f"--rules.alert.resend-delay={faster('1m')}")
    command = ["prometheus", *options, f"--web.listen-address=127.0.0.1:{port}"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, stderr=log)
    served = Prometheus(f"http://127.0.0.1:{port}", folder / "targets.json")
    try:
        end = time.monotonic() + 300
        while not served.answers():
            running = process.poll() is None and time.monotonic() < end
            assert running, (folder / "log").read_text()
            time.sleep(0.05)
        yield served
    finally:
        served.close()
        process.terminate()
        process.wait(300)
