"""The types of fields that several requests share: how JSON has them, and how the OpenAPI document shows them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, NamedTuple

from pydantic import ConfigDict, Field, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

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
_LABEL = {"type": "string", "pattern": NOT_BLANK}
_SLOT = r"(\{\}|\{label\})"
AT_MOST_TWO_SLOTS = {"not": {"pattern": rf"{_SLOT}[\s\S]*{_SLOT}[\s\S]*{_SLOT}"}}
TEMPLATE = {"type": "string", "pattern": _SLOT} | AT_MOST_TWO_SLOTS
TEMPLATE_OR_SET = {"anyOf": [TEMPLATE, {"type": "string", "enum": "$template_sets"}]}

# Of JSON schemas: the bounds of numbers, and limits by their names in `RequestLimits`, which the document fills in.
OF_TEMPERATURE = {"minimum": MIN_TEMPERATURE, "maximum": MAX_TEMPERATURE}
OF_THRESHOLD = {"minimum": -1.0, "maximum": 1.0}


class ImageList:
    """Marks a list of images, which an API makes of bytes, so that nothing is left to validate."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.any_schema()

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"type": "array", "items": {"type": "string", "format": "image"}, "maxItems": "$max_images"}


@dataclass(frozen=True)
class TextList:
    """Marks a list of texts, and says of it in the document: the schema of a text, and names of limits.

    Attributes:
        most: the limit of texts.
        chars: the limit of one text's characters.
        distinct: none may occur twice.
    """

    item: Mapping[str, Any] = field(default_factory=lambda: {"type": "string"})
    most: str = ""
    chars: str = ""
    distinct: bool = False

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        # One fault is enough: an error for each item would be a caller's way to make a great many.
        return core_schema.list_schema(core_schema.str_schema(), fail_fast=True)

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        item = {**self.item} | ({"maxLength": f"${self.chars}"} if self.chars else {})
        most = {"maxItems": f"${self.most}"} if self.most else {}
        distinct = {"uniqueItems": True} if self.distinct else {}
        return {"type": "array", "items": item} | most | distinct


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
Images = Annotated[
    Sequence[ImageSource],
    ImageList(),
    Field(
        description="image files as base64 or as data URIs (data:image/jpeg;base64,...), or URLs of hosts in "
        "CLIPSERVE_IMAGE_HOSTS (none by default)"
    ),
]
Texts = Annotated[Sequence[str], TextList(most="max_texts", chars="max_text_chars")]
Labels = Annotated[
    Sequence[str],
    TextList(_LABEL, "max_labels", "max_label_chars", distinct=True),
]
Background = Annotated[
    Sequence[str],
    TextList(_LABEL, "max_labels", "max_label_chars", distinct=True),
    Field(
        description="labels that take part in the softmax and are not returned", examples=[["something else"]]
    ),
]
Templates = Annotated[
    Sequence[str],
    TextList(TEMPLATE_OR_SET, "max_templates", "max_label_chars", distinct=True),
]
CutTexts = Annotated[bool, Field(description="cut texts of too many tokens instead of refusing them")]
CutPrompts = Annotated[bool, Field(description="cut prompts of too many tokens instead of refusing them")]


def closed(**rules: Any) -> ConfigDict:
    """No other fields are known. `rules`: what a JSON schema says of several fields together."""
    return ConfigDict(extra="forbid", json_schema_extra=rules, use_attribute_docstrings=True)


def some_of(*names: str) -> dict[str, Any]:
    """A JSON schema: one of these lists, at least, has an item."""
    return {"anyOf": [{"required": [name], "properties": {name: {"minItems": 1}}} for name in names]}
