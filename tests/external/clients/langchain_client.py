"""langchain_openai: URL PHOTO TEXT..."""

import base64
import json
import sys
from pathlib import Path

from langchain_openai import OpenAIEmbeddings

url, photo, *texts = sys.argv[1:]
uri = "data:image/jpeg;base64," + base64.b64encode(Path(photo).read_bytes()).decode()
model = OpenAIEmbeddings(model="demo", base_url=f"{url}/v1", api_key="none", check_embedding_ctx_length=False)
print(json.dumps({"both": model.embed_documents([uri, *texts]), "image": model.embed_query(uri)}))
