from __future__ import annotations

from pathlib import Path

import pytest

from tests.lines import code_lines, folder_of


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        pytest.param("\n\n", 0, id="blank lines are no code"),
        pytest.param("# why\n", 0, id="a comment is no code"),
        pytest.param('"""Says what.\n\nMore.\n"""\n', 0, id="a docstring is no code"),
        pytest.param("x = 1  # why\n", 1, id="a statement with a comment is code"),
        pytest.param('x = """a\nb"""\n', 2, id="a string that is used is code"),
        pytest.param("call(\n    1,\n\n    # why\n    2,\n)\n", 4, id="a statement of several lines"),
        pytest.param("def f():\n    'What.'\n    return 1\n", 2, id="a function"),
    ],
)
def test_only_lines_of_statements_are_code(source: str, expected: int) -> None:
    assert code_lines(source) == expected


def test_a_module_at_the_top_of_the_service_is_no_package() -> None:
    assert folder_of(Path("service/clipserve/errors.py")) == ["service", "  (top)"]
    assert folder_of(Path("service/clipserve/rest/app.py")) == ["service", "  rest"]
