"""JSON schemas of the types of requests and answers, as /openapi.json has them."""

from __future__ import annotations

import re
from typing import Any, Literal

import orjson
from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema

from clipserve.api.fields import in_form
from clipserve.rest.json_body import IMAGE_FIELDS

Json = dict[str, Any]
Form = Literal["json", "form", "answer"]  # only fields of JSON may be null, and an answer has no defaults

_REF = "#/components/{}/{}"
_NAMED = "x-component"
_SUFFIX = "Json"  # of the types of answers, not of the names in the document
_PLACE = re.compile(r"\$(\w+)")
_IN_FORMS = {name: in_form(name) for name in (*IMAGE_FIELDS, "texts", "to_texts")}


def refer(kind: str, name: str) -> Json:
    """A reference to a component, such as one of `schemas`."""
    return {"$ref": _REF.format(kind, name)}


def named(name: str) -> Json:
    """Inside a type: a reference to a schema of `document/common.json`, which pydantic does not know."""
    return {_NAMED: name}


class Schemas:
    """JSON schemas of types. Those with a name become components, to which others refer."""

    def __init__(self, components: Json) -> None:
        self._components = components

    def refer(self, kind: type[Any], form: Form = "answer") -> Json:
        """A reference to the schema of a type."""
        name = kind.__name__.removesuffix(_SUFFIX)
        if name not in self._components:
            self._components[name] = self.of(kind, form)
        return refer("schemas", name)

    def description(self, field: Json) -> str:
        """What is said of a field, or of the component that it refers to."""
        named = self._components.get(field.get("$ref", "").rpartition("/")[2], {})
        description: str = (named | field).get("description", "")
        return description

    def of(self, kind: type[Any], form: Form) -> Json:
        """The schema of a type: of a request in JSON or in a form, or of an answer."""
        shown = TypeAdapter(kind).json_schema(
            ref_template=_REF.format("schemas", "{model}"), schema_generator=_Untitled
        )
        for name, definition in shown.pop("$defs", {}).items():
            definition.pop("title", None)
            self._components.setdefault(name.removesuffix(_SUFFIX), self._tidied(definition, form))
        shown.pop("title", None)
        tidied: Json = self._tidied(shown, form)
        return tidied

    def form(self, kind: type[Any]) -> Json:
        """The schema of a form with a request's fields, images as files, and other names."""
        shown = self.of(kind, "form")
        for name in {*IMAGE_FIELDS} & {*shown["properties"]}:
            items = {"type": "string", "format": "binary"}
            shown["properties"][name] |= {"items": items, "description": "image files"}
            # With a default of none, /docs would offer no file to choose.
            del shown["properties"][name]["default"]
        renamed: Json = _renamed(shown)
        return renamed

    def _tidied(self, value: Any, form: Form) -> Any:
        if isinstance(value, list):
            return [self._tidied(item, form) for item in value]
        if not isinstance(value, dict):
            return value
        shown = {key: self._tidied(item, form) for key, item in value.items()}
        absent = shown.get("default", ...) is None
        if form == "answer" or absent:
            shown.pop("default", None)
        if shown.get("additionalProperties") is True:
            del shown["additionalProperties"]
        if isinstance(reference := shown.get("$ref"), str):
            shown["$ref"] = reference.removesuffix(_SUFFIX)
        if _NAMED in shown:
            shown |= refer("schemas", shown.pop(_NAMED))
        parts = [
            part
            for part in shown.get("anyOf", ())
            if form == "json" or not absent or part != {"type": "null"}
        ]
        if len(parts) == 1:
            shown = {**parts[0], **{key: item for key, item in shown.items() if key != "anyOf"}}
        elif parts:
            shown["anyOf"] = parts
        if isinstance(name := shown.get("title"), str):
            del shown["title"]
            self._components.setdefault(name, shown)
            return refer("schemas", name)
        return shown


class _Untitled(GenerateJsonSchema):
    """Only what is titled by hand has a title, which becomes the name of a component."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002
        return False


def _renamed(value: Any) -> Any:
    """A schema with the names that fields have in forms."""
    if isinstance(value, list):
        return [_IN_FORMS.get(item, item) if isinstance(item, str) else _renamed(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {_IN_FORMS.get(key, key): _renamed(item) for key, item in value.items()}


def filled(value: Any, values: Json) -> Any:
    """With each text "$name" as the value, and each $name inside a longer text as its text."""

    def text(place: re.Match[str]) -> str:
        shown = values.get(place[1], place[0])
        return f"{shown:,}" if isinstance(shown, int) else str(shown)

    if isinstance(value, list):
        return [filled(item, values) for item in value]
    if isinstance(value, dict):
        return {key: filled(item, values) for key, item in value.items()}
    if not isinstance(value, str) or "$" not in value:
        return value
    return values[value[1:]] if value[1:] in values else _PLACE.sub(text, value)


def drop_unused(document: Json) -> None:
    """Remove schemas to which nothing refers: those of adapters that are off."""
    schemas, used = document["components"]["schemas"], set[str]()
    found = _referred(document["paths"])
    while found - used:
        used |= found
        found = {name for each in used for name in _referred(schemas[each])}
    document["components"]["schemas"] = {name: schemas[name] for name in schemas if name in used}


def _referred(value: Any) -> set[str]:
    return set(re.findall(r'"#/components/schemas/(\w+)"', orjson.dumps(value).decode()))
