"""clip-client, the client of clip-as-service: URL PHOTO TEXT..."""

import json
import sys

from clip_client import Client
from docarray import Document

url, photo, *texts = sys.argv[1:]
client = Client(url)
both = client.encode([photo, *texts])
(ranked,) = client.rank(
    [Document(uri=photo, matches=[Document(text=f"a photo of a {text}.") for text in texts])]
)
labels = [
    [match.text[len("a photo of a ") : -1], match.scores["clip_score"].value] for match in ranked.matches
]
print(json.dumps({"both": both.tolist(), "labels": labels, "templates": ["a photo of a {}."]}))
