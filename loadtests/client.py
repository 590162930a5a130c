"""One client with a persistent connection, on the standard library's HTTP.

About 0.2 ms of CPU a request with a small body, a fifth of richer clients; a run reports its client's share.
"""

from __future__ import annotations

import http.client
import json
import time
import urllib.request
from typing import Any
from urllib.parse import urlsplit

from loadtests.bodies import Call
from loadtests.load import NO_ANSWER

_IDLE_SECONDS = 2.0  # servers close an idle connection, uvicorn after 5 s; no request must race with that


def ask(url: str, call: Call, timeout: float = 60.0) -> Any:
    """Return the JSON answer to one request. Raises OSError (URLError, HTTPError) without one."""
    request = urllib.request.Request(url + call.path, call.body, {"Content-Type": call.content_type})
    with urllib.request.urlopen(request, timeout=timeout) as answer:
        return json.load(answer)


class Client:
    """A client for one thread at a time. `timeout`: seconds without a byte until the answer counts as missing."""

    def __init__(self, url: str, timeout: float = 60.0) -> None:
        self._connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=timeout)
        self._last = 0.0

    def close(self) -> None:
        self._connection.close()

    def send(self, call: Call) -> int:
        """Send a request; return the status after the last byte of the answer, or `NO_ANSWER`."""
        if time.perf_counter() - self._last > _IDLE_SECONDS:
            self._connection.close()
        try:
            self._connection.request("POST", call.path, call.body, {"Content-Type": call.content_type})
            answer = self._connection.getresponse()
            answer.read()
        except (OSError, http.client.HTTPException):
            self._connection.close()
            return NO_ANSWER
        finally:
            self._last = time.perf_counter()
        return answer.status
