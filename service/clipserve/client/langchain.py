"""CLIP as `Embeddings` of LangChain."""

from __future__ import annotations

from clipserve.client.blocking import Blocking
from clipserve.client.stores import rows

try:
    from langchain_core.embeddings import Embeddings
except ImportError:
    raise ImportError("LangChain is not installed: pip install langchain-core") from None


class ClipserveEmbeddings(Embeddings):
    """Texts and images in one space. Methods raise ItemFailed for the first item that has no vector."""

    def __init__(self, clip: Blocking, *, images: bool = False) -> None:
        """`clip`: it has opened the store (`clipserve.client.stores`). `images`: documents are paths of images."""
        self._clip, self._images = clip, images

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return self.embed_image(texts) if self._images else rows(self._clip.embed_texts(texts))

    def embed_query(self, text: str) -> list[float]:
        return rows(self._clip.embed_texts([text]))[0]

    def embed_image(self, uris: list[str]) -> list[list[float]]:
        """By their paths: `add_images` and `similarity_search_by_image` of some stores call this."""
        return rows(self._clip.embed_images(uris))
