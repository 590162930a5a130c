"""What every store promises, held by a real Redis."""

from __future__ import annotations

import pytest

from tests.application.label_sets.conftest import another  # noqa: F401  fixtures
from tests.application.label_sets.test_stores import (  # noqa: F401  collected here with this module's store
    store,
    test_a_body_may_have_tens_of_megabytes,
    test_a_change_is_seen_through_another_store,
    test_a_put_replaces_the_whole_row,
    test_a_reader_never_sees_half_of_a_row,
    test_at_first_there_is_nothing,
    test_names_are_told_apart,
    test_of_processes_that_change_at_once_none_undoes_another_and_all_is_seen,
    test_of_two_that_change_at_once_neither_undoes_the_other,
    test_rows_are_kept_by_kind_and_name,
    test_the_revision_is_another_one_after_each_change,
    test_the_revision_stays_while_nothing_changes,
    test_what_is_deleted_is_gone,
)
from tests.redis_server import RedisServer


@pytest.fixture
def shared(redis: RedisServer) -> str:
    return redis.url


@pytest.fixture
def where(shared: str) -> str:
    return shared
