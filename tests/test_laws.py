"""The exact laws themselves: moments, special cases, direct simulation, and bad input."""

import re

import numpy as np
import pytest
from scipy import stats

from dlngeom import DeepLinearNetwork, laws
from tests.helpers.laws_cases import ALPHA, SEED, one_sample, two_sample

NETWORK = DeepLinearNetwork((2, 3, 4, 2))
MANY = 20_000


def radial(s0=(1.2, 0.5), shape=(2, 2), depth=3, time=0.3, beta=2.0, size=3, rng=0):
    return laws.radial_law(s0, shape, depth, time, beta, size, rng)


def infinite(s0=(1.2, 0.5), time=0.3, beta=2.0, size=3, rng=0):
    return laws.radial_law_infinite_depth(s0, time, beta, size, rng)


def cone(space=NETWORK, r0_squared=2.0, time=0.3, beta=2.0, kappa=0.5):
    return laws.cone_law(space, r0_squared, time, beta, kappa)


def sphere(dimension=4, r0_squared=2.0, time=0.3, beta=2.0, kappa=0.5):
    return laws.sphere_law(dimension, r0_squared, time, beta, kappa)


def dyson(x0=(-1.0, 0.2, 1.0), time=0.3, beta=2.0, kappa=1.0, size=3, rng=0):
    return laws.dyson_law(x0, time, beta, kappa, size, rng)


BAD_TIMES = [
    ({"time": -0.5}, "time=-0.5: it must be >= 0 and finite"),
    ({"time": np.inf}, "time=inf: it must be >= 0 and finite"),
    ({"time": np.nan}, "time=nan: it must be >= 0 and finite"),
    ({"beta": 0.0}, "beta=0.0: it must be positive"),
    ({"beta": -1.5}, "beta=-1.5: it must be positive"),
    ({"beta": np.nan}, "beta=nan: it must be positive"),
]
BAD_SIZES = [
    ({"size": 0}, "size=0: it must be an integer of at least 1"),
    ({"size": 2.5}, "size=2.5: it must be an integer of at least 1"),
    ({"size": True}, "size=True: it must be an integer of at least 1"),
]
BAD_SPECTRA = [
    ({"s0": (1.0, 0.0)}, "s0=(1.0, 0.0): it must be positive and finite"),
    ({"s0": (1.0, -2.0)}, "s0=(1.0, -2.0): it must be positive and finite"),
    ({"s0": (1.0, np.nan)}, "s0=(1.0, nan): it must be positive and finite"),
    ({"s0": ((1.0, 2.0),)}, "s0=((1.0, 2.0),): it must be positive and finite, of shape (r,)"),
]
BAD_SQUARES = [
    ({"r0_squared": 0.0}, "r0_squared=0.0: it must be positive and finite"),
    ({"r0_squared": np.inf}, "r0_squared=inf: it must be positive and finite"),
    ({"kappa": -0.5}, "kappa=-0.5: it must be >= 0 and finite"),
    ({"kappa": np.inf}, "kappa=inf: it must be >= 0 and finite"),
]
BAD_DYSON = [
    ({"x0": (1.0, np.nan)}, "it must be finite, of shape (d,)"),
    ({"x0": ((1.0, 2.0),)}, "it must be finite, of shape (d,)"),
    ({"kappa": 0.0}, "kappa=0.0: it must be positive and finite"),
    ({"kappa": np.nan}, "kappa=nan: it must be positive and finite"),
    ({"kappa": 0.7}, "kappa=0.7: from distinct eigenvalues the law is known for 2.0, 1.0, 0.5"),
]
BAD_RADIAL = [
    ({"depth": 0}, "depth=0"),
    ({"depth": 1.5}, "depth=1.5"),
    ({"depth": np.inf, "shape": (2, 3)}, "depth=inf: shape=(2, 3) with 2 values"),
    ({"depth": np.inf, "shape": (3, 3)}, "depth=inf: shape=(3, 3) with 2 values"),
    ({"shape": (1, 2)}, "rank=2"),
]


def cases(function, *tables):
    return [(function, *row) for table in tables for row in table]


