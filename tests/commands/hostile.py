"""Servers that mean harm, and what a command did with one."""

from __future__ import annotations

import json
import os
import pty
import re
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from typer.testing import CliRunner

from clipserve.__main__ import cli
from tests.support.process import ROOT

# Sets the clipboard; clears the screen; goes back in the line; C1; turns the text round; ends the line; deletes.
EVIL = "\x1b]52;c;ZXZpbA==\x07\x1b[2J\r\x9b31m\u202egnp\u2028\x7f"
# Not \t and \n.
OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u2028\u2029]")
VECTOR = "AACAPwAAAAA="  # (1, 0)
MODEL = {
    "id": "toy", "object": "model", "ready": True, "fingerprint": "toy@1", "embed_dim": 2, "image_size": 8,
    "context_length": 77, "scoring": "softmax", "logit_scale": 1.0, "logit_bias": 0.0, "prompt_templates": [],
    "precision": "fp32", "checkpoint": "", "licence": "", "random_weights": True,
}  # fmt: skip
MODELS = {"object": "list", "data": [MODEL]}
OF_TOY = {"model": "toy", "fingerprint": "toy@1"}
EMBEDDED = OF_TOY | {"results": [{"embedding": VECTOR}]}
LABEL = {"label": "a", "score": 0.9, "cosine": 0.2, "logit": 1.0}
CLASSIFIED = OF_TOY | {"results": [{"labels": [LABEL]}]}
SUMMARY = {
    **OF_TOY, "name": "pets", "version": "1", "state": "ready", "label_count": 2, "prompts": 2, "prompts_done": 2,
}  # fmt: skip
LABEL_SET = SUMMARY | {
    "labels": [], "templates": ["{}"], "background": [], "truncate": False, "example_weight": 0.5,
}  # fmt: skip
CAT = ROOT / "docs/cat.jpg"
GOOD = {"/v1/models": MODELS, "/embed": EMBEDDED, "/classify": CLASSIFIED, "/readyz": {"status": "ready"}}

WORDS: dict[str, list[str]] = {
    "classify": ["classify", str(CAT), "--labels", "a,b"],
    "list": ["label-sets", "list"],
    "show": ["label-sets", "show", "pets"],
    "doctor": ["doctor", "--json"],
}

Parts = Iterable[bytes]
Answers = Callable[[bytes], Parts]  # to a request


def head(*headers: str, status: int = 200) -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status} X", "Connection: close", *headers, "", ""]).encode()


def body(content: bytes | object, status: int = 200, *headers: str) -> Parts:
    """An answer with this content, or with its JSON."""
    content = content if isinstance(content, bytes) else json.dumps(content).encode()
    return [head(*headers, f"Content-Length: {len(content)}", status=status) + content]


def path_of(request: bytes) -> str:
    return request.split()[1].decode().partition("?")[0]


def good_but(changed: dict[str, Parts]) -> Answers:
    """A service of one model, with these answers in place of its own."""

    def answer(request: bytes) -> Parts:
        path = path_of(request)
        return changed.get(path) or (body(GOOD[path]) if path in GOOD else body({}, 404))

    return answer


@contextmanager
def serving(answers: Answers, certificate: Path | None = None) -> Iterator[tuple[str, list[bytes]]]:
    """A server with these answers: its URL, and the requests that came. `certificate`: for TLS; key beside it."""
    requests = list[bytes]()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if certificate:
        context.load_cert_chain(certificate, certificate.with_suffix(".key"))

    def opened(connection: socket.socket) -> socket.socket:
        return context.wrap_socket(connection, server_side=True) if certificate else connection

    def answer(accepted: socket.socket) -> None:
        with suppress(OSError), opened(accepted) as connection:
            asked = b""
            while b"\r\n\r\n" not in asked:
                if not (part := connection.recv(65_536)):
                    return
                asked += part
            length = re.search(rb"(?i)content-length: (\d+)", asked)
            while length and len(asked.partition(b"\r\n\r\n")[2]) < int(length[1]):
                if not (part := connection.recv(65_536)):
                    return
                asked += part
            requests.append(asked)
            for part in answers(asked):
                connection.sendall(part)

    def accept() -> None:
        with suppress(OSError):  # it is closed
            while True:
                threading.Thread(target=answer, args=listener.accept()[:1], daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=accept, daemon=True).start()
        yield f"http{'s' if certificate else ''}://127.0.0.1:{listener.getsockname()[1]}", requests
        listener.shutdown(socket.SHUT_RDWR)


@dataclass(frozen=True)
class Done:
    status: int
    output: str
    errors: str

    @property
    def all(self) -> str:
        return self.output + self.errors


def run(*words: object, **variables: str) -> Done:
    """`clipserve WORDS` in this process: it ended by itself, and printed nothing that a terminal obeys."""
    ended = CliRunner().invoke(cli, list(map(str, words)), env={"CLIPSERVE_URL": None, **variables})
    assert ended.exception is None or isinstance(ended.exception, SystemExit), ended.exc_info
    done = Done(ended.exit_code, ended.stdout, ended.stderr)
    assert not OBEYED.search(done.all), repr(done.all)
    return done


def in_a_terminal(*words: object) -> str:
    """What a process of its own writes to a terminal; `\\r\\n` of the terminal itself are `\\n`."""
    controller, terminal = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "clipserve", *map(str, words)],
        cwd=ROOT, env=os.environ | {"COLUMNS": "500"}, stdin=subprocess.DEVNULL, stdout=terminal, stderr=terminal,
    ) as process:  # fmt: skip
        os.close(terminal)
        seen = b""
        with suppress(OSError):  # Linux says so at the end
            while part := os.read(controller, 65_536):
                seen += part
    os.close(controller)
    assert process.returncode in (0, 1), seen
    return seen.decode().replace("\r\n", "\n")
