"""Trailing sums against a plain loop."""

from __future__ import annotations

import numpy as np

from tests.evaluation.windows import trailing_sums


def test_trailing_sums_are_those_of_a_loop() -> None:
    random = np.random.default_rng(1)
    key, time = random.integers(0, 5, 300), random.integers(0, 100, 300)
    since = time - random.integers(1, 40, 300)
    values = random.random((300, 2))
    sums = trailing_sums(key, time, values, since)
    for row in range(300):
        earlier = (time < time[row]) | ((time == time[row]) & (np.arange(300) <= row))
        inside = (key == key[row]) & earlier & (time > since[row])
        np.testing.assert_allclose(sums[row], values[inside].sum(axis=0), atol=1e-9)


def test_a_window_never_reaches_another_key() -> None:
    key, time = np.array([0, 1]), np.array([10, 0])
    sums = trailing_sums(key, time, np.ones((2, 1)), time - 10_000)
    np.testing.assert_array_equal(sums, [[1], [1]])
