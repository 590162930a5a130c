"""Makes `architectures.json` of `clipserve_models.layouts`; needs open_clip.

    python -m tools.architectures

It holds open_clip's configurations of the architectures that are built from weights. `preprocess_cfg` is what
all of open_clip's weights of the architecture agree on besides mean and deviation.
"""

from __future__ import annotations

import json
from typing import Any

from clipserve_models.errors import ModelsError
from clipserve_models.layouts.facts import Facts
from clipserve_models.layouts.open_clip_folder import ARCHITECTURES, architecture_of


def architectures() -> str:
    """The file: JSON, an architecture a line."""
    import open_clip

    found: dict[str, Any] = {}
    for name in open_clip.list_models():
        config = open_clip.get_model_config(name)
        try:
            architecture_of(Facts(name, config))
        except ModelsError:
            continue
        tags = [
            open_clip.get_pretrained_cfg(name, tag) for tag in open_clip.list_pretrained_tags_by_model(name)
        ]
        modes = {tag.get("resize_mode", "shortest") for tag in tags}
        found[name] = {"model_cfg": config}
        if modes == {"squash"}:
            found[name]["preprocess_cfg"] = {"resize_mode": "squash"}
    lines = (f"{json.dumps(name)}: {json.dumps(told)}" for name, told in sorted(found.items()))
    return "{\n" + ",\n".join(lines) + "\n}\n"


if __name__ == "__main__":
    ARCHITECTURES.write_text(architectures(), "utf-8")
