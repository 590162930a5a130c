"""Sends one request after the other until a file exists: `python steady.py http://HOST:PORT FILE`.

A process for `.ci/kind`, in a pod of our image, with the standard library alone. Each of four clients takes a new
connection for every second request, and keeps it for the next; nothing is tried again. The last line counts them;
the exit status is 1 if one failed.
"""

from __future__ import annotations

import http.client
import json
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from urllib.parse import urlsplit

TIMEOUT = 20.0  # seconds; more than CLIPSERVE_DEADLINE_SECONDS
PAUSE = 0.02


def main(url: str, end: Path, counts: Counter[str], lock: threading.Lock) -> None:
    """Counts `answered`, and every other outcome by its own words."""
    place = urlsplit(url)
    body = json.dumps({"texts": ["a cat"]})
    while not end.exists():
        connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=TIMEOUT)
        for _ in range(2):
            try:
                connection.request("POST", "/embed", body, {"Content-Type": "application/json"})
                answer = connection.getresponse()
                text = answer.read()
                outcome = "answered" if answer.status == 200 else f"{answer.status} {text[:200]!r}"
                closing = answer.will_close
            except (OSError, http.client.HTTPException) as error:
                outcome, closing = f"{type(error).__name__}: {error}", True
            with lock:
                counts[outcome] += 1
            if outcome != "answered":
                print(time.strftime("%H:%M:%S"), outcome, flush=True)
            if closing:
                break
            time.sleep(PAUSE)
        connection.close()


if __name__ == "__main__":
    counts: Counter[str] = Counter()
    arguments = (sys.argv[1], Path(sys.argv[2]), counts, threading.Lock())
    clients = [threading.Thread(target=main, args=arguments) for _ in range(4)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    failed = counts.total() - counts["answered"]
    print(f"{counts['answered']} answered, {failed} failed")
    sys.exit(failed > 0 or not counts["answered"])
