"""huggingface_hub's InferenceClient: URL PHOTO LABEL..."""

import json
import sys

from huggingface_hub import InferenceClient
from huggingface_hub.errors import HfHubHTTPError

url, photo, *labels = sys.argv[1:]
template = "a picture of {}"
client = InferenceClient(model=f"{url}/models/demo")
found = client.zero_shot_image_classification(photo, candidate_labels=labels, hypothesis_template=template)
errors = []
try:
    InferenceClient(model=f"{url}/models/other").zero_shot_image_classification(
        photo, candidate_labels=labels
    )
except HfHubHTTPError as error:
    errors.append(str(error))
print(
    json.dumps(
        {"labels": [[each.label, each.score] for each in found], "templates": [template], "errors": errors}
    )
)
