"""LiteLLM's SDK: URL PHOTO TEXT..."""

import base64
import json
import sys
from pathlib import Path

import litellm

url, photo, *texts = sys.argv[1:]
uri = "data:image/jpeg;base64," + base64.b64encode(Path(photo).read_bytes()).decode()


def embed(*items: str) -> list[list[float]]:
    answer = litellm.embedding(model="openai/demo", input=list(items), api_base=f"{url}/v1", api_key="none")
    return [each["embedding"] for each in answer.data]


errors = []
try:
    litellm.embedding(model="openai/other", input=["a"], api_base=f"{url}/v1", api_key="none")
except litellm.NotFoundError as error:
    errors.append(str(error))
print(json.dumps({"both": embed(uri, *texts), "errors": errors}))
