"""Vectors in real stores. test_stores.py runs this within an environment that has their libraries."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import psycopg
import pytest
from langchain_core.vectorstores import InMemoryVectorStore
from llama_index.core import Document, StorageContext, VectorStoreIndex, load_index_from_storage
from llama_index.core.indices import MultiModalVectorStoreIndex
from llama_index.core.schema import ImageNode
from psycopg.rows import dict_row
from qdrant_client import QdrantClient, models

import clipserve
from clipserve.client.errors import FingerprintChanged, ItemFailed
from clipserve.client.langchain import ClipserveEmbeddings
from clipserve.client.llama_index import ClipserveEmbedding
from clipserve.client.stores import open_beside, open_collection, open_table
from tests.docs.postgres import postgres

WORDS = ["a cat", "a cup of coffee", "a rocket"]


@pytest.fixture(scope="module")
def clip() -> Iterator[clipserve.Clip]:
    with clipserve.Clip(backend="onnx") as opened:
        yield opened


@pytest.fixture(scope="module")
def other() -> Iterator[clipserve.Clip]:
    """Its vectors are of another fingerprint."""
    with clipserve.Clip(backend="onnx", exif_transpose=False) as opened:
        yield opened


@pytest.fixture(scope="module")
def db() -> Iterator[psycopg.Connection[Any]]:
    with postgres() as found:
        parts = {"host": found["PGHOST"], "user": found["PGUSER"], "dbname": found["PGDATABASE"]}
        with psycopg.connect(**parts, row_factory=dict_row) as opened:
            yield opened
            opened.rollback()


def assert_refused(opened: Any, clip: clipserve.Clip, other: clipserve.Clip) -> None:
    """`opened` opens a store of `clip` with a model, and refuses the other one."""
    assert opened(clip) == clip.served_by()
    with pytest.raises(FingerprintChanged) as refused:
        opened(other)
    for model in (clip, other):
        assert model.served_by().fingerprint in refused.value.detail


def test_a_table_of_one_s_own_keeps_the_fingerprint_in_the_comment_of_a_column(
    db: Any, clip: clipserve.Clip, other: clipserve.Clip
) -> None:
    db.execute("CREATE EXTENSION vector; CREATE SCHEMA shop")
    db.execute('CREATE TABLE shop."Articles" (name text, "Look" vector(384))')
    db.execute("""COMMENT ON COLUMN shop."Articles"."Look" IS 'How it looks.'""")
    assert_refused(lambda it: open_table(db, "shop.Articles", it, column="Look"), clip, other)
    insert = 'INSERT INTO shop."Articles" VALUES (%s, %s)'
    for word, vector in zip(WORDS, clip.embed_texts(WORDS).vectors, strict=True):
        db.execute(insert, (word, vector))
    db.execute('ALTER TABLE shop."Articles" RENAME TO goods')
    assert_refused(lambda it: open_table(db, "shop.goods", it, column="Look"), clip, other)
    comment = db.execute("SELECT col_description('shop.goods'::regclass, 2) AS it").fetchone()["it"]
    assert comment == f"How it looks. fingerprint: {clip.served_by().fingerprint}"
    db.execute("""COMMENT ON COLUMN shop.goods."Look" IS 'How it looks.'""")
    with pytest.raises(FingerprintChanged, match="no fingerprint in the comment of its column Look"):
        open_table(db, "shop.goods", clip, column="Look")


def test_a_table_that_is_made_takes_no_nan_and_no_other_length_and_a_typing_error_is_the_database_s(
    db: Any, clip: clipserve.Clip, other: clipserve.Clip
) -> None:
    assert_refused(lambda it: open_table(db, "photos", it), clip, other)
    db.commit()
    failed = clip.embed_images([b"no image"]).vectors[0]
    for vector in (failed, clip.embed_texts(["a cat"]).vectors[0][:100]):
        with pytest.raises(psycopg.errors.DataException), db.transaction():
            db.execute("INSERT INTO photos VALUES ('a', %s)", (vector,))
    with pytest.raises(psycopg.errors.UndefinedColumn):
        open_table(db, "photos", clip, column="vectors")


def test_a_collection_keeps_it_in_its_metadata_and_an_alias_leads_to_it(
    clip: clipserve.Clip, other: clipserve.Clip
) -> None:
    qdrant = QdrantClient(":memory:")
    made = models.VectorParams(size=384, distance=models.Distance.DOT)
    for name in ("mine", "unknown"):
        qdrant.create_collection(name, vectors_config=made, metadata={"owner": "me"})
    assert_refused(lambda it: open_collection(qdrant, "mine", it), clip, other)
    kept = qdrant.get_collection("mine").config.metadata
    assert kept == {"owner": "me", "fingerprint": clip.served_by().fingerprint}
    alias = models.CreateAlias(collection_name="mine", alias_name="photos")
    qdrant.update_collection_aliases([models.CreateAliasOperation(create_alias=alias)])
    assert_refused(lambda it: open_collection(qdrant, "photos", it), clip, other)
    assert_refused(lambda it: open_collection(qdrant, "new", it), clip, other)
    assert qdrant.get_collection("new").config.params.vectors == models.VectorParams(
        size=384, distance=models.Distance.COSINE
    )
    vector = clip.embed_texts(["a cat"]).vectors[0].tolist()
    qdrant.upsert("unknown", [models.PointStruct(id=1, vector=vector)])
    with pytest.raises(FingerprintChanged, match="no fingerprint in its metadata"):
        open_collection(qdrant, "unknown", clip)


def test_a_qdrant_too_old_for_metadata_is_refused_although_it_makes_the_collection(
    clip: clipserve.Clip,
) -> None:
    local = QdrantClient(":memory:")
    local.create_collection("photos", vectors_config=models.VectorParams(size=384, distance="Cosine"))
    collection = local.get_collection("photos").model_dump(mode="json", exclude={"config": {"metadata"}})
    made: dict[str, Any] = {}

    class Old(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer({"exists": False} if self.path.endswith("/exists") else collection)

        def do_POST(self) -> None:
            self._answer({"count": 0})

        def do_PUT(self) -> None:
            made.update(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self._answer(True)

        def _answer(self, result: object) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps({"result": result, "status": "ok", "time": 0.0}).encode())

    with ThreadingHTTPServer(("127.0.0.1", 0), Old) as server:
        Thread(target=server.serve_forever).start()
        try:
            qdrant = QdrantClient(port=server.server_port, host="127.0.0.1", check_compatibility=False)
            with pytest.raises(FingerprintChanged, match=r"no fingerprint in its metadata, .* since 1\.16"):
                open_collection(qdrant, "photos", clip)
        finally:
            server.shutdown()
    assert made["metadata"] == {"fingerprint": clip.served_by().fingerprint}
    assert (made["vectors"]["size"], made["vectors"]["distance"]) == (384, "Cosine")


async def test_langchain_searches_photos_by_words_also_from_an_event_loop(
    clip: clipserve.Clip, other: clipserve.Clip, folder: Path
) -> None:
    saved = folder / "store.json"
    assert_refused(lambda it: open_beside(saved, it), clip, other)
    photos = ClipserveEmbeddings(clip, images=True)
    store = InMemoryVectorStore(photos)
    paths = [str(path) for path in sorted((folder / "photos").iterdir())]
    await store.aadd_texts(paths)
    store.dump(str(saved))
    assert_refused(lambda it: open_beside(saved, it), clip, other)
    loaded = InMemoryVectorStore.load(str(saved), photos)
    for words in WORDS:
        (found,) = await loaded.asimilarity_search(words, k=1)
        assert Path(found.page_content).stem in words
    words = ClipserveEmbeddings(clip)
    assert words.embed_documents(WORDS)[0] == words.embed_query(WORDS[0])
    assert words.embed_image(paths) == photos.embed_documents(paths)
    with pytest.raises(ItemFailed, match=r"item 1: .*tokens"):
        words.embed_documents(["a cat", "cat " * 500])


async def test_llama_index_searches_photos_by_words_and_by_a_photo_and_loads_what_it_has_saved(
    clip: clipserve.Clip, folder: Path
) -> None:
    model = ClipserveEmbedding(clip)
    paths = [str(path) for path in sorted((folder / "photos").iterdir())]
    nodes = [ImageNode(image_path=path, metadata={"path": path}) for path in paths]
    index = MultiModalVectorStoreIndex(nodes, embed_model=model, image_embed_model=model)
    index.storage_context.persist(str(folder / "index"))
    saved = StorageContext.from_defaults(persist_dir=str(folder / "index"))
    loaded: Any = load_index_from_storage(saved, embed_model=model, image_embed_model=model)
    retriever = loaded.as_retriever(image_similarity_top_k=1)
    for words in WORDS:
        for found in (
            retriever.text_to_image_retrieve(words),
            await retriever.atext_to_image_retrieve(words),
        ):
            assert Path(found[0].node.image_path).stem in words
    (like,) = retriever.image_to_image_retrieve(paths[0])
    assert like.node.image_path == paths[0]
    file = io.BytesIO(Path(paths[0]).read_bytes())
    assert model.get_image_embedding(file) == await model.aget_image_embedding(paths[0])
    assert model.get_image_embedding_batch(paths) == await model.aget_image_embedding_batch(paths)
    with pytest.raises(ItemFailed, match="item 0: "):
        model.get_image_embedding(io.BytesIO(b"no image"))


async def test_llama_index_searches_texts(clip: clipserve.Clip) -> None:
    model = ClipserveEmbedding(clip, embed_batch_size=2)
    index = VectorStoreIndex.from_documents([Document(text=text) for text in WORDS], embed_model=model)
    retriever = index.as_retriever(similarity_top_k=1)
    assert retriever.retrieve("a cup of tea")[0].text == (await retriever.aretrieve("a cup of tea"))[0].text
    assert retriever.retrieve("a kitten")[0].text == "a cat"
    assert await model.aget_text_embedding_batch(WORDS) == model.get_text_embedding_batch(WORDS)
    assert model.model_name == clip.served_by().fingerprint
