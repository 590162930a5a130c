"""Cohere's ClientV2: URL PHOTO TEXT..."""

import base64
import json
import sys
from pathlib import Path

import cohere

url, photo, *texts = sys.argv[1:]
uri = "data:image/jpeg;base64," + base64.b64encode(Path(photo).read_bytes()).decode()
client = cohere.ClientV2(api_key="none", base_url=url)
of_texts = client.embed(
    model="demo", input_type="search_query", texts=texts, embedding_types=["float", "int8"]
)
of_image = client.embed(model="demo", input_type="image", images=[uri], embedding_types=["float"])
reranked = client.rerank(model="demo", query=texts[0], documents=texts[1:], top_n=1)
errors = []
try:
    client.embed(
        model="demo", input_type="image", images=["http://localhost/cat.jpg"], embedding_types=["float"]
    )
except cohere.UnprocessableEntityError as error:
    errors.append(str(error.body))
print(
    json.dumps(
        {
            "texts": of_texts.embeddings.float_,
            "image": of_image.embeddings.float_[0],
            "reranked": [[each.index, each.relevance_score] for each in reranked.results],
            "errors": errors,
        }
    )
)
