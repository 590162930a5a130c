"""One client: a connection that is kept open, on the standard library's HTTP.

About 0.2 ms of CPU a request with a small body, a fifth of what the richer clients take; a run says what it took.
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

_IDLE_SECONDS = 2.0  # servers close a silent connection, uvicorn after 5 s; a request must not meet that


def ask(url: str, call: Call, timeout: float = 60.0) -> Any:
    """The JSON that answers one request. Raises OSError (URLError, HTTPError) where there is none."""
    request = urllib.request.Request(url + call.path, call.body, {"Content-Type": call.content_type})
    with urllib.request.urlopen(request, timeout=timeout) as answer:
        return json.load(answer)


class Client:
    """Use from one thread at a time. `timeout`: seconds of silence after which there is no answer."""

    def __init__(self, url: str, timeout: float = 60.0) -> None:
        self._connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=timeout)
        self._last = 0.0

    def close(self) -> None:
        self._connection.close()

    def send(self, call: Call) -> int:
        """The status of the answer, once its last byte is here; `NO_ANSWER` where none came."""
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
