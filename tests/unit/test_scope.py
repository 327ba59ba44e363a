"""The scope index: when an edit fires."""

import pytest

from editors.scope import DEFAULT_THRESHOLD, calibrate


@pytest.mark.parametrize(
    ("must_fire", "must_not"),
    [
        ([0.9], [0.1]),
        ([0.9], [0.7]),
        ([0.2], [0.1]),
        ([-1e-5], [-2e-5]),
        ([-1e-5], []),
        ([], [1.001]),
        ([], []),
    ],
)
def test_a_threshold_is_a_ratio_above_all_that_must_not_fire(
    must_fire: list[float], must_not: list[float]
) -> None:
    threshold = calibrate(must_fire, must_not)

    assert 0.0 < threshold < 1.0
    assert threshold == pytest.approx(0.999) or all(score < threshold for score in must_not)


def test_the_usual_threshold_serves_where_it_parts_the_two() -> None:
    assert calibrate([0.9, 0.6], [0.4, -0.1]) == DEFAULT_THRESHOLD
