"""Equilibrium of singular values: against quadrature, matrices, exact means and closed laws."""

import math
import re

import numpy as np
import pytest
from scipy import integrate, stats

from dlngeom import DeepLinearNetwork, endtoend, langevin
from dlngeom.network import singular_values
from dlngeom.thermodynamics import entropy_of_singular_values
from dlngeom.thermodynamics.equilibrium import (
    ClosedLaw,
    Potential,
    _gas_sampler,
    _limit_laws,
    hard_edge_exponent,
    limit_law,
    log_density,
    log_density_gradient,
    mean_virial,
    sample,
)
from tests.helpers.laws_cases import (
    ALPHA,
    SEED,
    gibbs_p,
    one_group,
    two_sample,
    with_gaps,
    with_sums,
)
from tests.helpers.parameters import crossed, slow

INF = math.inf
QUARTIC = Potential(lambda s: s**4 / 4 + s, lambda s: s**3 + 1)


def literal(lam, depth, beta, kappa, c=0.0):
    """Logarithm of the density of ``lam``, as printed; ``c`` is the exponent of their product."""
    lam, b = np.asarray(lam), 1 / (2 * kappa)
    total = -beta / kappa / 2 * np.sum(lam ** (2 * depth)) + c * np.sum(np.log(lam))
    for k in range(len(lam)):
        for l in range(k):  # noqa: E741
            plain = abs(lam[k] ** 2 - lam[l] ** 2)
            power = abs(lam[k] ** (2 * depth) - lam[l] ** (2 * depth))
            total += (1 - b) * np.log(plain) + b * np.log(power)
    return total


def constant(values, rtol=1e-12):
    values = np.asarray(values)
    return np.ptp(values) <= rtol * (1 + np.max(np.abs(values)))


def independent(d, depth, *, size, rounds=60, seed=SEED, **options):
    """Last draws of many chains, ``(size, d)``."""
    run = sample(d, depth, n_chains=size, n_draws=1, n_warm=rounds, rng=seed, **options)
    return run.sigma[:, 0]


def gaussian(m, n, variance, size, seed=SEED + 1):
    noise = np.random.default_rng(seed).standard_normal((size, m, n))
    return np.sqrt(variance) * np.linalg.svd(noise, compute_uv=False)


# The density.


@pytest.mark.parametrize("kappa", [0.4, 1.0, 3.0])
@pytest.mark.parametrize("depth", [1, 2, 3, 7])
def test_density_is_the_printed_one(depth, kappa, rng):
    lam = rng.uniform(0.5, 2, (10, 4)) ** (3 / depth)
    expected = [literal(x, depth, 1.3, kappa) for x in lam]
    assert constant(log_density(lam, depth, 1.3, kappa) - expected)
    assert not constant(log_density(lam, depth, 1.3, kappa * 1.01) - expected)


@pytest.mark.parametrize("widths", [(3, 5, 4), (4, 3, 6, 3), (3, 7)])
def test_rectangular_layers_bring_their_factor(widths, rng):
    lam, kappa, depth = rng.uniform(0.5, 2, (10, 3)), 0.7, len(widths) - 1
    c = widths[0] + widths[-1] - 6 + sum(d - 3 for d in widths[1:-1]) / kappa
    expected = [literal(x, depth, 1.3, kappa, c) for x in lam]
    assert constant(log_density(lam, depth, 1.3, kappa, widths=widths) - expected)


