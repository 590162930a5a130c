"""Numbers that are no error of JSON, and that few can hold: beyond 64 bits, beyond what a float has, too exact."""

from __future__ import annotations

from collections.abc import Iterator

from tests.abuse.attack import Attack, once, request
from tests.abuse.attacks.files import small

NUMBERS = (
    *("-1e30", "1e30", "1e300", "1e400", "-1e400", "1e-400", "-0.0", "0.1e1", "-1"),
    *("18446744073709551615", "18446744073709551616", "-9223372036854775809", "9" * 400, "[[[[1e30]]]]"),
)
_CLASSIFY = '{"images": ["iVBORw0KGgo="], "labels": ["a"], '
# By what they are for: method, path, and the JSON around the number.
PLACES = {
    "top_k": ("POST", "/classify", _CLASSIFY + '"top_k": {}}'),
    "temperature": ("POST", "/classify", _CLASSIFY + '"temperature": {}}'),
    "threshold": ("POST", "/classify", _CLASSIFY + '"threshold": {}}'),
    "texts": ("POST", "/embed", '{"texts": [{}]}'),
    "OpenAI, dimensions": ("POST", "/v1/embeddings", '{"input": "a", "dimensions": {}}'),
    "Cohere, output_dimension": ("POST", "/v2/embed", '{"texts": ["a"], "output_dimension": {}}'),
    "rerank, top_n": ("POST", "/rerank", '{"query": "a", "documents": [""], "top_n": {}}'),
    "llama.cpp, embd_normalize": ("POST", "/embeddings", '{"content": "a", "embd_normalize": {}}'),
    "Voyage, output_dimension": (
        "POST",
        "/v1/multimodalembeddings",
        '{"inputs": [{"content": [{"text": "a"}]}], "output_dimension": {}}',
    ),
    "Hugging Face, labels": (
        "POST",
        "/models/demo",
        '{"inputs": "", "parameters": {"candidate_labels": [{}]}}',
    ),
    "clip-as-service, text": ("POST", "/post", '{"data": [{"text": {}}]}'),
    # Not what is right, or the set is kept and built.
    "a label set, top_k": ("PUT", "/label-sets/x", '{"labels": [""], "top_k": {}}'),
    "a label set, temperature": ("PUT", "/label-sets/x", '{"labels": ["a", "a"], "temperature": {}}'),
}


def _in_query(number: str) -> bytes:
    return request(f"/classify?labels=a&top_k={number}", small("PNG"), "image/png")


def attacks() -> Iterator[Attack]:
    for row, (place, (method, path, around)) in enumerate(PLACES.items()):
        for column, number in enumerate(NUMBERS):
            body = around.replace("{}", number).encode()
            made = request(path, body, method=method)
            more = (row + column) % 5 != 3  # two or three numbers for each place, and places for each number
            yield Attack("odd numbers", f"{place} {number[:24]}", once(made), legal=True, nightly=more)
    for number in (*NUMBERS, "nan", "inf", "-" + "9" * 4_299, "9" * 4_301, "1_0", "+1", "٣", "0x10"):
        made = _in_query("".join(f"%{byte:02x}" for byte in number.encode()))
        name = f"in a query {number[:20]}, {len(number)} characters"
        yield Attack("odd numbers", name, once(made), legal=True)
