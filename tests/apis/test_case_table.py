"""What REST has, gRPC has: each use case and each error through both, with the same values and the same code."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from clipserve.errors import kinds
from clipserve.v1 import clip_pb2
from tests.apis.asking import METHODS, by_rest, by_rpc, close
from tests.apis.cases import CASES, FINGERPRINT, OF_ONE_API, Case
from tests.apis.label_set_cases import LABEL_SET_CASES
from tests.apis.places import place
from tests.application.label_sets.making import put_of
from tests.rpc.client import Client, client_of
from tests.support.service import Running

ALL = [*CASES, *LABEL_SET_CASES]


def with_fingerprint(fields: dict[str, Any], running: Running) -> dict[str, Any]:
    (model,) = running.gateway.models.values()
    known = fields.get("expect_fingerprint") == FINGERPRINT
    return fields | {"expect_fingerprint": model.fingerprint} if known else fields


async def prepare(running: Running, case: Case) -> None:
    """The label sets of the case, and in the service of most cases no others."""
    label_sets = running.gateway.inference.label_sets
    for state in label_sets.all() if case.where == "usual" else ():
        await label_sets.delete(state.name)
    for name, fields in case.sets.items():
        await label_sets.put(put_of(name, **with_fingerprint(fields, running)))


Served = tuple[Running, dict[str, str], Client]


@asynccontextmanager
async def served(where: str, folder: Path) -> AsyncIterator[Served]:
    async with place(where, folder) as (running, keys), client_of(running.rpc_address) as client:
        yield running, keys, client


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def usual(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    """The service of most cases, each of which finds the label sets that it needs, and no others."""
    async with served("usual", tmp_path_factory.mktemp("usual")) as opened:
        yield opened


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("case", ALL, ids=lambda case: case.name)
async def test_both_apis_answer_the_same(case: Case, usual: Served, tmp_path: Path) -> None:
    async with nullcontext(usual) if case.where == "usual" else served(case.where, tmp_path) as opened:
        running, keys, client = opened
        key = keys[case.keys[0]] if case.keys else None
        case = replace(case, fields=with_fingerprint(case.fields, running))
        await prepare(running, case)
        code, said = await by_rest(running, case, key)
        await prepare(running, case)
        rpc_code, rpc_said = await by_rpc(client, case, key)
        if case.code and case.method == "put_label_set" and case.where == "usual":
            assert not await running.gateway.inference.label_sets.store.listing(), "it is kept"
    assert code == rpc_code == case.code, (said, rpc_said)
    if case.code in ("overloaded", "rate_limited"):
        return  # what is left by then is in the words
    assert close(said, rpc_said), f"\n{said}\n{rpc_said}"
    assert {name: said[name] for name in case.error} == case.error


def test_each_error_is_in_the_table_or_of_one_api() -> None:
    told = {case.code for case in ALL} - {None}
    assert told | OF_ONE_API.keys() == {kind.code for kind in kinds()}
    assert not told & OF_ONE_API.keys()


def test_each_use_case_is_in_the_table() -> None:
    methods = {METHODS.get(case.method, case.method.capitalize()) for case in ALL}
    assert methods | {"EmbedStream"} == set(clip_pb2.DESCRIPTOR.services_by_name["Clip"].methods_by_name)
