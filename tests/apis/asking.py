"""A case through each of the two APIs, and what it said."""

from __future__ import annotations

import base64
from typing import Any
from urllib.parse import quote

import pytest

from tests.apis.cases import Case
from tests.rpc.client import Client, Refused
from tests.support.service import Running

METHODS = {
    "models": "ListModels",
    "template_sets": "ListTemplateSets",
    "template_set": "GetTemplateSet",
    "label_sets": "ListLabelSets",
    "label_set": "GetLabelSet",
    "put_label_set": "PutLabelSet",
    "delete_label_set": "DeleteLabelSet",
}
_TARGETS = {
    "models": "GET /v1/models",
    "template_sets": "GET /template-sets",
    "template_set": "GET /template-sets/{name}",
    "label_sets": "GET /label-sets",
    "label_set": "GET /label-sets/{name}",
    "put_label_set": "PUT /label-sets/{name}",
    "delete_label_set": "DELETE /label-sets/{name}",
}
Outcome = tuple[str | None, Any]  # the code, and what was said


async def by_rest(running: Running, case: Case, key: str | None) -> Outcome:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    verb, target = _TARGETS.get(case.method, f"POST /{case.method}").split()
    body = _in_json(case.fields)
    if "{name}" in target:
        target = target.format(name=quote(body.pop("name")))
    sent = {"json": body} if verb in ("POST", "PUT") else {}
    response = await running.client.request(verb, target, headers=headers, **sent)
    answer = response.json() if response.content else {}
    if "code" in answer:
        return answer["code"], _error(answer)
    if case.method == "models":
        return None, [
            {name: value for name, value in model.items() if name != "object"} for model in answer["data"]
        ]
    return None, _inner(case, answer)


def _in_json(value: Any) -> Any:
    """Images in base64."""
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, dict):
        return {name: _in_json(each) for name, each in value.items()}
    return [*map(_in_json, value)] if isinstance(value, list) else value


async def by_rpc(client: Client, case: Case, key: str | None) -> Outcome:
    metadata = [("authorization", f"Bearer {key}")] if key else []
    method = METHODS.get(case.method, case.method.capitalize())
    try:
        answer = await client.call(method, metadata, **case.fields)
    except Refused as refused:
        return refused.fields.get("code"), _error(refused.fields)
    return None, _inner(case, answer)


def _error(said: dict[str, Any]) -> dict[str, Any]:
    return {name: said.get(name) for name in ("detail", "limit", "actual", "index")}


def _inner(case: Case, answer: dict[str, Any]) -> Any:
    """What an answer of gRPC, or a list of REST, has in a field of its own."""
    if case.method in ("models", "template_sets", "template_set", "label_sets", "label_set"):
        return answer.get(case.method, answer)
    return answer.get("label_set", answer)


def close(one: Any, other: Any) -> bool:
    """Equal; numbers as far as float32 in JSON, or six digits of a measured time, allow."""
    if isinstance(one, dict) and isinstance(other, dict):
        names = {name for name in one.keys() | other.keys() if one.get(name) or other.get(name)}
        return all(close(one.get(name), other.get(name)) for name in names)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(close, one, other))
    if isinstance(one, float | int) and isinstance(other, float | int):
        return bool(one == pytest.approx(other, rel=1e-6, abs=1e-7))
    return (one or None) == (other or None)
