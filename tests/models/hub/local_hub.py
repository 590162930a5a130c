"""The part of the Hugging Face hub's API that a download uses, with repositories that misbehave as told."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import unquote, urlsplit


@dataclass
class Repo:
    """One repository, whose branches are all at its one commit; what misbehaves is a file's name, or a status."""

    files: dict[str, bytes]
    licence: str | None = "mit"
    branches: tuple[str, ...] = ("main",)
    status: int | None = None  # of every answer
    half: str | None = None  # a file of which half is sent, and the connection closed
    nothing: bool = False  # every connection is closed without an answer
    altered: str | None = None  # a file with one other byte than its digest says
    asked: list[str] = field(default_factory=list)  # "METHOD path", for tests

    commit = hashlib.sha1(b"main").hexdigest()

    @classmethod
    def of(cls, folder: Path, **how: Any) -> Repo:
        paths = sorted(path for path in folder.rglob("*") if path.is_file())
        return cls({path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}, **how)

    def has(self, revision: str) -> bool:
        return revision in (*self.branches, self.commit)


class LocalHub:
    """A server of `repos`, by name; `url` is its HF_ENDPOINT."""

    def __init__(self) -> None:
        self.repos: dict[str, Repo] = {}
        handler = type("Handler", (_Handler,), {"hub": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    @contextmanager
    def running(self) -> Iterator[LocalHub]:
        thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    hub: LocalHub
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path).strip("/")
        parts = path.removeprefix("api/models/").split("/")
        repo = self.hub.repos.get("/".join(parts[:2]))
        if repo is None:
            return self._refuse(404, "RepoNotFound")
        repo.asked.append(f"{self.command} {path}")
        if repo.nothing:
            self.close_connection = True
            return None
        if repo.status:
            return self._refuse(repo.status, "GatedRepo" if repo.status == 403 else "")
        rest = "/".join(parts[3:])
        if path.startswith("api/models/"):
            return self._api(repo, "/".join(parts[:2]), rest or "main", tree="tree" in parts[2:3])
        return self._file(repo, rest)

    do_HEAD = do_GET  # noqa: N815 - as the library calls it

    def _api(self, repo: Repo, name: str, revision: str, *, tree: bool) -> None:
        if not repo.has(revision):
            return self._refuse(404, "RevisionNotFound")
        listed: list[dict[str, Any]] = []
        for file, content in repo.files.items():
            each: dict[str, Any] = {"rfilename": file, "path": file, "type": "file", "size": len(content)}
            each["oid"] = digest = _digest(file, content)
            if _is_large(file):
                each["lfs"] = {"sha256": digest, "oid": digest, "size": len(content), "pointerSize": 134}
            listed.append(each)
        if tree:
            return self._json(listed)
        card = {"license": repo.licence} if repo.licence else {}
        return self._json({"id": name, "sha": repo.commit, "siblings": listed, "cardData": card})

    def _file(self, repo: Repo, rest: str) -> None:
        revision, _, file = rest.partition("/")
        if not repo.has(revision) or file not in repo.files:
            return self._refuse(404, "EntryNotFound" if repo.has(revision) else "RevisionNotFound")
        content = repo.files[file]
        etag = _digest(file, content)
        if file == repo.altered:
            content = content[:-1] + bytes([content[-1] ^ 1])
        headers = {"ETag": f'"{etag}"', "X-Repo-Commit": repo.commit, "Content-Length": str(len(content))}
        if file == repo.half and self.command == "GET":
            content, self.close_connection = content[: len(content) // 2], True
        return self._answer(200, headers, content)

    def _json(self, value: Any) -> None:
        body = json.dumps(value).encode()
        self._answer(200, {"Content-Type": "application/json", "Content-Length": str(len(body))}, body)

    def _refuse(self, status: int, code: str) -> None:
        headers = {"X-Error-Code": code, "Content-Length": "0"}
        self._answer(status, {key: value for key, value in headers.items() if value}, b"")

    def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Nothing is printed."""


def _is_large(file: str) -> bool:
    return file.endswith((".safetensors", ".bin"))


def _digest(file: str, content: bytes) -> str:
    """SHA-256 of a large file, git's SHA-1 of a small one."""
    if _is_large(file):
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
