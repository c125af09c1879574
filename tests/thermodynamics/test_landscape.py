import math

import numpy as np
import pytest

from dlngeom import DeepLinearNetwork, InfinitelyDeepNetwork, endtoend
from dlngeom.flow import gradient_flow
from dlngeom.thermodynamics import entropy_egrad, free_energy
from dlngeom.thermodynamics.landscape import critical_points, local_minima

UNIT = np.eye(2)


def completion(ridge):
    """Energy of a 2 x 2 matrix with a unit diagonal, as value, gradient and Hessian."""
    return (
        lambda W: np.sum(UNIT * (W - 1) ** 2 + ridge * W**2, axis=(-2, -1)) / 2,
        lambda W: UNIT * (W - 1) + ridge * W,
        lambda W, Z: UNIT * Z + ridge * Z,
    )


SQUARE = (
    lambda W: np.sum(W**2, axis=(-2, -1)) / 2,
    lambda W: W,
    lambda W, Z: Z,
)


def network(depth, d=2):
    """Widths, and the keyword that infinite depth needs."""
    if depth == math.inf:
        return (d, d), {"depth": math.inf}
    return (d,) * (depth + 1), {}


def share(depth):
    return 1 - 1 / depth


@pytest.mark.parametrize(("depth", "d"), [(2, 2), (3, 2), (math.inf, 2), (3, 3)])
def test_isotropic_energy_has_a_continuum_of_known_minimisers(depth, d, rng):
    widths, options = network(depth, d)
    starts = rng.standard_normal((12, d, d))
    found = local_minima(*SQUARE, widths, 2.0, starts=starts, **options)
    s = np.linalg.svd(found.points, compute_uv=False)
    np.testing.assert_allclose(s**2, (d - 1) * share(depth) / (2 * 2.0), rtol=1e-6)
    assert found.counts.sum() == 12
    assert set(found.families) == {0}
    # The minimisers are the multiples of orthogonal matrices.
    np.testing.assert_array_equal(found.nullities, d * (d - 1) // 2)
    np.testing.assert_array_equal(found.indices, 0)


def test_rectangular_matrices_and_wide_layers(rng):
    widths, beta = (2, 4, 3), 3.0
    found = local_minima(*SQUARE, widths, beta, starts=rng.standard_normal((6, 3, 2)))
    s = np.linalg.svd(found.points, compute_uv=False)
    # The volume of frames adds (d_1 - r) / N of log sigma to half of 1 - 1/N from the pair.
    np.testing.assert_allclose(s**2, (1 / 4 + 2 / 2) / beta, rtol=1e-6)


def test_one_layer_has_the_minimiser_of_the_energy(rng):
    values = rng.standard_normal((2, 2))
    energy = (
        lambda W: np.sum((W - values) ** 2 + 0.5 * W**2, axis=(-2, -1)) / 2,
        lambda W: W - values + 0.5 * W,
        lambda W, Z: 1.5 * Z,
    )
    found = local_minima(*energy, (2, 2), 7.0, starts=rng.standard_normal((9, 2, 2)))
    np.testing.assert_allclose(found.points, values[None] / 1.5, atol=1e-9)
    np.testing.assert_allclose(found.eigenvalues, 1.5, rtol=1e-12)
    assert found.counts.tolist() == [9]


@pytest.mark.parametrize("depth", [2, 3, math.inf])
@pytest.mark.parametrize("product", [0.1, 0.9])
def test_pitchfork_of_the_completion_with_a_ridge(depth, product, rng):
    """Rotations of one size minimise; beyond alpha beta = (1 - 1/N)/2 a multiple of I does."""
    beta, half = 4.0, share(depth) / 2
    ridge = 2 * product * half / beta
    widths, options = network(depth)
    starts = 2 * rng.standard_normal((40, 2, 2))
    found = local_minima(*completion(ridge), widths, beta, starts=starts, **options)
    best = found.points[found.families == 0]
    if ridge * beta < half:
        x = math.sqrt(half / (ridge * beta) - 1)
        expected = [[[1, -x], [x, 1]], [[1, x], [-x, 1]]]
        np.testing.assert_allclose(best[np.argsort(best[:, 0, 1])], expected, atol=1e-7)
    else:
        w = (1 + math.sqrt(1 + 4 * (1 + ridge) * half / beta)) / (2 * (1 + ridge))
        np.testing.assert_allclose(best, [w * UNIT], atol=1e-7)
    assert (found.indices == 0).all()
    assert (found.nullities == 0).all()
    total = found.counts.sum() + found.escaped + found.collapsed + found.unfinished
    assert (total, found.escaped, found.unfinished) == (40, 0, 0)


@pytest.mark.parametrize("depth", [2, 3, math.inf])
def test_found_points_are_critical_by_differences(depth, rng):
    beta, (widths, options) = 5.0, network(depth)
    energy = completion(0.05)
    starts = rng.standard_normal((40, 2, 2))
    found = critical_points(*energy, widths, beta, starts=starts, **options)
    assert set(found.indices) == {0, 1}
    h, units = 1e-3, np.eye(4).reshape(4, 2, 2)
    for W, eigenvalues in zip(found.points, found.eigenvalues, strict=True):
        scale = np.linalg.svd(W, compute_uv=False)[-1]
        if scale < 0.02:
            continue
        step = h * min(1.0, scale)

        def value(X):
            return free_energy(X, widths, energy[0], beta, **options)

        near, far = (
            np.array([value(W + k * step * Z) - value(W - k * step * Z) for Z in units])
            for k in (1, 2)
        )
        assert np.max(np.abs(8 * near - far)) / (12 * step) < 1e-8 / min(1.0, scale) ** 2
        H = [
            [
                (
                    value(W + step * (Y + Z)) - value(W + step * (Y - Z))
                    - value(W - step * (Y - Z)) + value(W - step * (Y + Z))
                ) / (4 * step**2)
                for Y in units
            ]
            for Z in units
        ]  # fmt: skip
        A = [endtoend.cometric(W, Z, depth).ravel() for Z in units]
        rates = np.sort(np.linalg.eigvals(np.array(A) @ np.array(H)).real)
        np.testing.assert_allclose(eigenvalues, rates, atol=2e-3 * np.max(np.abs(rates)))


@pytest.mark.slow
def test_no_critical_point_without_ridge_is_a_minimum(rng):
    """Entropy is convex where the aligned matrix turns, and the energy does not feel that."""
    starts = rng.standard_normal((60, 2, 2))
    for depth in (2, 3, math.inf):
        widths, options = network(depth)
        found = critical_points(*completion(0.0), widths, 1.0, starts=starts, **options)
        assert len(found.points) >= 3
        np.testing.assert_array_equal(found.indices, 1)
        if depth == 2:
            # W = P or -P with a symmetric positive P of given trace.
            np.testing.assert_allclose(found.points, found.points.mT, atol=1e-6)
            w = (1 + math.sqrt(2)) / 2
            low = found.values < -2
            np.testing.assert_allclose(found.points[low][:, 0, 0], w, rtol=1e-6)
            np.testing.assert_array_equal(found.nullities, 1)
        else:
            np.testing.assert_allclose(found.points * (1 - UNIT), 0, atol=1e-6)
            np.testing.assert_array_equal(found.nullities, 0)


@pytest.mark.parametrize("depth", [2, 3, math.inf])
def test_free_energy_is_unbounded_below_without_ridge(depth, rng):
    beta, (widths, options) = 3.0, network(depth)
    x = np.array([1e1, 1e3, 1e5])[:, None, None]
    W = UNIT + x * np.array([[0.0, 1.0], [-1.0, 0.0]])
    values = free_energy(W, widths, completion(0.0)[0], beta, **options)
    expected = -share(depth) / 2 / beta * np.diff(np.log(1 + x.ravel() ** 2))
    np.testing.assert_allclose(np.diff(values), expected, rtol=1e-9)
    starts = rng.standard_normal((10, 2, 2))
    found = local_minima(*completion(0.0), widths, beta, starts=starts, **options)
    assert (found.escaped, len(found.points)) == (10, 0)


@pytest.mark.parametrize("depth", [2, 3, pytest.param(math.inf, marks=pytest.mark.slow)])
def test_flow_of_the_free_energy_escapes_at_a_known_rate(depth):
    """Far out, s^(2/N) grows at the rate (1 - 1/N) / beta; 2 log s at infinite depth."""
    beta, (widths, options) = 2.0, network(depth)
    space = InfinitelyDeepNetwork(2) if depth == math.inf else DeepLinearNetwork(widths)
    start = np.array([[1.0, 9.0], [-9.0, 1.0]])

    def slope(W):
        return UNIT * (W - 1) - entropy_egrad(W, widths, **options) / beta

    run = gradient_flow(space, start, slope, [0.0, 4.0, 8.0], rtol=1e-6)
    s = run.observed["singular_values"][0, :, 0]
    size = 2 * np.log(s) if depth == math.inf else s ** (2 / depth)
    assert (size[2] - size[1]) / 4 == pytest.approx(share(depth) / beta, rel=0.02)


def test_minimum_on_the_border_of_one_side_counts_as_collapsed(rng):
    starts = rng.standard_normal((30, 2, 2))
    found = local_minima(*completion(0.1), (2, 2, 2), 100.0, starts=starts)
    assert found.collapsed == np.sum(np.linalg.det(starts) < 0)
    assert found.counts.tolist() == [30 - found.collapsed]
    # With three layers the force of the entropy is infinite there: that side has minima too.
    found = local_minima(*completion(0.1), (2, 2, 2, 2), 100.0, starts=starts)
    assert found.collapsed == 0
    assert found.families.tolist() == [0, 1, 1]
    assert (np.linalg.det(found.points[1:]) < 0).all()


def test_descent_leaves_a_saddle_where_it_starts():
    w = (1 + math.sqrt(1 + 1.05 / 4)) / 2.1
    starts = np.array([w * UNIT + 1e-13, w * UNIT])
    found = local_minima(*completion(0.05), (2, 2, 2), 1.0, starts=starts)
    np.testing.assert_allclose(np.abs(found.points[:, 0, 1]), 2.0, rtol=1e-6)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"beta": 0.0}, "beta=0.0: it must be positive, or inf for no noise"),
        ({"depth": 3}, "depth=3 with widths"),
        ({"depth": math.inf}, "depth=inf with widths"),
        ({"starts": np.ones((2, 2))}, "must be .k, m, n."),
        ({"starts": np.ones((0, 2, 2))}, "k >= 1"),
        ({"starts": np.ones((1, 3, 2))}, "starts has shape"),
        ({"starts": np.ones((1, 2, 2))}, "starts"),
        ({"starts": np.full((1, 2, 2), np.nan)}, "must be finite"),
        ({"widths": (2, 1, 2)}, "rank=2: it must be"),
        ({"max_iterations": 0}, "max_iterations=0"),
    ],
)
@pytest.mark.parametrize("function", [local_minima, critical_points])
def test_landscape_refuses_bad_input(function, changes, message):
    arguments = {"widths": (2, 2, 2), "beta": 1.0, "starts": UNIT[None]} | changes
    with pytest.raises(ValueError, match=message):
        function(*completion(0.1), **arguments)