@pytest.mark.parametrize("kappa", [0.4, 1.0])
@pytest.mark.parametrize("depth", [1, 2, 3, INF])
def test_density_is_that_of_volume_and_entropy(depth, kappa, rng):
    s, beta = np.sort(rng.uniform(0.5, 2, (10, 4)))[:, ::-1], 1.3
    power = 1.0 if depth == INF else 1 / depth
    volume = endtoend.log_volume_density(s[..., None] * np.eye(4), depth)
    widths = (4, 4) if depth == INF else (4,) * (depth + 1)
    S = entropy_of_singular_values(s, widths, depth=INF if depth == INF else None)
    pairs = [np.log(abs(s[:, k] ** 2 - s[:, l] ** 2)) for k in range(4) for l in range(k)]  # noqa: E741
    expected = -(beta * np.sum(s**2, axis=-1) / 2 - S) / kappa + volume + sum(pairs)
    # The density is by lam, and the other by sigma.
    expected += (1 / power - 1) * np.sum(np.log(s**power), axis=-1)
    assert constant(log_density(s**power, depth, beta, kappa) - expected)


@pytest.mark.parametrize("kappa", [0.4, 1.0])
@pytest.mark.parametrize("depth", [1, 2, 5, INF])
def test_gradient_is_that_of_the_density(depth, kappa, rng):
    lam, h = rng.uniform(0.5, 1.5, (3, 4)), 1e-6
    options = {"beta": 1.3, "kappa": kappa, "potential": QUARTIC}
    slope = log_density_gradient(lam, depth, **options)
    for k, step in enumerate(h * np.eye(4)):
        change = log_density(lam + step, depth, **options) - log_density(
            lam - step, depth, **options
        )
        np.testing.assert_allclose(slope[:, k], change / (2 * h), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("depth", [2, INF])
def test_extreme_values_are_ordinary(depth):
    lam = np.array([1e-200, 1e-100, 1e-3, 1.0])
    assert np.isfinite(log_density(lam, depth, 1.0))
    assert np.all(np.isfinite(log_density_gradient(lam, depth, 1.0)))


# The sampler.


@pytest.mark.parametrize(("m", "n"), [slow(2, 2), slow(5, 5), (3, 5)])
def test_one_layer_is_a_gaussian_matrix(m, n):
    s = independent(m, 1, size=4000, beta=1.7, kappa=0.6, widths=(n, m))
    exact = gaussian(m, n, 0.6 / 1.7, 8000)
    assert two_sample(with_sums(with_gaps(s)), with_sums(with_gaps(exact))) > ALPHA
    assert two_sample(with_sums(s), with_sums(1.1 * exact)) < ALPHA


@pytest.mark.slow
@pytest.mark.parametrize("depth", [2, 3])
def test_three_values_against_quadrature(depth):
    lam = independent(3, depth, size=6000, beta=1.3) ** (1 / depth)
    assert gibbs_p(lam, depth, 1.3) > ALPHA
    assert gibbs_p(lam, depth, 1.3, entropic=False) < ALPHA
    assert gibbs_p(lam, depth, 1.2 * 1.3) < ALPHA


def two_values(depth, beta, kappa, entropic=True):
    """Distribution functions of the larger and of the smaller of two singular values."""
    edge, cells = (40 * kappa / beta) ** (1 / (2 * depth)), 1000
    grid = edge * (np.arange(cells) + 0.5) / cells
    x, y = grid[:, None], grid[None, :]
    b = 1 / (2 * kappa) if entropic else 0.0
    pair = np.tril(np.abs(x**2 - y**2), -1)
    power = np.tril(np.abs(x ** (2 * depth) - y ** (2 * depth)), -1)
    with np.errstate(divide="ignore", invalid="ignore"):
        density = np.where(pair > 0, pair * (power / pair) ** b, 0.0)
    density *= np.exp(-beta / kappa / 2 * (x ** (2 * depth) + y ** (2 * depth)))
    nodes = edge * np.arange(cells + 1) / cells
    masses = [density.sum(axis=1), density.sum(axis=0)]
    return [(nodes, np.r_[0, np.cumsum(m)] / m.sum()) for m in masses]


def worst(values, laws):
    """Smallest p-value of columns against tables, times their number."""
    p = [
        stats.kstest(x, lambda y, t=table: np.interp(y, *t), method="asymp").pvalue
        for x, table in zip(values.T, laws, strict=True)
    ]
    return min(p) * len(p)


@pytest.mark.parametrize(("depth", "kappa"), [(2, 0.4), slow(2, 1.0), slow(3, 1.0), slow(3, 2.5)])
def test_two_values_against_quadrature(depth, kappa):
    lam = independent(2, depth, size=6000, beta=1.3, kappa=kappa) ** (1 / depth)
    assert worst(lam, two_values(depth, 1.3, kappa)) > ALPHA
    assert worst(lam, two_values(depth, 1.3, kappa, entropic=False)) < ALPHA
    assert worst(lam, two_values(depth, 1.3, 1.2 * kappa)) < ALPHA


def test_two_values_at_infinite_depth_are_half_normal_and_zero():
    s = independent(2, INF, size=6000, beta=2.0)
    assert np.all(s[:, 1] == 0)
    law = stats.halfnorm(scale=0.5**0.5)
    assert stats.kstest(s[:, 0], law.cdf).pvalue > ALPHA
    assert stats.kstest(s[:, 0], stats.halfnorm(scale=1.1 * 0.5**0.5).cdf).pvalue < ALPHA


@pytest.mark.slow
def test_infinite_depth_is_the_limit_of_finite_ones():
    s = independent(4, INF, size=2000, beta=2.0)[:, :3]
    deep = independent(4, 3000, size=2000, beta=2.0, seed=SEED + 1)
    assert two_sample(with_sums(s), with_sums(deep[:, :3])) > ALPHA
    assert np.median(deep[:, 3]) < 1e-30
    shallow = independent(4, 5, size=2000, beta=2.0, seed=SEED + 1)[:, :3]
    assert two_sample(with_sums(s), with_sums(shallow)) < ALPHA


@pytest.mark.slow
def test_strong_gauge_noise_at_infinite_depth_is_a_gaussian_matrix():
    # At kappa = 1/2 the repulsion of lam vanishes, and a d x (d - 1) matrix is left.
    s = independent(5, INF, size=4000, beta=2.0, kappa=0.5)[:, :4]
    exact = gaussian(5, 4, 0.25, 8000)
    assert two_sample(with_sums(with_gaps(s)), with_sums(with_gaps(exact))) > ALPHA
    square = gaussian(4, 4, 0.25, 8000)
    assert two_sample(with_sums(s), with_sums(square)) < ALPHA


@pytest.mark.parametrize(
    ("case", "kappa"),
    [
        *crossed([(3, 2), (1, 2), (3, 1), (8, INF)], [0.4, 1.0, 2.0]),
        *(slow(case, kappa) for case in [(8, 3), (30, 2)] for kappa in [0.4, 1.0, 2.0]),
    ],
)
def test_mean_virial(case, kappa):
    d, depth = case
    size, rounds = (1000, 40) if d < 20 else (150, 30)
    s = independent(d, depth, size=size, beta=1.3, kappa=kappa, rounds=rounds)
    virial = np.sum(s**2, axis=-1)
    error = (np.mean(virial) - mean_virial(d, depth, 1.3, kappa)) / stats.sem(virial)
    assert abs(error) < stats.norm.isf(ALPHA / 2)


def test_mean_virial_of_rectangular_layers_and_any_potential():
    widths, options = (4, 7, 5, 6), {"beta": 1.3, "kappa": 0.7}
    exact = mean_virial(3, 3, **options, widths=widths)
    s = independent(3, 3, size=2000, widths=widths, potential=QUARTIC, **options)
    virial = np.sum(s * QUARTIC.slope(s), axis=-1)
    limit = stats.norm.isf(ALPHA / 2) * stats.sem(virial)
    assert abs(np.mean(virial) - exact) < limit
    assert abs(np.mean(virial) - mean_virial(3, 3, **options)) > limit


def test_virial_by_hand():
    assert mean_virial(5, 1, 2.0) == pytest.approx(25 / 2)
    assert mean_virial(5, 2, 2.0) == pytest.approx((5 + 20 * 1.5) / 4)
    assert mean_virial(5, INF, 2.0) == pytest.approx(20 / 4)


def test_chains_report_how_they_move():
    run = sample(20, 2, beta=20.0, n_chains=8, n_draws=100, thin=2, rng=SEED)
    assert run.sigma.shape == (8, 100, 20)
    assert np.all(np.diff(run.sigma, axis=-1) < 0)
    assert 0.5 < run.acceptance["collective"] < 0.98
    assert 0.3 < run.acceptance["single"] < 0.6
    assert all(200 < size <= 800 for size in run.effective.values())
    one, two = (sample(5, 2, beta=5.0, n_chains=8, n_draws=4, rng=SEED) for _ in range(2))
    assert np.array_equal(one.sigma, two.sigma)


def test_effective_size_of_an_autoregression(rng):
    x = rng.standard_normal((50, 2000))
    for t in range(1, 2000):
        x[:, t] = 0.8 * x[:, t - 1] + 0.6 * x[:, t]
    size = _gas_sampler.effective_size(x)
    assert size == pytest.approx(x.size / 9, rel=0.1)


@pytest.mark.slow
def test_the_langevin_walk_ends_in_this_law():
    depth, beta, kappa = 2, 1.3, 0.4
    run = one_group()(langevin.riemannian_langevin)(
        DeepLinearNetwork((2, 2, 2)), DeepLinearNetwork((2, 2, 2)).random_point(0),
        energy_gradient=lambda W: W, beta=beta, kappa=kappa, duration=4.0, n_steps=300,
        n_chains=3000, save_every=300, rng=SEED, observe={"s": singular_values},
    )  # fmt: skip
    s = run.observed["s"][:, -1]
    exact = independent(2, depth, size=4000, beta=beta, kappa=kappa)
    assert two_sample(with_sums(s), with_sums(exact)) > ALPHA
    # The temperature of the energy, but not that of the entropy.
    wrong = independent(2, depth, size=4000, beta=beta / kappa)
    assert two_sample(with_sums(s), with_sums(wrong)) < ALPHA


# The limit.


def gap_of(law, exact, cells=2000):
    s = np.linspace(0, 1.05 * exact.edge, cells + 1)[1:]
    return np.max(np.abs(law.cdf(s) - exact.cdf(s)))


def quarter_circle(s):
    s = np.minimum(s, 2.0)
    return (s * np.sqrt(4 - s * s) / 2 + 2 * np.arcsin(s / 2)) / math.pi


def test_closed_law_of_one_layer_is_the_quarter_circle():
    s = np.linspace(0, 2.2, 500)
    np.testing.assert_allclose(ClosedLaw(1).cdf(s), quarter_circle(s), atol=1e-13)
    assert ClosedLaw(1).edge == pytest.approx(2)


@pytest.mark.parametrize("depth", [1, slow(2), 3, slow(10), INF])
def test_minimiser_converges_to_the_closed_law(depth):
    exact = ClosedLaw(depth)
    errors = [gap_of(limit_law(depth, nodes=n), exact) for n in (100, 200, 400)]
    assert errors[0] < 1e-3
    assert errors[2] < 2e-5
    assert errors[2] < errors[1] / 3 < errors[0] / 9
    assert limit_law(depth, nodes=400).edge == pytest.approx(exact.edge, abs=1e-4)
    # Another depth is another law.
    other = ClosedLaw(2 if depth == 1 else 1)
    assert gap_of(limit_law(depth, nodes=100), other) > 0.02


@pytest.mark.parametrize("depth", [2, 3, INF])
def test_closed_law_solves_the_equilibrium_equation(depth):
    """The force on a charge inside vanishes, by quadrature over the density itself."""
    law = ClosedLaw(depth)
    u = (np.arange(200_000) + 0.5) / 200_000
    y = law.log_quantile(u)
    for level in (0.3, 0.6, 0.9):
        x = law.log_quantile(level)
        t = x - y
        far = np.abs(t) > 0.2
        forces = [1 / np.tanh(z) for z in (t, t if depth == INF else t / depth)]
        pair = 0.5 * forces[0] + (0.5 / t if depth == INF else 0.5 / depth * forces[1])
        near = integrate.quad(
            lambda h, x=x: _odd_part(law, x, h, depth), 1e-6, 0.2, epsabs=1e-6, limit=200
        )[0]
        one_body = math.exp(2 * x) - 0.5 - (0 if depth == INF else 0.5 / depth)
        assert one_body == pytest.approx(np.mean(np.where(far, pair, 0)) + near, abs=2e-4)


def _odd_part(law, x, h, depth):
    """Pair force times the difference of the densities at equal distances on both sides."""
    right, left = (math.exp(z) * float(law.density(math.exp(z))) for z in (x + h, x - h))
    plain = 1 / h if depth == INF else 1 / math.tanh(h / depth) / depth
    return 0.5 * (1 / math.tanh(h) + plain) * (left - right)


@pytest.mark.parametrize("depth", [1, 2, 3, INF])
def test_closed_law_is_consistent(depth):
    law, u = ClosedLaw(depth), np.linspace(0.1, 0.999, 50)
    np.testing.assert_allclose(law.cdf(law.quantile(u)), u, atol=1e-12)
    middle = (np.arange(20_000) + 0.5) / 20_000
    second = np.mean(law.quantile(middle) ** 2)
    assert second == pytest.approx(0.5 if depth == INF else (depth + 1) / (2 * depth), abs=1e-5)
    s = law.quantile(u[1:-1])
    numeric = np.gradient(law.cdf(s), s)
    np.testing.assert_allclose(law.density(s)[5:-5], numeric[5:-5], rtol=2e-2)
    assert law.cdf([0.0, 2 * law.edge]).tolist() == [0, 1]


@pytest.mark.parametrize("kappa", [0.3, 0.6, 1.0, 4.0])
@pytest.mark.parametrize("depth", [2, 3, INF])
def test_second_moment_of_the_minimiser(depth, kappa):
    a, b = _limit_laws.exponents(depth, kappa)
    middle = (np.arange(20_000) + 0.5) / 20_000
    second = np.mean(limit_law(depth, kappa).quantile(middle) ** 2)
    assert second == pytest.approx(a / depth + b, rel=1e-4)


def test_at_kappa_one_half_every_depth_is_the_quarter_circle():
    for depth in (2, 5, INF):
        assert gap_of(limit_law(depth, 0.5), ClosedLaw(1)) < 1e-4


def test_hard_edge_exponents():
    for depth in (1, 2, 3, 7):
        assert hard_edge_exponent(depth) == pytest.approx(-(depth - 1) / (depth + 1), abs=1e-12)
    assert hard_edge_exponent(INF) == -1
    assert hard_edge_exponent(3, 0.5) == 0
    for depth, kappa in ((2, 1.0), (3, 1.0), (2, 3.0), (3, 3.0)):
        law = limit_law(depth, kappa, nodes=400)
        slope = np.diff(np.log(law.levels[2:8:5])) / np.diff(law.log_s[2:8:5])
        assert slope[0] - 1 == pytest.approx(hard_edge_exponent(depth, kappa), abs=5e-3)
    # The share below sigma is 1/(2 |log sigma|).
    shares = np.array([1e-3, 1e-4])
    np.testing.assert_allclose(-2 * shares * ClosedLaw(INF).log_quantile(shares), 1, rtol=0.03)


def test_strong_gauge_noise_opens_a_gap():
    assert limit_law(3, 0.3).quantile(1e-4) > 0.05
    assert limit_law(3, 0.6).quantile(1e-4) < 1e-4


@pytest.mark.slow
def test_strong_gauge_noise_opens_a_gap_for_samples():
    s = independent(60, 3, size=20, beta=60.0, kappa=0.3, rounds=100)
    assert np.min(s) / 0.3**0.5 > 0.04


def test_limit_of_another_potential():
    # For V(sigma^2) = sigma^4 / 2, one layer: the quarter of the quartic ensemble.
    law = limit_law(1, potential=Potential(lambda s: s**4 / 2, lambda s: 2 * s**3), nodes=400)
    edge2 = (4 / 3) ** 0.5 * 2**0.5
    s = np.linspace(0.01, edge2**0.5, 300)
    density = (4 * s**2 + 2 * edge2) * np.sqrt(np.maximum(edge2 - s**2, 0)) / 2 / math.pi
    cdf = integrate.cumulative_trapezoid(density, s, initial=0) + 0.01 * density[0]
    assert law.edge == pytest.approx(edge2**0.5, abs=1e-3)
    np.testing.assert_allclose(law.cdf(s), cdf, atol=1e-3)


def distance(s, law):
    """Largest distance of the mean distribution function of samples from a law."""
    s = np.sort(s.ravel())
    s, levels = s[s > 0], (np.arange(s.size) + 0.5) / s.size
    return np.max(np.abs(law.cdf(s) - levels[-len(s) :]))


@pytest.mark.parametrize("depth", [slow(1), slow(2), 3])
def test_samples_are_near_the_limit(depth):
    s = sample(50, depth, beta=50.0, n_chains=8, n_draws=30, n_warm=40, rng=SEED).sigma
    assert distance(s, ClosedLaw(depth)) < 0.02
    assert distance(s, ClosedLaw(depth % 3 + 1)) > 0.03


@pytest.mark.slow
@pytest.mark.parametrize("depth", [1, 2, 3, INF])
def test_many_values_are_near_the_limit(depth):
    run = sample(200, depth, beta=200.0, n_chains=4, n_draws=60, n_warm=60, rng=SEED)
    assert distance(run.sigma, limit_law(depth)) < 0.005
    assert min(run.effective.values()) > 30


BAD = [
    ({"beta": 0.0}, "beta=0.0: it must be positive and finite"),
    ({"kappa": -1.0}, "kappa=-1.0: it must be positive and finite"),
    ({"depth": 1.5}, "depth=1.5"),
    ({"d": 0}, "d=0: it must be an integer of at least 1"),
    ({"n_draws": 0}, "n_draws=0: it must be an integer of at least 1"),
    ({"d": 1, "depth": INF}, "d=1: for depth=inf it must be at least 2"),
    ({"widths": (3, 3)}, "widths=(3, 3) are those of 1 layers, not depth=2"),
    ({"widths": (3, 2, 3)}, "rank=3: it must be an integer from 1 to 2"),
    ({"widths": (3, 3), "depth": INF}, "widths=(3, 3) are those of 1 layers, not depth=inf"),
    (
        {"potential": Potential(lambda s: 0 * s, lambda s: 0 * s)},
        "no minimum after 200 Newton steps",
    ),
]


@pytest.mark.parametrize(("change", "message"), BAD)
def test_the_sampler_refuses_bad_input(change, message):
    options = {"d": 3, "depth": 2, "beta": 1.0, "rng": 0, **change}
    with pytest.raises(ValueError, match=re.escape(message)):
        sample(options.pop("d"), options.pop("depth"), **options)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: log_density(np.array([1.0, 0.0]), 2, 1.0), "all entries must be positive"),
        (lambda: log_density(np.array([1.0, np.nan]), 2, 1.0), "lam[1] is nan"),
        (lambda: log_density(1.0, 2, 1.0), "lam has shape ()"),
        (lambda: limit_law(2, 0.0), "kappa=0.0"),
        (lambda: limit_law(0), "depth=0"),
        (lambda: limit_law(2, nodes=3), "nodes=3: it must be an integer of at least 10"),
        (lambda: hard_edge_exponent(2, 0.4), "kappa=0.4: the law has a gap"),
        (lambda: ClosedLaw(-1), "depth=-1"),
    ],
)
def test_equilibrium_laws_refuse_bad_input(call, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        call()
