"""Tests of the pauses between attempts."""

import pytest

from esms_async._model.backoff import backoff


@pytest.mark.parametrize(
    ("attempt", "bound"), [(1, 0.25), (2, 0.5), (5, 4.0), (6, 5.0), (5000, 5.0)]
)
def test_a_pause_is_drawn_evenly_up_to_a_bound_that_doubles(attempt: int, bound: float) -> None:
    """Of 2,000 pauses none is beyond the bound, and they fill the range evenly."""
    pauses = sorted(backoff(attempt, first=0.25, longest=5.0) for _ in range(2000))
    assert 0 <= pauses[0] <= pauses[-1] <= bound
    assert pauses[0] < bound / 20
    assert pauses[-1] > bound * 19 / 20
    assert bound * 0.4 < pauses[1000] < bound * 0.6
