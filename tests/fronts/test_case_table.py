"""What REST has, gRPC has: each use case and each error through both, with the same values and the same code."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from service.access.key_file import add_key
from service.engine.backend import Embeddings, Lengths, Pixels, TokenIds
from service.engine.fake import FakeBackend
from service.errors import BackendFailed, BackendUnavailable
from service.rest.errors import kinds
from service.rpc.clipserve.v1 import clip_pb2
from tests.rpc.client import Client, Refused, client_of
from tests.support import DIM, Running, png, serving, write_toy_artifact

BROKEN = b"\x89PNG\r\n\x1a\n"
GIF = png(kind="GIF")
LARGE = png(size=(400, 300))


@dataclass(frozen=True)
class Case:
    """`code`: of the error that the request gets; None: it is answered. `where`: the service that it needs."""

    name: str
    method: str
    fields: dict[str, Any]
    code: str | None = None
    where: str = "usual"
    keys: list[str] = field(default_factory=list)


IMAGE, TWO = {"images": [png()]}, {"images": [png(1), png(2)]}
CASES = [
    Case("labels of an image", "classify", IMAGE | {"labels": ["a", "b"]}),
    Case("the best label of two images", "classify", TWO | {"labels": ["a", "b", "c"], "top_k": 1}),
    Case("templates and sets", "classify", IMAGE | {"labels": ["a", "b"], "templates": ["my {}", "plain"]}),
    Case("cut prompts", "classify", IMAGE | {"labels": ["a" * 40, "b"], "truncate": True}),
    Case("a bad image among good", "classify", {"images": [png(), BROKEN, GIF], "labels": ["a"]}),
    Case("a model by name", "classify", IMAGE | {"labels": ["a"], "model": "toy"}),
    Case("vectors", "embed", TWO | {"texts": ["a", "b c"]}),
    Case("vectors of texts", "embed", {"texts": ["a", "é", ""]}),
    *(
        Case(f"vectors as {kind}", "embed", IMAGE | {"texts": ["a"], "embedding_type": kind})
        for kind in ("float32", "float16", "int8", "binary", "ubinary")
    ),
    Case("cut texts", "embed", {"texts": ["a" * 40], "truncate": True}),
    Case("a bad image beside a text", "embed", {"images": [BROKEN], "texts": ["a"]}),
    Case("similarities", "similarity", TWO | {"texts": ["a"], "to_images": [png(3)], "to_texts": ["b", "c"]}),
    Case("similarities of a bad image", "similarity", {"images": [png(), BROKEN], "to_texts": ["b"]}),
    Case("tokens", "tokenize", {"texts": ["ab", "a" * 40, ""]}),
    Case("a named slot", "classify", IMAGE | {"labels": ["a", "{label}"], "templates": ["m {label}"]}),
    Case("models", "models", {}),
    Case("template sets", "template_sets", {}),
    *(
        Case(f"the template set {name}", "template_set", {"name": name})
        for name in ("plain", "imagenet-80", "fer2013", "kinetics700")
    ),
    # Errors, in the order of the tree in `service.errors`.
    Case("nothing to classify", "classify", {"labels": ["a"]}, "invalid_input"),
    Case("no label", "classify", IMAGE | {"labels": []}, "invalid_input"),
    Case("an empty label", "classify", IMAGE | {"labels": ["a", " "]}, "invalid_input"),
    Case("a label twice", "classify", IMAGE | {"labels": ["a", "b", "a"]}, "invalid_input"),
    Case("top_k of 0", "classify", IMAGE | {"labels": ["a"], "top_k": 0}, "invalid_input"),
    Case("nothing to embed", "embed", {}, "invalid_input"),
    Case("nothing to compare", "similarity", {"to_texts": ["a"]}, "invalid_input"),
    Case("nothing to compare with", "similarity", {"texts": ["a"]}, "invalid_input"),
    Case("nothing to tokenize", "tokenize", {"texts": []}, "invalid_input"),
    Case("a broken image", "embed", {"images": [BROKEN]}, "undecodable_image"),
    Case(
        "a broken image to compare with", "similarity", IMAGE | {"to_images": [BROKEN]}, "undecodable_image"
    ),
    Case("a format that is off", "classify", {"images": [GIF], "labels": ["a"]}, "unsupported_format"),
    Case("a large image", "embed", {"images": [LARGE]}, "image_too_large"),
    Case("a long text", "embed", {"texts": ["a", "b" * 40]}, "text_too_long"),
    Case("a text of many characters", "tokenize", {"texts": ["a" * 8_193]}, "text_too_long"),
    Case("a long label", "classify", IMAGE | {"labels": ["a", "b" * 40]}, "text_too_long"),
    Case("many texts", "embed", {"texts": ["a"] * 257}, "too_many"),
    Case("many images", "classify", {"images": [png()] * 33, "labels": ["a"]}, "too_many"),
    Case(
        "many images on both sides",
        "similarity",
        {"images": [png()] * 17, "to_images": [png()] * 16},
        "too_many",
    ),
    Case(
        "a template without a slot",
        "classify",
        IMAGE | {"labels": ["a"], "templates": ["x"]},
        "bad_prompt_template",
    ),
    *(
        Case(f"a template twice, {name}", "classify", IMAGE | {"labels": ["a"], "templates": twice}, code)
        for name, twice, code in (
            ("the same", ["the {}", "a {}", "a {}"], "bad_prompt_template"),
            ("in two spellings", ["a {}", "a {label}"], "bad_prompt_template"),
            ("in a set", ["a photo of a {}.", "imagenet-80"], "bad_prompt_template"),
            ("in two sets", ["stl10", "sun397"], "bad_prompt_template"),
        )
    ),
    Case("no such template set", "template_set", {"name": "imagenet-8"}, "unknown_template_set"),
    *(
        Case(f"no such model: {method}", method, IMAGE_OR_TEXT | {"model": "none"}, "unknown_model")
        for method, IMAGE_OR_TEXT in (
            ("classify", IMAGE | {"labels": ["a"]}),
            ("embed", {"texts": ["a"]}),
            ("similarity", {"texts": ["a"], "to_texts": ["a"]}),
            ("tokenize", {"texts": ["a"]}),
        )
    ),
    Case("another fingerprint", "embed", {"texts": ["a"], "expect_fingerprint": "old"}, "wrong_fingerprint"),
    Case("no key", "embed", {"texts": ["a"]}, "unauthenticated", "keyed"),
    Case("a wrong key", "embed", {"texts": ["a"]}, "unauthenticated", "keyed", ["wrong"]),
    Case("a right key", "embed", {"texts": ["a"]}, None, "keyed", ["user"]),
    Case("a key for something else", "embed", {"texts": ["a"]}, "permission_denied", "keyed", ["manager"]),
    Case("a used up rate", "embed", {"texts": ["a"] * 10}, "rate_limited", "used up", ["user"]),
    Case("much ahead", "embed", {"texts": ["a"]}, "overloaded", "busy"),
    Case("a hanging engine", "embed", {"texts": ["a"]}, "deadline_exceeded", "hanging"),
    Case("a model that still loads", "embed", {"texts": ["a"]}, "backend_unavailable", "loading"),
    Case("an engine that is away", "classify", IMAGE | {"labels": ["a"]}, "backend_unavailable", "away"),
    Case("an engine that fails", "embed", {"texts": ["a"]}, "backend_failed", "failing"),
    Case("a fault of ours", "embed", {"texts": ["a"]}, "internal_error", "faulty"),
]

# Errors of one front alone, each with the tests that hold it.
OF_ONE_FRONT = {
    "unsupported_media_type": "gRPC has one form of a request; tests/rest/test_uploads.py",
    "malformed_request": "bytes of another protocol; tests/rest/test_connection.py, tests/rpc/",
    "headers_too_large": "gRPC's library answers for it; tests/rest/test_wire.py, tests/rpc/",
    "headers_too_slow": "gRPC's library answers for it; tests/rest/test_connection.py",
    "body_too_large": "gRPC's library answers for it; tests/rest/test_body.py, tests/rpc/",
    "body_too_slow": "a rate in REST, a turn in gRPC; tests/rest/test_slow_bodies.py, tests/rpc/test_reading.py",
    "too_many_connections": "gRPC's library answers for it; tests/rest/test_connections.py",
}


class Odd(FakeBackend):
    """Does what it is told from the moment that it is told."""

    def __init__(self) -> None:
        super().__init__(DIM)
        self.error: Exception | None = None
        self.hangs = False

    async def encode_image(self, pixels: Pixels) -> Embeddings:
        await self._be_odd()
        return await super().encode_image(pixels)

    async def encode_text(self, token_ids: TokenIds, lengths: Lengths) -> Embeddings:
        await self._be_odd()
        return await super().encode_text(token_ids, lengths)

    async def _be_odd(self) -> None:
        if self.error:
            raise self.error
        if self.hangs:
            await asyncio.sleep(60)


@asynccontextmanager
async def place(where: str, folder: Path) -> AsyncIterator[tuple[Running, dict[str, str]]]:
    """A service such as the case needs, and its keys by name."""
    toy, backend = await write_toy_artifact(folder / "toy"), Odd()
    settings: dict[str, Any] = {"max_pixels": 100_000}
    keys: dict[str, str] = {"wrong": "clip_wrong"}
    if where in ("keyed", "used up"):
        file = settings["keys_file"] = folder / "keys"
        keys |= {"user": add_key(file, "user", ["use"]), "manager": add_key(file, "manager", ["manage"])}
    if where == "used up":
        settings |= {"rows_per_second": 1, "rate_window_seconds": 15}
    if where == "hanging":
        settings["deadline_seconds"] = 0.3
    if where == "busy":
        settings |= {"max_queue_seconds": 0.0}
    async with serving(backend, toy, warm=where != "loading", grpc_enabled=True, **settings) as running:
        if where == "busy":
            backend.hangs = True
            (model,) = running.gateway.models.values()
            model.admission.learn("text", 1, 5.0)
            ahead = asyncio.create_task(running.embed(text="ahead"))
            while not running.gateway.metrics.registry.get_sample_value(
                "clipserve_rows_in_flight", {"tower": "text"}
            ):
                await asyncio.sleep(0.01)
        if where == "used up":
            header = {"Authorization": f"Bearer {keys['user']}"}
            assert (
                await running.client.post("/embed", json={"texts": ["a"] * 15}, headers=header)
            ).is_success
        backend.hangs = backend.hangs or where == "hanging"
        backend.error = {
            "away": BackendUnavailable("it is away."),
            "failing": BackendFailed("it failed."),
        }.get(where)
        if where == "faulty":
            running.gateway.inference._rows._charge = _faulty
        yield running, keys
        if where == "busy":
            ahead.cancel()
            await asyncio.gather(ahead, return_exceptions=True)


async def _faulty(_: int) -> None:
    raise RuntimeError("a fault")


METHODS = {"models": "ListModels", "template_sets": "ListTemplateSets", "template_set": "GetTemplateSet"}
Outcome = tuple[str | None, Any]  # the code, and what was said


async def by_rest(running: Running, case: Case, key: str | None) -> Outcome:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    if case.method == "models":
        answer = (await running.client.get("/v1/models")).json()["data"]
        return None, [{name: value for name, value in model.items() if name != "object"} for model in answer]
    if case.method in ("template_sets", "template_set"):
        path = "/".join(["/template-sets", *case.fields.values()])
        answer = (await running.client.get(path, headers=headers)).json()
        return _outcome(answer.get("template_sets", answer))
    body = {
        name: [base64.b64encode(image).decode() for image in value] if name.endswith("images") else value
        for name, value in case.fields.items()
    }
    answer = (await running.client.post(f"/{case.method}", json=body, headers=headers)).json()
    return _outcome(answer)


def _outcome(answer: Any) -> Outcome:
    if "code" not in answer:
        return None, answer
    return answer["code"], {name: answer.get(name) for name in ("detail", "limit", "actual", "index")}


async def by_rpc(client: Client, case: Case, key: str | None) -> Outcome:
    metadata = [("authorization", f"Bearer {key}")] if key else []
    method = METHODS.get(case.method, case.method.capitalize())
    try:
        answer = await client.call(method, metadata, **case.fields)
    except Refused as refused:
        said = refused.fields
        return said.get("code"), {name: said.get(name) for name in ("detail", "limit", "actual", "index")}
    return None, answer.get(case.method, answer)


def close(one: Any, other: Any) -> bool:
    """Equal; numbers as far as float32 in JSON, or six digits of a measured time, allow."""
    if isinstance(one, dict) and isinstance(other, dict):
        names = {name for name in one.keys() | other.keys() if one.get(name) or other.get(name)}
        return all(close(one.get(name), other.get(name)) for name in names)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(close, one, other))
    if isinstance(one, float | int) and isinstance(other, float | int):
        return bool(one == pytest.approx(other, rel=1e-6, abs=1e-7))
    return (one or None) == (other or None)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_both_fronts_answer_the_same(case: Case, tmp_path: Path) -> None:
    async with place(case.where, tmp_path) as (running, keys), client_of(running.rpc_address) as client:
        key = keys[case.keys[0]] if case.keys else None
        (code, said), (rpc_code, rpc_said) = (
            await by_rest(running, case, key),
            await by_rpc(client, case, key),
        )
    assert code == rpc_code == case.code, (said, rpc_said)
    if case.code in ("overloaded", "rate_limited"):
        return  # what is left by then is in the words
    assert close(said, rpc_said), f"\n{said}\n{rpc_said}"


def test_each_error_is_in_the_table_or_of_one_front() -> None:
    told = {case.code for case in CASES} - {None}
    assert told | OF_ONE_FRONT.keys() == {kind.code for kind in kinds()}
    assert not told & OF_ONE_FRONT.keys()


def test_each_use_case_is_in_the_table() -> None:
    methods = {METHODS.get(case.method, case.method.capitalize()) for case in CASES}
    assert methods | {"EmbedStream"} == set(clip_pb2.DESCRIPTOR.services_by_name["Clip"].methods_by_name)
