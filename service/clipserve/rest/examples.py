"""Requests and answers as /openapi.json and /docs show them."""

from __future__ import annotations

from typing import Any

# Of two by two pixels, so that the service accepts the requests as they stand.
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAIAAAACCAIAAAD91JpzAAAAEUlEQVR42mM4UaHBAAFyUQsAEzwCgd6c9XYAAAAASUVORK5CYII="
_FINGERPRINT = "demo@fp32-0123456789ab"

TO_CLASSIFY: dict[str, Any] = {"images": [PNG], "labels": ["cat", "dog"]}
CLASSIFIED: dict[str, Any] = {
    "model": "demo",
    "fingerprint": _FINGERPRINT,
    "results": [
        {
            "labels": [
                {"label": "cat", "score": 0.9, "cosine": 0.3, "logit": 30.0},
                {"label": "dog", "score": 0.1, "cosine": 0.278, "logit": 27.8},
            ]
        }
    ],
}
TO_EMBED: dict[str, Any] = {"images": [PNG], "texts": ["a photo of a cat"]}
EMBEDDED: dict[str, Any] = {
    "model": "demo",
    "fingerprint": _FINGERPRINT,
    "results": [{"embedding": [0.6, 0.8]}, {"embedding": [0.8, 0.6], "tokens": 7, "truncated": False}],
}
LABEL_SET_PUT: dict[str, Any] = {
    "labels": ["dog", {"label": "cat", "id": "c1", "prompts": ["a small animal with whiskers"]}],
    "background": ["something else"],
    "threshold": 0.2,
}
_SUMMARY: dict[str, Any] = {
    "name": "pets",
    "version": "3f5a0c9d8e7b6a41",
    "state": "ready",
    "served_version": "3f5a0c9d8e7b6a41",
    "model": "demo",
    "fingerprint": _FINGERPRINT,
    "label_count": 2,
    "prompts": 3,
    "prompts_done": 3,
    "read_only": False,
}
LABEL_SETS: dict[str, Any] = {"label_sets": [_SUMMARY]}
LABEL_SET: dict[str, Any] = (
    _SUMMARY
    | LABEL_SET_PUT
    | {
        "labels": [{"label": "dog"}, *LABEL_SET_PUT["labels"][1:]],
        "templates": ["a photo of a {}."],
        "truncate": False,
        "example_weight": 0.5,
    }
)
LINES_IN = '{"id": 1, "text": "a cat"}\n{"id": "a.png", "image": "' + PNG + '"}\n'
LINES_OUT = (
    '{"index": 0, "id": 1, "embedding": [0.6, 0.8], "tokens": 4, "truncated": false}\n'
    '{"index": 1, "id": "a.png", "embedding": [0.8, 0.6]}\n'
)
TO_COMPARE: dict[str, Any] = {"images": [PNG], "to_texts": ["a photo of a cat", "a photo of a dog"]}
COMPARED: dict[str, Any] = {
    "model": "demo",
    "fingerprint": _FINGERPRINT,
    "results": [{"cosine": [0.3, 0.278], "logit": [30.0, 27.8]}],
}
TO_TOKENIZE: dict[str, Any] = {"texts": ["a photo of a cat"]}
TOKENIZED: dict[str, Any] = {
    "model": "demo",
    "fingerprint": _FINGERPRINT,
    "context_length": 77,
    "results": [
        {
            "ids": [49406, 320, 1125, 539, 320, 2368, 49407],
            "pieces": [
                "<|startoftext|>",
                "a</w>",
                "photo</w>",
                "of</w>",
                "a</w>",
                "cat</w>",
                "<|endoftext|>",
            ],
            "tokens": 7,
            "truncated": False,
        }
    ],
}
MODELS: dict[str, Any] = {
    "object": "list",
    "data": [
        {
            "id": "demo",
            "object": "model",
            "ready": True,
            "fingerprint": _FINGERPRINT,
            "embed_dim": 2,
            "image_size": 224,
            "context_length": 77,
            "scoring": "softmax",
            "logit_scale": 100.0,
            "logit_bias": 0.0,
            "prompt_templates": ["a photo of a {}."],
            "precision": "fp32",
            "checkpoint": "open_clip ViT-B-32",
            "licence": "MIT",
            "random_weights": False,
        }
    ],
}
_REVIEWS: dict[str, Any] = {
    "name": "rendered-sst2",
    "templates": ["a {} review of a movie."],
    "classes": 2,
    "source": "openai/CLIP, data/prompts.md, SST2; MIT licence",
}
TEMPLATE_SETS: dict[str, Any] = {"template_sets": [_REVIEWS]}
TEMPLATE_SET: dict[str, Any] = _REVIEWS | {"class_names": ["negative", "positive"]}
