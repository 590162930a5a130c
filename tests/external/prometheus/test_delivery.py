"""A real Prometheus and a real Alertmanager, as the profile `monitoring` has them, tell a receiver of an alert."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Queue
from threading import Thread
from typing import Any

import pytest
import yaml

from loadtests.process import free_port
from tests.monitoring.files import FOLDER, read
from tests.monitoring.server import faster, prometheus
from tests.support.process import get

CONFIG = FOLDER / "alertmanager.yml"
_SECONDS = 600.0  # in which what takes 8 must have come
_TIMES = ("group_wait", "group_interval", "repeat_interval")


@contextmanager
def receiver() -> Iterator[tuple[str, Queue[tuple[str, Any]]]]:
    """Its address, and (path, message) of each that has come."""
    came: Queue[tuple[str, Any]] = Queue()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            came.put((self.path, json.loads(body)))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the standard library's name
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", came
        server.shutdown()


@contextmanager
def alertmanager(folder: Path, url: str) -> Iterator[str]:
    """host:port of one that has the product's routes, thirty times as fast, and a webhook for each receiver."""
    config = read(CONFIG)
    for route in (config["route"], *config["route"]["routes"]):
        route |= {name: faster(route[name]) for name in _TIMES if name in route}
    for each in config["receivers"]:
        each["webhook_configs"] = [{"url": f"{url}/{each['name']}"}]
    (folder / "alertmanager.yml").write_text(yaml.safe_dump(config))
    address = f"127.0.0.1:{free_port()}"
    options = ["--config.file=alertmanager.yml", "--storage.path=alertmanager", "--cluster.listen-address="]
    command = ["prometheus-alertmanager", *options, f"--web.listen-address={address}"]
    with (folder / "alertmanager.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, stderr=log)
    try:
        yield address
    finally:
        process.terminate()
        process.wait(300)


def test_an_alert_reaches_its_receiver_with_its_entry_in_the_runbook(tmp_path: Path) -> None:
    with receiver() as (url, came), alertmanager(tmp_path, url) as address, prometheus(tmp_path, address):
        path, message = came.get(timeout=_SECONDS)  # there is no instance, so nobody is ready
        (alert,) = message["alerts"]
        page, _, entry = alert["annotations"]["runbook_url"].partition("#")
        shown = get(page).text
    assert path == "/page"
    assert alert["labels"]["alertname"] == "ClipserveNobodyReady"
    assert "runbook" not in alert["labels"]
    assert entry == "clipservenobodyready"
    assert "\n### ClipserveNobodyReady\n" in shown


@pytest.mark.parametrize("severity", ["page", "ticket"])
def test_a_severity_has_a_receiver_of_its_own(severity: str) -> None:
    command = ["amtool", "config", "routes", "test", f"--config.file={CONFIG}", f"severity={severity}"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() == severity


def test_the_configuration_without_an_address_is_accepted() -> None:
    subprocess.run(["amtool", "check-config", CONFIG], capture_output=True, check=True)
