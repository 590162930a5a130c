"""The examples of /openapi.json: what is sent to lines, and what is answered. `$png` is a small image in base64."""

from __future__ import annotations

from typing import Any

Example = dict[str, Any]

_OF_DEMO: Example = {"model": "demo", "fingerprint": "demo@fp32-0123456789ab"}

SCORES = _OF_DEMO | {
    "results": [
        {
            "labels": [
                {"label": "cat", "score": 0.9, "cosine": 0.3, "logit": 30.0},
                {"label": "dog", "score": 0.1, "cosine": 0.278, "logit": 27.8},
            ]
        }
    ]
}
VECTORS = _OF_DEMO | {
    "results": [{"embedding": [0.6, 0.8]}, {"embedding": [0.8, 0.6], "tokens": 7, "truncated": False}]
}
SIMILARITIES = _OF_DEMO | {"results": [{"cosine": [0.3, 0.278], "logit": [30.0, 27.8]}]}
TOKENS = _OF_DEMO | {
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

LINES = """\
{"id": 1, "text": "a cat"}
{"id": "a.png", "image": "$png"}
"""
ANSWERED_LINES = """\
{"index": 0, "id": 1, "embedding": [0.6, 0.8], "tokens": 4, "truncated": false}
{"index": 1, "id": "a.png", "embedding": [0.8, 0.6]}
"""

TEMPLATE_SET: Example = {
    "name": "rendered-sst2",
    "templates": ["a {} review of a movie."],
    "classes": 2,
    "source": "openai/CLIP, data/prompts.md, SST2; MIT licence",
}
MODEL: Example = {
    "id": "demo",
    "object": "model",
    "ready": True,
    "fingerprint": "demo@fp32-0123456789ab",
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

_CAT = {"label": "cat", "id": "c1", "prompts": ["a small animal with whiskers"]}
NEW_LABEL_SET = {"labels": ["dog", _CAT], "background": ["something else"], "threshold": 0.2}
LISTED_LABEL_SET: Example = {
    "name": "pets",
    "version": "3f5a0c9d8e7b6a41",
    "state": "ready",
    "served_version": "3f5a0c9d8e7b6a41",
    **_OF_DEMO,
    "label_count": 2,
    "prompts": 3,
    "prompts_done": 3,
    "read_only": False,
}
LABEL_SET = LISTED_LABEL_SET | {
    "labels": [{"label": "dog"}, _CAT],
    "background": ["something else"],
    "threshold": 0.2,
    "templates": ["a photo of a {}."],
    "truncate": False,
    "example_weight": 0.5,
}
BUILDING_LABEL_SET = {name: value for name, value in LABEL_SET.items() if name != "served_version"}
BUILDING_LABEL_SET |= {"state": "building", "prompts_done": 1}
