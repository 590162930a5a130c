"""The client of `.ci/kind` counts every request that a server does not answer."""

from __future__ import annotations

import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.deploy import steady


@pytest.mark.parametrize(
    ("bad", "status", "last"), [(None, 0, "0 failed"), (503, 1, "1 failed"), (0, 1, "1 failed")]
)
def test_one_request_that_fails_is_one_too_many(
    bad: int | None, status: int, last: str, tmp_path: Path
) -> None:
    """`bad`: the status of the tenth answer; 0 ends its connection without one."""
    end, lock, seen = tmp_path / "end", threading.Lock(), []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            with lock:
                seen.append(self.path)
                tenth = len(seen) == 10
                if len(seen) == 20:
                    end.touch()
            if tenth and bad == 0:
                self.close_connection = True
                return
            self.send_response(bad or 200 if tenth else 200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever).start()
        command = [sys.executable, steady.__file__, f"http://127.0.0.1:{server.server_port}", str(end)]
        done = subprocess.run(command, capture_output=True, text=True)
        server.shutdown()
    assert (done.returncode, done.stdout.splitlines()[-1].partition(", ")[2]) == (status, last)
    assert set(seen) == {"/embed"}
