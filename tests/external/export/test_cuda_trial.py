"""The graph that a GPU is tried with."""

from __future__ import annotations


def test_the_graph_of_the_trial_is_what_its_program_makes() -> None:
    from tools.cuda_trial import FILE, build

    assert build().SerializeToString(deterministic=True) == FILE.read_bytes()
