"""The rules along the way: exact for the polynomials that their makers say, and the second within the first."""

import numpy as np
import pytest

from extract.contributions.quadrature import rule


@pytest.mark.parametrize(("points", "degree"), [(2, 3), (5, 7), (12, 23)])
def test_exact_to_its_degree_and_no_further(points: int, degree: int):
    """The integral of (2x - 1)^n over [0, 1] is 1 / (n + 1) for even n, 0 for odd."""
    alphas, weights = np.array(list(rule(points))), np.array(list(rule(points).values()))
    assert len(alphas) == points and (np.diff(alphas) > 0).all() and (weights > 0).all()
    for n in range(degree + 1):
        assert weights @ (2 * alphas - 1) ** n == pytest.approx(0 if n % 2 else 1 / (n + 1), abs=1e-15)
    assert weights @ (2 * alphas - 1) ** (degree + 1) != pytest.approx(1 / (degree + 2), abs=1e-9)


def test_two_points_are_gausss():
    nodes, weights = np.polynomial.legendre.leggauss(2)
    np.testing.assert_allclose(list(rule(2)), (1 + nodes) / 2, atol=1e-15)
    np.testing.assert_allclose(list(rule(2).values()), weights / 2, atol=1e-15)


def test_five_points_have_the_two():
    assert rule(2).keys() < rule(5).keys()
