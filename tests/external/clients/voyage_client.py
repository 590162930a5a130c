"""Voyage's client: URL PHOTO TEXT..."""

import base64
import json
import sys
from pathlib import Path

import voyageai

url, photo, *texts = sys.argv[1:]
uri = "data:image/jpeg;base64," + base64.b64encode(Path(photo).read_bytes()).decode()
client = voyageai.Client(api_key="none", base_url=f"{url}/v1")
inputs = [{"content": [{"type": "image_base64", "image_base64": uri}]}]
inputs += [{"content": [{"type": "text", "text": text}]} for text in texts]
both = client.multimodal_embed(inputs, model="demo", input_type="document")
of_texts = client.embed(texts, model="demo", input_type="query")
errors = []
try:
    client.multimodal_embed(inputs, model="other")
except voyageai.error.VoyageError as error:
    errors.append(str(error))
print(json.dumps({"both": both.embeddings, "texts": of_texts.embeddings, "errors": errors}))