@pytest.mark.parametrize(
    ("law", "options", "message"),
    cases(radial, BAD_TIMES, BAD_SIZES, BAD_SPECTRA, BAD_RADIAL)
    + cases(infinite, BAD_TIMES, BAD_SIZES, BAD_SPECTRA)
    + cases(cone, BAD_TIMES, BAD_SQUARES)
    + cases(sphere, BAD_TIMES, BAD_SQUARES)
    + cases(dyson, BAD_TIMES, BAD_SIZES, BAD_DYSON),
)
def test_bad_input_is_named_with_its_value_and_the_rule(law, options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        law(**options)


def test_the_cone_law_is_one_of_networks():
    with pytest.raises(TypeError, match="it must be a DeepLinearNetwork"):
        cone(space=NETWORK.base)


def test_without_horizontal_noise_the_error_gives_the_value():
    value = 2.0 + NETWORK.dim_orbit * 2 * 0.3 / 2.0
    message = f"kappa=0: there is no spread, the squared norm is {value!r}"
    with pytest.raises(ValueError, match=re.escape(message)):
        cone(kappa=0)
    with pytest.raises(ValueError, match=re.escape(f"the squared norm is {2.0 + 3 * 0.3!r}")):
        sphere(kappa=0)


def test_at_time_zero_nothing_has_moved():
    np.testing.assert_allclose(radial(time=0.0), [np.cbrt([1.2, 0.5])] * 3, rtol=1e-14)
    np.testing.assert_allclose(infinite(time=0.0), [[1.2, 0.5]] * 3, rtol=1e-14)
    for kappa in (2.0, 1.0, 0.5):
        np.testing.assert_allclose(dyson(time=0.0, kappa=kappa), [[-1.0, 0.2, 1.0]] * 3, rtol=1e-13)


@pytest.mark.parametrize("law", [radial, infinite, dyson])
def test_only_the_ratio_of_time_and_beta_matters_and_the_order_of_the_start_does_not(law):
    np.testing.assert_array_equal(law(time=0.4, beta=2.0), law(time=0.8, beta=4.0))
    if law is dyson:
        np.testing.assert_array_equal(law(), law(x0=(1.0, -1.0, 0.2)))
    if law is radial:
        np.testing.assert_array_equal(law(), law(s0=(0.5, 1.2)))


def test_samples_are_sorted_and_reproducible():
    assert np.all(np.diff(radial(size=50)) <= 0)
    assert np.all(np.diff(infinite(size=50)) <= 0)
    assert np.all(np.diff(dyson(size=50)) >= 0)
    np.testing.assert_array_equal(radial(rng=5), radial(rng=np.random.default_rng(5)))
    np.testing.assert_array_equal(radial(depth=np.inf), infinite())


def close_means(x, expected):
    """Means within five standard errors."""
    error = np.std(x, axis=0) / np.sqrt(len(x))
    assert np.all(np.abs(np.mean(x, axis=0) - expected) < 5 * error), (np.mean(x, axis=0), expected)


@pytest.mark.parametrize(
    ("shape", "rank", "depth"), [((2, 2), 2, 1), ((4, 3), 1, 4), ((3, 5), 2, 2), ((3, 3), 3, 7)]
)
def test_radial_law_has_the_moments_of_a_gaussian_matrix(shape, rank, depth):
    s0 = np.linspace(1.4, 0.6, rank)
    x = radial(s0=s0, shape=shape, depth=depth, size=MANY, rng=SEED)
    rows = sum(shape) - rank
    start, variance = np.sum(s0 ** (2 / depth)), 2 * 0.3 / (2.0 * depth)
    squared = np.sum(x**2, axis=-1)
    close_means(squared, start + rows * rank * variance)
    spread = 2 * rows * rank * variance**2 + 4 * start * variance
    close_means((squared - start - rows * rank * variance) ** 2, spread)


def test_radial_law_of_rank_one_is_a_noncentral_chi():
    x = radial(s0=(0.4,), shape=(4, 3), depth=3, size=MANY, rng=SEED)
    variance = 2 * 0.3 / (2.0 * 3)
    law = stats.ncx2(df=6, nc=0.4 ** (2 / 3) / variance, scale=variance)
    assert one_sample(x[:, 0] ** 2, law) > ALPHA
    wrong = stats.ncx2(df=5, nc=0.4 ** (2 / 3) / variance, scale=variance)
    assert one_sample(x[:, 0] ** 2, wrong) < ALPHA


def test_deep_networks_tend_to_infinite_depth():
    depth, s0 = 2000, (1.3, 0.9, 0.4)
    deep = radial(s0=s0, shape=(3, 3), depth=depth, time=0.3 / depth, size=MANY, rng=SEED)
    limit = infinite(s0=s0, size=MANY, rng=SEED + 1)
    assert two_sample(deep**depth, limit) > ALPHA
    assert two_sample(deep**depth, infinite(s0=s0, time=0.36, size=MANY, rng=SEED + 1)) < ALPHA


def test_infinite_depth_has_the_moments_of_symmetric_matrices():
    s0 = np.array([1.3, 0.9, 0.4])
    x, variance = np.log(infinite(s0=s0, size=MANY, rng=SEED)), 2 * 0.3 / 2.0
    trace = x.sum(axis=-1)
    close_means(trace, np.sum(np.log(s0)))
    close_means((trace - np.sum(np.log(s0))) ** 2, 3 * variance)
    close_means(np.sum(x**2, axis=-1), np.sum(np.log(s0) ** 2) + (3 + 6 / 2) * variance)


@pytest.mark.parametrize("kappa", [0.3, 1.0, 2.5])
@pytest.mark.parametrize(("widths", "rank"), [((2, 3, 4, 2), 2), ((3, 3, 3), 3), ((4, 5), 2)])
def test_cone_law_has_the_moments_of_ito_calculus(widths, rank, kappa):
    space = DeepLinearNetwork(widths, rank)
    law, variance = cone(space=space, kappa=kappa), 2 * 0.3 / 2.0
    growth = (space.dim_orbit + kappa * space.dim_base) * variance
    np.testing.assert_allclose(law.mean(), 2.0 + growth, rtol=1e-12)
    # The quadratic variation is 4 kappa R^2 times that of one coordinate.
    np.testing.assert_allclose(law.var(), 4 * kappa * variance * (2.0 + growth / 2), rtol=1e-12)


def test_cone_law_with_equal_noises_sees_the_dimension_alone():
    law, scale = cone(kappa=1.0), 0.3
    same = stats.ncx2(df=NETWORK.dim, nc=2.0 / scale, scale=scale)
    np.testing.assert_allclose(law.cdf([1.0, 3.0, 9.0]), same.cdf([1.0, 3.0, 9.0]), rtol=1e-12)


def test_small_noise_of_the_observable_tends_to_the_value_without():
    law = cone(kappa=1e-8)
    np.testing.assert_allclose(law.mean(), 2.0 + 0.3 * NETWORK.dim_orbit, rtol=1e-6)
    assert law.std() < 1e-3


def test_sphere_law_with_equal_noises_is_that_of_a_gaussian_vector():
    start = np.array([1.0, 0.0, 1.0, 0.0])
    noise = np.random.default_rng(SEED).standard_normal((MANY, 4))
    x = np.sum((start + np.sqrt(0.3) * noise) ** 2, axis=-1)
    assert one_sample(x, sphere(kappa=1.0)) > ALPHA
    assert one_sample(x, sphere(kappa=1.2)) < ALPHA


@pytest.mark.parametrize("kappa", [2.0, 1.0, 0.5])
def test_two_eigenvalues_are_a_gaussian_mean_and_a_bessel_gap(kappa):
    x = dyson(x0=(-0.3, 0.5), kappa=kappa, size=MANY, rng=SEED)
    scale = 2 * kappa * 2 * 0.3 / 2.0
    gap = stats.ncx2(df=1 + 2 / kappa, nc=0.8**2 / scale, scale=scale)
    total = stats.norm(0.2, np.sqrt(scale))
    assert one_sample((x[:, 1] - x[:, 0]) ** 2, gap) > ALPHA
    assert one_sample(x.sum(axis=-1), total) > ALPHA
    wrong = stats.ncx2(df=1 + 2.5 / kappa, nc=0.8**2 / scale, scale=scale)
    assert one_sample((x[:, 1] - x[:, 0]) ** 2, wrong) < ALPHA


@pytest.mark.parametrize("kappa", [3.0, 2.0, 1.0, 0.8, 0.5, 0.2])
def test_two_eigenvalues_that_start_equal_have_a_bessel_gap_for_every_kappa(kappa):
    x = dyson(x0=(0.7, 0.7), kappa=kappa, size=MANY, rng=SEED)
    scale = 2 * kappa * 2 * 0.3 / 2.0
    gap = stats.chi2(df=1 + 2 / kappa, scale=scale)
    assert one_sample((x[:, 1] - x[:, 0]) ** 2, gap) > ALPHA
    assert one_sample(x.sum(axis=-1), stats.norm(1.4, np.sqrt(scale))) > ALPHA


@pytest.mark.parametrize("x0", [(-1.0, 0.2, 1.0), (0.0, 0.0, 0.0)])
@pytest.mark.parametrize("kappa", [2.0, 1.0, 0.5])
def test_dyson_law_has_the_moments_of_ito_calculus(x0, kappa):
    x, variance = dyson(x0=x0, kappa=kappa, size=MANY, rng=SEED), 2 * 0.3 / 2.0
    close_means(x.sum(axis=-1), sum(x0))
    growth = (3 * 2 + kappa * 3) * variance
    close_means(np.sum(x**2, axis=-1), np.sum(np.square(x0)) + growth)


def gaussian_matrices(d, kappa, size, rng):
    """Real, complex or quaternion Hermitian matrices, as blocks of real or complex ones."""
    a, b, c, e = rng.standard_normal((4, size, d, d))
    if kappa == 2:
        return (a + a.mT) / np.sqrt(2)
    hermitian = (a + a.mT + 1j * (b - b.mT)) / 2
    if kappa == 1:
        return hermitian
    skew = (c - c.mT + 1j * (e - e.mT)) / 2
    rows = [[hermitian, skew], [-skew.conj(), hermitian.conj()]]
    return np.block(rows) / np.sqrt(2)


@pytest.mark.parametrize("kappa", [2.0, 1.0, 0.5])
def test_tridiagonal_matrices_have_the_law_of_full_ones(kappa):
    x = dyson(x0=np.zeros(4), kappa=kappa, size=MANY, rng=SEED)
    matrices = gaussian_matrices(4, kappa, MANY, np.random.default_rng(SEED + 1))
    full = np.linalg.eigvalsh(matrices)[:, :: 2 if kappa == 0.5 else 1] * np.sqrt(0.3)
    assert two_sample(x, full) > ALPHA
    assert two_sample(x, dyson(x0=np.zeros(4), kappa=1.2 * kappa, size=MANY, rng=SEED)) < ALPHA


@pytest.mark.parametrize("kappa", [1.0, 0.5])
def test_dyson_law_against_its_stochastic_differential_equation(kappa):
    time, beta, steps, rng = 0.2, 2.0, 400, np.random.default_rng(SEED)
    x, dt = np.tile([-1.0, 0.2, 1.0], (4000, 1)), time / steps
    for _ in range(steps):
        gaps = x[:, :, None] - x[:, None, :] + np.diag([np.inf] * 3)
        noise = rng.standard_normal(x.shape)
        x = x + 2 / beta * np.sum(1 / gaps, axis=-1) * dt + np.sqrt(2 * kappa * dt / beta) * noise
    exact = dyson(time=time, beta=beta, kappa=kappa, size=MANY, rng=SEED + 1)
    assert two_sample(np.sort(x), exact) > ALPHA
    wrong = dyson(time=1.5 * time, beta=beta, kappa=kappa, size=MANY, rng=SEED + 1)
    assert two_sample(np.sort(x), wrong) < ALPHA
