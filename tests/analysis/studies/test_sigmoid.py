"""Fits of validation against rollouts."""

import numpy as np
import pytest

from analysis.studies import sigmoid


def test_a_sigmoid_is_recovered_from_its_own_points():
    rollouts = np.geomspace(500, 80_000, 20)
    true = sigmoid.Sigmoid(0.2, 0.85, 9000.0, 1.8)
    found = sigmoid.fit(rollouts, true.at(rollouts), 0.2)
    assert found.asymptote == pytest.approx(0.85, abs=1e-4)
    assert found.midpoint == pytest.approx(9000, rel=1e-3)
    assert found.steepness == pytest.approx(1.8, rel=1e-3)
    assert found.inverse(0.785) == pytest.approx(true.inverse(0.785), rel=1e-3)
    # 0.785 is nine tenths of the gain of 0.65: the share 0.9 is at midpoint × 9^(1/1.8).
    assert true.inverse(0.785) == pytest.approx(9000 * 9 ** (1 / 1.8))
