"""The types of fields that several requests share: how JSON has them, and how the OpenAPI document shows them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, NamedTuple

from pydantic import ConfigDict, Field, WithJsonSchema

from clipserve.api.answers import List, in_json
from clipserve.api.limits import MAX_TEMPERATURE, MIN_TEMPERATURE
from clipserve.errors import ClipError

# An image from REST or gRPC: the bytes of a file, or the API's error, such as malformed base64.
ImageInput = bytes | ClipError


class ImageUrl(NamedTuple):
    """The URL of an image that must be fetched."""

    url: str


# An image of a request.
ImageSource = ImageInput | ImageUrl

# Of JSON schemas: something else than spaces; one or two slots.
NOT_BLANK = r"[^\s\x1c-\x1f\x85]"
STRING = {"type": "string"}
_LABEL = STRING | {"pattern": NOT_BLANK}
_SLOT = r"(\{\}|\{label\})"
AT_MOST_TWO_SLOTS = {"not": {"pattern": rf"{_SLOT}[\s\S]*{_SLOT}[\s\S]*{_SLOT}"}}
_TEMPLATE = STRING | {"pattern": _SLOT} | AT_MOST_TWO_SLOTS
_TEMPLATE_OR_SET = {"anyOf": [_TEMPLATE, STRING | {"enum": "$template_sets"}]}


def text_list(
    most: str = "", chars: str = "", item: Mapping[str, Any] = STRING, *, distinct: bool = False
) -> WithJsonSchema:
    """What the document says of a list of texts: the schema of each, and limits by their names in `RequestLimits`.

    `most` limits the list, `chars` each text. `distinct`: none may occur twice.
    """
    shown = {"type": "array", "items": {**item} | ({"maxLength": f"${chars}"} if chars else {})}
    limits = {"maxItems": f"${most}"} if most else {}
    return WithJsonSchema(shown | limits | ({"uniqueItems": True} if distinct else {}))


def in_form(name: str) -> str:
    """The name in a form, which repeats a field in place of a list: `image` for `images`."""
    return name.removesuffix("s")


def whole(value: object) -> object:
    """A whole float as an int: some JSON clients write all numbers as floats."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Number = Annotated[float, Field(allow_inf_nan=False)]
ModelName = Annotated[
    str,
    Field(description="name of a served model; default: the first", json_schema_extra={"enum": "$models"}),
]
ExpectedFingerprint = Annotated[
    str,
    Field(
        description="the fingerprint of your vectors: a service with another one refuses the request; empty: any. "
        "The header X-Expect-Fingerprint does the same",
        examples=[""],
    ),
]
# An API makes them of bytes, so that nothing is left to validate.
Images = Annotated[
    Sequence[ImageSource],
    in_json(Any),
    WithJsonSchema({"type": "array", "items": STRING | {"format": "image"}, "maxItems": "$max_images"}),
    Field(
        description="image files as base64 or as data URIs (data:image/jpeg;base64,...), or URLs of hosts in "
        "CLIPSERVE_IMAGE_HOSTS (none by default)"
    ),
]
# "$name" is a limit of `RequestLimits`, or what else `clipserve.rest.document` puts there.
Strings = Annotated[Sequence[str], in_json(List[str])]
Texts = Annotated[Strings, text_list("max_texts", "max_text_chars")]
Labels = Annotated[Strings, text_list("max_labels", "max_label_chars", _LABEL, distinct=True)]
Background = Annotated[
    Labels,
    Field(
        description="labels that take part in the softmax and are not returned", examples=[["something else"]]
    ),
]
Templates = Annotated[Strings, text_list("max_templates", "max_label_chars", _TEMPLATE_OR_SET, distinct=True)]
Temperature = Annotated[
    Number,
    Field(examples=[1.0], json_schema_extra={"minimum": MIN_TEMPERATURE, "maximum": MAX_TEMPERATURE}),
]
Threshold = Annotated[Number, Field(examples=[0.2], json_schema_extra={"minimum": -1.0, "maximum": 1.0})]
CutTexts = Annotated[bool, Field(description="cut texts of too many tokens instead of refusing them")]
CutPrompts = Annotated[bool, Field(description="cut prompts of too many tokens instead of refusing them")]


def closed(**rules: Any) -> ConfigDict:
    """No other fields are known. `rules`: what a JSON schema says of several fields together."""
    return ConfigDict(extra="forbid", json_schema_extra=rules, use_attribute_docstrings=True)


def filled(name: str, *empty: str, **others: object) -> dict[str, Any]:
    """A JSON schema: this list has an item, the lists `empty` have none, and others are as they say."""
    return {
        "required": [name],
        "properties": {name: {"minItems": 1}, **{each: {"maxItems": 0} for each in empty}, **others},
    }


def some_of(*names: str) -> dict[str, Any]:
    """A JSON schema: one of these lists, at least, has an item."""
    return {"anyOf": [*map(filled, names)]}
