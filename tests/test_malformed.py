"""A few thousand of the million malformed answers of benchmarks/malformed.py."""

from benchmarks import malformed


def test_no_malformed_answer_ends_an_arm_or_poisons_its_state() -> None:
    found = malformed.run(6_000, seed=7)
    assert found["ended"] == found["poisoned"] == found["refused_by_another_error"] == 0
    assert found["refused"] > 4_000
    assert found["refused_by_its_norm"] > 100
    assert found["taken"] > 100
