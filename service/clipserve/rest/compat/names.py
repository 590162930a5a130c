"""The names of the adapters, which the settings know without the web framework."""

from __future__ import annotations

from typing import Literal

Compat = Literal["openai", "cohere", "hugging-face", "immich", "weaviate", "voyage", "rerank", "llama.cpp"]
