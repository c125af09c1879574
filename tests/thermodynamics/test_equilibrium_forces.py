"""Equilibrium densities and forces of small singular values, against printed formulas in digits."""

import math

import mpmath
import numpy as np
import pytest

from dlngeom.thermodynamics.equilibrium import log_density, log_density_gradient
from tests.helpers.parameters import crossed

INF = math.inf
DIGITS = 700
RATIOS = (1 - 1e-12, 0.6, 1e-3, 1e-8, 1e-12, 1e-30, 1e-100, 1e-300)
SPECTRA = [
    lambda q: [1.0, q],
    lambda q: [q, 1.0, 0.7],
    lambda q: [1.3, 0.8 * q, q],
]


def printed(lam, depth, beta, kappa, c):
    """Logarithm of the density, its gradient, and the sums of the sizes of their terms."""
    log, b = mpmath.log, 1 / (2 * mpmath.mpf(kappa))
    a, number = 1 - b, 1 if depth == INF else depth
    if depth == 1:
        a, b = mpmath.mpf(0), mpmath.mpf(1)
    c = -1 if depth == INF else c
    lam = [mpmath.mpf(x) for x in lam]
    values = [-beta / mpmath.mpf(kappa) * x ** (2 * number) / 2 + c * log(x) for x in lam]
    slopes = [[-beta / mpmath.mpf(kappa) * number * x ** (2 * number - 1), c / x] for x in lam]
    for k, x in enumerate(lam):
        for j, y in enumerate(lam):
            if j == k:
                continue
            first = log(abs(log(x / y))) if depth == INF else log(abs(x**2 - y**2))
            values += [a * first / 2, b * log(abs(x ** (2 * number) - y ** (2 * number))) / 2]
            slopes[k] += [
                a / (x * log(x / y)) if depth == INF else 2 * a * x / (x**2 - y**2),
                2 * b * number * x ** (2 * number - 1) / (x ** (2 * number) - y ** (2 * number)),
            ]
    gradient = [(sum(terms), sum(map(abs, terms))) for terms in slopes]
    return sum(values), sum(map(abs, values)), gradient


@pytest.mark.parametrize(
    ("depth", "kappa", "wide"), crossed([2, 1, 3, 5, INF], [1.5, 0.5, 0.4], [0, 1])
)
def test_densities_and_forces_keep_their_digits_at_every_ratio(depth, kappa, wide):
    if wide and depth == INF:
        return
    for spectrum in SPECTRA:
        for q in RATIOS:
            lam = spectrum(q)
            r, options, c = len(lam), {}, 0
            if wide:
                options["widths"] = (r + 1, *[r + 2] * (depth - 1), r)
                c = 1 + 2 * (depth - 1) / mpmath.mpf(kappa)
            with mpmath.workdps(DIGITS):
                value, size, gradient = printed(lam, depth, 2.0, kappa, c)
                found = float(log_density(lam, depth, 2.0, kappa, **options))
                # Logarithms of large and of small numbers may cancel, as those of one number.
                assert abs(found - value) <= 1e-13 * abs(value) + 1e-15 * size
                slopes = log_density_gradient(lam, depth, 2.0, kappa, **options).tolist()
                for x, (right, total) in zip(slopes, gradient, strict=True):
                    if 1e-300 < total < 1e300:
                        # Repulsion and attraction of different signs exist at kappa < 1/2 alone.
                        tolerance = 1e-13 * abs(right) + (5e-16 * total)
                        assert abs(x - right) <= tolerance, (lam, x, mpmath.nstr(right, 17))


def test_the_forces_that_were_lost():
    force = log_density_gradient([1, 1e-8], 3, 2, 1.5)
    assert force[1] == pytest.approx(-4 / 3 * 1e-8, rel=1e-13)
    force = log_density_gradient([1, 1e-12], 3, 2, 1.5)
    assert force[1] == pytest.approx(-4 / 3 * 1e-12, rel=1e-13)


@pytest.mark.parametrize("depth", [1, 3, INF])
def test_at_ties_the_density_vanishes_and_has_no_gradient(depth):
    lam = np.array([[1.0, 1.0, 0.5], [1.0, 0.7, 0.5]])
    assert log_density(lam, depth, 1.0)[0] == -INF
    with pytest.raises(ValueError, match=r"has the entry .* twice"):
        log_density_gradient(lam, depth, 1.0)
