"""The cases of both APIs, but for those about label sets."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, get_args

from clipserve.api.requests import EmbeddingType
from tests.support.service import png

BROKEN = b"\x89PNG\r\n\x1a\n"
GIF = png(kind="GIF")
LARGE = png(size=(400, 300))
FINGERPRINT = "that of the model"  # in a case, which is written before there is a model


@dataclass(frozen=True)
class Case:
    """What is asked of both APIs, with the same values.

    Attributes:
        fields: as REST has them; images are bytes.
        code: of the error that the request gets; None: it is answered.
        where: the service that it needs.
        sets: label sets that there are before, by name.
        error: what some fields of the error are.
    """

    name: str
    method: str
    fields: dict[str, Any]
    code: str | None = None
    where: str = "usual"
    keys: list[str] = field(default_factory=list)
    sets: dict[str, dict[str, Any]] = field(default_factory=dict)
    error: dict[str, Any] = field(default_factory=dict)


IMAGE, TWO, MANY = {"images": [png()]}, {"images": [png(1), png(2)]}, [png()] * 33
A = IMAGE | {"labels": ["a"]}
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
        for kind in get_args(EmbeddingType)
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
    # Errors, in the order of the tree in `clipserve.errors`.
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
    Case("a broken one on the right", "similarity", IMAGE | {"to_images": [BROKEN]}, "undecodable_image"),
    Case("a format that is off", "classify", {"images": [GIF], "labels": ["a"]}, "unsupported_format"),
    Case("a large image", "embed", {"images": [LARGE]}, "image_too_large"),
    Case("a long text", "embed", {"texts": ["a", "b" * 40]}, "text_too_long"),
    Case("a text of many characters", "tokenize", {"texts": ["a" * 8_193]}, "text_too_long"),
    Case("a long label", "classify", IMAGE | {"labels": ["a", "b" * 40]}, "text_too_long"),
    Case("many texts", "embed", {"texts": ["a"] * 257}, "too_many"),
    Case("many images", "classify", {"images": MANY, "labels": ["a"]}, "too_many"),
    Case("many on both sides", "similarity", {"images": MANY[:17], "to_images": MANY[:16]}, "too_many"),
    Case("no slot", "classify", A | {"templates": ["x"]}, "bad_prompt_template"),
    Case("a template twice", "classify", A | {"templates": ["stl10", "sun397"]}, "bad_prompt_template"),
    Case("no such template set", "template_set", {"name": "imagenet-8"}, "unknown_template_set"),
    *(
        case
        for method, fields in (
            ("classify", IMAGE | {"labels": ["a"]}),
            ("embed", {"texts": ["a"]}),
            ("similarity", {"texts": ["a"], "to_texts": ["a"]}),
            ("tokenize", {"texts": ["a"]}),
        )
        for case in (
            Case(f"no such model: {method}", method, fields | {"model": "none"}, "unknown_model"),
            Case(f"the expected one: {method}", method, fields | {"expect_fingerprint": FINGERPRINT}),
            Case(f"another: {method}", method, fields | {"expect_fingerprint": "old"}, "wrong_fingerprint"),
        )
    ),
    Case("no key", "embed", {"texts": ["a"]}, "unauthenticated", "keyed"),
    Case("a wrong key", "embed", {"texts": ["a"]}, "unauthenticated", "keyed", ["wrong"]),
    Case("a right key", "embed", {"texts": ["a"]}, None, "keyed", ["user"]),
    Case("a key for something else", "embed", {"texts": ["a"]}, "permission_denied", "keyed", ["manager"]),
    # There is room for these 100 s after the end of the window at the earliest.
    Case("a used up rate", "embed", {"texts": ["a"] * 100}, "rate_limited", "used up", ["user"]),
    Case("much ahead", "embed", {"texts": ["a"]}, "overloaded", "busy"),
    Case("a hanging engine", "embed", {"texts": ["a"]}, "deadline_exceeded", "hanging"),
    Case("a model that still loads", "embed", {"texts": ["a"]}, "backend_unavailable", "loading"),
    Case("an engine that is away", "classify", IMAGE | {"labels": ["a"]}, "backend_unavailable", "away"),
    Case("an engine that fails", "embed", {"texts": ["a"]}, "backend_failed", "failing"),
    Case("a fault of ours", "embed", {"texts": ["a"]}, "internal_error", "faulty"),
]

# Errors of one API alone, each with the tests that hold it.
OF_ONE_API = {
    "image_not_fetched": "gRPC has no URLs; tests/rest/test_images_by_url.py",
    "unsupported_media_type": "gRPC has one form of a request; tests/rest/test_uploads.py",
    "misdirected_request": "no browser speaks gRPC to a name that leads here; tests/access/test_hosts.py",
    "malformed_request": "bytes of another protocol; tests/rest/test_connection.py, tests/rpc/",
    "headers_too_large": "gRPC's library answers for it; tests/rest/test_wire.py, tests/rpc/",
    "body_too_large": "gRPC's library answers for it; tests/rest/test_body.py, tests/rpc/",
    "body_too_slow": "a rate in REST, a turn in gRPC; tests/rest/test_exchange.py, tests/rpc/test_reads.py",
    "too_many_connections": "gRPC's library answers for it; tests/rest/test_connections.py",
}
