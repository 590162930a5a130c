"""A simple CLIP server: FastAPI, Pillow, tokenizers, onnxruntime with its defaults.

    ARTIFACT=~/.cache/clipserve/ViT-B-32 uvicorn plain_app:app

Runs in its own environment and does not import clipserve. Endpoints are plain functions, so each request has a
thread of the pool, and threads share the two sessions.
"""

from __future__ import annotations

import io
import json
import os
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import onnxruntime as ort
from fastapi import Body, FastAPI, Query
from PIL import Image
from tokenizers import Tokenizer

folder = Path(os.environ["ARTIFACT"])
manifest = json.loads((folder / "model.json").read_text("utf-8"))
SIZE = manifest["image"]["size"]
CONTEXT = manifest["text"]["context_length"]
PROMPT = manifest["prompt_templates"][0]

image_session = ort.InferenceSession(folder / "image.onnx", providers=["CPUExecutionProvider"])
text_session = ort.InferenceSession(folder / "text.onnx", providers=["CPUExecutionProvider"])
tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
tokenizer.enable_truncation(CONTEXT)
tokenizer.enable_padding(length=CONTEXT, pad_id=manifest["text"]["pad_id"])

app = FastAPI()
ImageBytes = Annotated[bytes, Body(media_type="image/jpeg")]
Array = np.ndarray[Any, np.dtype[Any]]


def preprocess(data: bytes) -> Array:
    """uint8 [1, S, S, 3]."""
    image = Image.open(io.BytesIO(data)).convert("RGB")
    scale = SIZE / min(image.size)
    width, height = (max(SIZE, int(side * scale)) for side in image.size)
    image = image.resize((width, height), Image.Resampling.BICUBIC)
    left, top = round((width - SIZE) / 2), round((height - SIZE) / 2)
    return np.asarray(image.crop((left, top, left + SIZE, top + SIZE)))[np.newaxis]


def embed_image(data: bytes) -> Array:
    """float32 [D], unit length."""
    vector: Array = image_session.run(None, {"pixels": preprocess(data)})[0][0]
    return vector


def embed_texts(texts: list[str]) -> Array:
    """float32 [N, D], unit length."""
    rows = tokenizer.encode_batch([text.lower() for text in texts])
    token_ids = np.array([row.ids for row in rows], np.int32)
    lengths = np.array([sum(row.attention_mask) for row in rows], np.int32)
    vectors: Array = text_session.run(None, {"token_ids": token_ids, "lengths": lengths})[0]
    return vectors


@app.post("/embed")
def embed(image: ImageBytes) -> dict[str, list[float]]:
    """The image's vector."""
    return {"embedding": embed_image(image).tolist()}


@app.post("/classify")
def classify(image: ImageBytes, labels: Annotated[list[str], Query()]) -> dict[str, float]:
    """The probability of each label."""
    logits = manifest["scoring"]["logit_scale"] * (
        embed_texts([PROMPT.format(label) for label in labels]) @ embed_image(image)
    )
    raised = np.exp(logits - logits.max())
    return dict(zip(labels, (raised / raised.sum()).tolist(), strict=True))
