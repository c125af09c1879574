"""Misprints of Menon, *The geometry of the deep linear network*, each against its correction.

Every test shows that the formula as printed fails and that the corrected one holds; the step of
finite differences limits those that need a second derivative to 1e-6 or so.  (4.11) and (7.13)
may be faults of a copy and not of the article.  Where only a reference is wrong, before (12.13),
the test shows that the right one leads to the formula.
"""

from itertools import combinations, pairwise

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.linalg import polar, solve_sylvester

from dlngeom import DeepLinearNetwork, balanced, endtoend, network, points, spectral, thermodynamics
from dlngeom.submersion import mean_curvature
from tests.helpers import reference

DEPTHS = (2, 3, 4)


def gap(actual, desired):
    """Largest difference, relative to the size of what is right."""
    return np.max(np.abs(actual - desired)) / np.max(np.abs(desired))


def second_differences(frames, basis, step=5e-3):
    """Sum over tangent vectors of the acceleration of ``phi`` along geodesics of the network."""
    widths = [len(q) for q in frames.q]

    def at(vector, t):
        moved = balanced.retraction(frames, reference.unflatten(t * vector, widths), order=2)
        return points.dense(moved)

    total = 0.0
    for e in basis:
        near = at(e, step) + at(e, -step)
        far = at(e, 2 * step) + at(e, -2 * step)
        total = total + (16 * near - far - 30 * points.dense(frames)) / (12 * step**2)
    return total


@pytest.mark.parametrize("depth", DEPTHS)
def test_8_21_sign_of_the_second_term(depth, rng):
    """Printed: the sum of two terms; orthonormal, but not tangent.  Right: their difference."""
    frames = reference.random_frames((3,) * (depth + 1), 3, rng)
    lam, q = frames
    layers = reference.balanced_layers(frames)
    basis = [x.reshape(len(x), -1) for x in balanced.orthonormal_frame(frames)]
    basis = np.concatenate(basis, axis=1)

    def vectors(sign):
        out = []
        for k, j in combinations(range(3), 2):
            for p in range(1, depth):
                angle = p * np.pi / depth
                squares = lam[k] ** 2 + lam[j] ** 2 - 2 * lam[k] * lam[j] * np.cos(angle)
                u = []
                for s in range(1, depth + 1):
                    before, after = np.sin((s - 1) * angle), np.sin(s * angle)
                    first = (lam[k] * before - lam[j] * after) / np.sqrt(depth * squares)
                    second = (lam[j] * before - lam[k] * after) / np.sqrt(depth * squares)
                    up, low = q[s], q[s - 1]
                    u.append(
                        first * np.outer(up[:, k], low[:, j])
                        + sign * second * np.outer(up[:, j], low[:, k])
                    )
                out.append(u)
        return out

    def far_from_balance(u):
        return np.linalg.norm(reference.linearised_balance(layers, u))

    printed, right = vectors(1.0), vectors(-1.0)
    for family in (printed, right):
        flat = np.stack([reference.flatten(u) for u in family])
        assert_allclose(flat @ flat.T, np.eye(len(flat)), atol=1e-12)
    assert min(far_from_balance(u) for u in printed) > 0.1
    assert_allclose([far_from_balance(u) for u in right], 0, atol=1e-12)
    flat = np.stack([reference.flatten(u) for u in right])
    assert_allclose(flat @ basis.T @ basis, flat, atol=1e-12)


@pytest.mark.parametrize("depth", DEPTHS)
def test_7_13_denominator(depth, rng):
    """Printed: a quotient of equal differences, one.  Right: powers ``2/N`` in the denominator."""
    W = reference.random_svd(3, 3, 3, rng)
    for k, j in combinations(range(3), 2):
        a, b = W.s[k], W.s[j]
        E = np.outer(W.u[:, k], W.vt[j])
        image = endtoend.cometric(reference.dense_svd(W), E, depth)
        printed = (a**2 - b**2) / (a**2 - b**2)
        right = (a**2 - b**2) / (a ** (2 / depth) - b ** (2 / depth))
        assert gap(printed * E, image) > 0.1
        assert_allclose(right * E, image, atol=1e-10)
        assert_allclose(right, spectral.weights(a, b, depth), rtol=1e-10)


@pytest.mark.parametrize("depth", DEPTHS)
def test_7_15_weight_of_the_diagonal(depth, rng):
    """Printed: ``N sigma^(2-2/N)``, the eigenvalue of ``A``.  Right: its reciprocal."""
    W = reference.random_svd(3, 3, 3, rng)
    dense = reference.dense_svd(W)
    Z = rng.standard_normal((3, 3))
    square = endtoend.inner(dense, Z, Z, depth)
    core = W.u.T @ Z @ W.vt.T
    eigenvalues = depth * W.s ** (2 - 2 / depth)
    others = sum(
        (W.s[k] ** (2 / depth) - W.s[j] ** (2 / depth))
        / (W.s[k] ** 2 - W.s[j] ** 2)
        * (core[k, j] ** 2 + core[j, k] ** 2)
        for k, j in combinations(range(3), 2)
    )
    assert gap(others + eigenvalues @ np.diag(core) ** 2, square) > 0.02
    assert_allclose(others + (1 / eigenvalues) @ np.diag(core) ** 2, square, rtol=1e-10)


def test_4_8_sign_of_the_invariants(rng):
    """Printed: upper layer minus lower one.  Right, by (4.2): lower layer minus upper one."""
    layers = reference.random_layers((3, 3, 3, 3), rng)
    for G, (lower, upper) in zip(network.invariants(layers), pairwise(layers), strict=True):
        grown = upper.T @ upper
        printed, right = grown - lower @ lower.T, lower @ lower.T - grown
        assert gap(lower @ lower.T - printed, grown) > 0.1
        assert_allclose(lower @ lower.T - right, grown, atol=1e-10)
        assert_allclose(G, right, atol=1e-12)


def test_4_8_number_of_the_invariants(rng):
    """Printed: one for each ``p <= n``.  Right: ``p <= N - 1``, one for each inner layer."""
    layers = reference.random_layers((3, 3, 3, 3), rng)
    assert len(network.invariants(layers)) == len(layers) - 1 != len(layers)


@pytest.mark.parametrize("depth", DEPTHS)
def test_6_4_exponent_of_the_determinant(depth, rng):
    """Printed: ``det(Sigma^2)`` to the power ``(N-1)/(2N)``.  Right: minus that power."""

    def log_van(x):
        return sum(np.log(x[k] - x[j]) for k, j in combinations(range(len(x)), 2))

    def formula(s, sign):
        exponent = sign * (depth - 1) / (2 * depth)
        return exponent * np.sum(np.log(s**2)) + log_van(s ** (2 / depth))

    def density(W):
        dense = reference.dense_svd(W)
        operator = reference.operator_matrix(
            lambda Z: reference.power_sum(dense, Z, depth), dense.shape
        )
        log_det = -np.linalg.slogdet(operator)[1] / 2
        assert_allclose(endtoend.log_volume_density(dense, depth), log_det, rtol=1e-9)
        return log_det + log_van(W.s**2)

    one = reference.random_svd(3, 3, 3, rng)
    other = one._replace(s=one.s * [4.0, 2.0, 2.0])
    change = density(one) - density(other)
    assert np.abs(formula(one.s, 1) - formula(other.s, 1) - change) > 1
    assert_allclose(formula(one.s, -1) - formula(other.s, -1), change, atol=1e-9)


@pytest.mark.parametrize("depth", DEPTHS)
def test_12_10_frames_of_the_noise(depth, rng):
    """Printed: noise in the standard basis.  Right: in the frames, as its drift is."""
    W = reference.random_svd(3, 3, 3, rng)
    root = np.sqrt(spectral.weights(W.s[:, None], W.s[None, :], depth))
    dense = reference.dense_svd(W)
    A = reference.operator_matrix(lambda Z: endtoend.cometric(dense, Z, depth), (3, 3))
    printed = reference.operator_matrix(lambda B: root * B, (3, 3))
    right = reference.operator_matrix(lambda B: W.u @ (root * B) @ W.vt, (3, 3))
    assert gap(printed @ printed.T, A) > 0.02
    assert_allclose(right @ right.T, A, atol=1e-10)


def orbit_curvature(frames):
    """Mean curvature vector of the gauge orbit in the balanced manifold, at full rank."""
    lam, q = frames
    inner, r = len(q) - 2, len(lam)
    turns = []
    for p in range(1, inner + 1):
        for k, j in combinations(range(r), 2):
            turn = np.zeros((inner + 2, r, r))
            turn[p, k, j], turn[p, j, k] = 1.0, -1.0
            turns.append(turn)
    turns = np.stack(turns)

    def velocity(turn):
        cores = (a @ np.diag(lam) - lam[:, None] * b for b, a in pairwise(turn))
        return np.stack(
            [up @ core @ low.T for core, (low, up) in zip(cores, pairwise(q), strict=True)]
        )

    def acceleration(turn):
        L = np.diag(lam)
        cores = (a @ a @ L - 2 * a @ L @ b + L @ b @ b for b, a in pairwise(turn))
        return np.stack(
            [up @ core @ low.T for core, (low, up) in zip(cores, pairwise(q), strict=True)]
        )

    J = np.stack([velocity(turn).ravel() for turn in turns])
    unit = np.linalg.solve(np.linalg.cholesky(J @ J.T), turns.reshape(len(turns), -1))
    total = sum(acceleration(turn) for turn in unit.reshape(turns.shape))
    return balanced.horizontal_projection(frames, tuple(total))


@pytest.mark.parametrize("widths", [(2, 2, 2), (3, 3, 3, 3)])
def test_section_12_1_sign_of_the_mean_curvature(widths, rng):
    """Printed: the gradient of the entropy is the mean curvature.  Right: minus that."""
    frames = reference.random_frames(widths, widths[0], rng)
    egrad = thermodynamics.entropy_egrad(points.dense(frames), widths)
    lifted = network.lifted_gradient(reference.balanced_layers(frames), egrad)
    curvature = orbit_curvature(frames)
    assert gap(reference.flatten(curvature), reference.flatten(lifted)) > 1
    assert_allclose(reference.flatten(curvature), -reference.flatten(lifted), atol=1e-10)
    library = mean_curvature(DeepLinearNetwork(widths), frames)
    assert_allclose(reference.flatten(library), -reference.flatten(lifted), atol=1e-6)


@pytest.mark.parametrize("widths", [(2, 2, 2), (3, 3, 3, 3)])
def test_section_12_1_drift_of_the_projected_motion(widths, rng):
    """Printed: Brownian motion projects to the same.  Right: with the drift ``grad S / beta``."""
    frames = reference.random_frames(widths, widths[0], rng)
    depth, lam = len(widths) - 1, frames.lam
    basis = [x.reshape(len(x), -1) for x in balanced.orthonormal_frame(frames)]
    projected = second_differences(frames, np.concatenate(basis, axis=1))
    # The drift of Brownian motion downstairs, from (12.9) and (12.10), at beta = 1.
    brownian = frames.q[-1] @ np.diag((depth - 1) * lam ** (depth - 2)) @ frames.q[0].T
    drift = thermodynamics.entropy_gradient(points.dense(frames), widths)
    assert gap(brownian, projected) > 0.1
    assert_allclose(brownian + drift, projected, atol=1e-6)


def test_section_12_1_drift_from_the_plane_to_the_radius(rng):
    """The same for the distance from the origin: a Bessel process, no reflected motion."""
    x = rng.standard_normal(4)
    radius, step = np.linalg.norm(x), 1e-3
    # Laplacian of f(|x|) for f(r) = r^3, against that of the half line.
    shifts = step * np.concatenate([np.eye(4), -np.eye(4)])
    laplacian = (np.sum(np.linalg.norm(x + shifts, axis=1) ** 3) - 8 * radius**3) / step**2
    half_line, force = 6 * radius, 3 / radius
    assert gap(half_line, laplacian) > 0.1
    assert_allclose(half_line + force * 3 * radius**2, laplacian, rtol=1e-5)


def test_14_11_factor_of_one_half(rng):
    """Printed: a sum of logarithms.  Right: half of it, the limit of Theorem 10."""
    one, other = reference.spectrum(3, rng), reference.spectrum(3, rng)

    def logarithms(s):
        pairs = combinations(s, 2)
        return sum(np.log((a**2 - b**2) / (2 * np.log(a / b))) for a, b in pairs)

    def theorem_10(s, depth):
        pairs = combinations(s, 2)
        power = 2 / depth
        return sum(np.log((a**2 - b**2) / (a**power - b**power)) for a, b in pairs) / 2

    change = logarithms(one) - logarithms(other)
    limit = theorem_10(one, 1e4) - theorem_10(other, 1e4)
    entropy = thermodynamics.entropy_of_singular_values
    library = [entropy(s, (3, 3), depth=np.inf) for s in (one, other)]
    assert gap(change, limit) > 0.5
    assert_allclose(change / 2, limit, rtol=1e-3)
    assert_allclose(change / 2, library[0] - library[1], rtol=1e-10)


def test_remark_9_factor_of_two(rng):
    """Printed: two layers give the Bures-Wasserstein metric.  Right: they give twice that."""
    A, Z = rng.standard_normal((2, 3, 3))
    W, Z = A @ A.T + 0.5 * np.eye(3), Z + Z.T
    bures = np.trace(solve_sylvester(W, W, Z) @ Z) / 2
    square = endtoend.inner(W, Z, Z, 2)
    assert gap(bures, square) > 0.1
    assert_allclose(2 * bures, square, rtol=1e-10)


def test_theorem_3_projection_of_one_layer_below_full_rank(rng):
    """Printed: (4.11), so ``E'(W)`` for one layer.  Right: its tangential part."""
    W = reference.random_svd(4, 3, 2, rng)
    G = rng.standard_normal((4, 3))
    left, right = np.eye(4) - W.u @ W.u.T, np.eye(3) - W.vt.T @ W.vt
    printed = reference.power_sum(reference.dense_svd(W), G, 1)
    gradient = points.dense((W, endtoend.gradient(W, G, 1)))
    assert gap(left @ printed @ right, printed) > 0.02
    assert gap(printed, gradient) > 0.02
    assert_allclose(left @ gradient @ right, 0, atol=1e-12)
    assert_allclose(gradient, G - left @ G @ right, atol=1e-12)
    Z = reference.dense_tangent(W, reference.random_tangent(W, rng))
    assert_allclose(np.sum(gradient * Z), np.sum(G * Z), atol=1e-12)


@pytest.mark.parametrize("depth", DEPTHS)
def test_4_11_exponents(depth, rng):
    """Printed (also in (14.5)): fractions as factors of the products.  Right: as exponents."""
    frames = reference.random_frames((3,) * (depth + 1), 3, rng)
    layers, W = reference.balanced_layers(frames), points.dense(frames)
    G = rng.standard_normal((3, 3))
    velocity = reference.dphi(layers, network.lifted_gradient(layers, G))
    printed = sum(
        (W @ W.T) * (depth - k) / depth @ G @ (W.T @ W) * (k - 1) / depth
        for k in range(1, depth + 1)
    )
    assert gap(printed, velocity) > 0.1
    assert_allclose(reference.power_sum(W, G, depth), velocity, atol=1e-10)
    assert_allclose(endtoend.gradient(W, G, depth), velocity, atol=1e-10)


def test_7_11_exponent_of_the_upper_product(rng):
    """Printed: ``(N-p)/N`` in ``A_p = W_N ... W_p``.  Right: ``(N-p+1)/N``, here and below it."""
    depth = 3
    frames = reference.random_frames((3,) * (depth + 1), 3, rng)
    (lam, q), layers, W = frames, reference.balanced_layers(frames), points.dense(frames)
    for p in range(1, depth + 1):
        A = reference.product(layers[p - 1 :])
        printed, right = (depth - p) / depth, (depth - p + 1) / depth
        assert gap(q[-1] * lam ** (depth * printed) @ q[p - 1].T, A) > 0.05
        assert_allclose(q[-1] * lam ** (depth * right) @ q[p - 1].T, A, atol=1e-10)
        assert gap(reference.power(W @ W.T, printed), A @ A.T) > 0.05
        assert_allclose(reference.power(W @ W.T, right), A @ A.T, atol=1e-10)


@pytest.mark.parametrize("depth", DEPTHS)
def test_below_4_16_transpose_of_the_operator(depth, rng):
    """Printed: ``A_W(Z)^T = A_W(Z^T)``.  Right: ``A_{W^T}(Z^T)``."""
    W, Z = rng.standard_normal((2, 3, 3))
    transposed = endtoend.cometric(W, Z, depth).T
    assert gap(endtoend.cometric(W, Z.T, depth), transposed) > 0.1
    assert_allclose(endtoend.cometric(W.T, Z.T, depth), transposed, atol=1e-10)


def test_5_9_start_of_the_recursion(rng):
    """Printed: ``P_1 = W_1^T W_1``.  Right: ``P_1^2 = W_1^T W_1``."""
    W_1 = rng.standard_normal((3, 3))
    turn, root = reference.orthonormal(3, 3, rng), rng.standard_normal((3, 3))
    G = -root @ root.T
    W_2 = points.polar_chart(W_1, (turn,), (G,))[1]
    Q, P = polar(W_1)
    printed = W_1.T @ W_1
    assert gap(Q @ printed @ printed @ Q.T - G, W_2.T @ W_2) > 0.1
    assert_allclose(Q @ P @ P @ Q.T - G, W_2.T @ W_2, atol=1e-10)
    assert_allclose(P @ P, printed, atol=1e-10)


@pytest.mark.parametrize(("d", "rank"), [(5, 4), (5, 2)])
def test_5_19_singular_values_that_vanish(d, rank, rng):
    """Printed: those from ``d-r+1`` on.  Right: those from ``r+1`` on, no more and no fewer."""
    W = reference.dense_svd(reference.random_svd(d, d, rank, rng))
    zero = np.linalg.svd(W, compute_uv=False) < 1e-10
    number = np.arange(1, d + 1)
    assert np.any(zero != (number >= d - rank + 1))
    assert np.all(zero == (number >= rank + 1))


@pytest.mark.parametrize("depth", DEPTHS)
def test_4_19_duality(depth, rng):
    """Printed: the metric pairs ``Z`` with ``A^-1 E'(W)``.  Right: with ``A^-1`` of the gradient.

    That is ``E'(W)`` itself, and so the right side equals the left side, as it must.
    """
    W, G = rng.standard_normal((2, 3, 3))
    gradient = endtoend.gradient(W, G, depth)
    everywhere = np.eye(9).reshape(9, 3, 3)
    change = np.sum(everywhere * G, axis=(-2, -1))

    def pairing(covector):
        Y = endtoend.inverse_cometric(W, covector, depth)
        return np.sum(everywhere * Y, axis=(-2, -1))

    assert gap(pairing(G), change) > 0.1
    assert_allclose(pairing(gradient), change, atol=1e-10)
    metric = [endtoend.inner(W, gradient, Z, depth) for Z in everywhere]
    assert_allclose(metric, change, atol=1e-10)


@pytest.mark.parametrize("widths", [(2, 2, 2), (3, 3, 3, 3)])
def test_12_2_part_of_the_laplacian_along_the_orbits(widths, rng):
    """Printed: the Laplacian of the orbits, zero on observables.  Right: a trace of the Hessian.

    The trace over the vertical space of the Hessian of the whole network sees the orbits bend,
    and that is the force of the entropy.
    """
    frames = reference.random_frames(widths, widths[0], rng)
    W = points.dense(frames)
    turned = [q @ reference.orthonormal(widths[0], widths[0], rng) for q in frames.q[1:-1]]
    same = points.dense(frames._replace(q=(frames.q[0], *turned, frames.q[-1])))
    assert_allclose(same, W, atol=1e-12)  # constant on the orbit: its Laplacian there is zero
    force = thermodynamics.entropy_gradient(W, widths)
    trace = second_differences(frames, reference.vertical_basis(frames))
    assert np.max(np.abs(force)) > 0.1
    assert_allclose(trace, force, atol=1e-6)


def test_5_20_number_of_singular_values(rng):
    """Printed: ``d`` positive numbers, whatever the rank.  Right: as many as the rank."""
    d, rank, depth = 4, 2, 3
    frames = reference.random_frames((d,) * (depth + 1), rank, rng)
    stiefel = d * rank - rank * (rank + 1) // 2
    dimension = len(balanced.orthonormal_frame(frames)[0])
    assert d + (depth + 1) * stiefel != dimension
    assert rank + (depth + 1) * stiefel == dimension
    with pytest.raises(ValueError, match="broadcast"):
        frames.q[1] * np.ones(d)


def squared_distance(W):
    """Energy of an end-to-end matrix."""
    return float(np.sum((W - np.eye(3)) ** 2)) / 2


def test_section_3_2_order_of_the_composition(rng):
    """Printed: ``phi`` after ``E``, of which ``phi`` has no layers.  Right: ``E`` after ``phi``."""
    layers = reference.random_layers((3, 3, 3), rng)
    with pytest.raises((ValueError, TypeError)):
        network.end_to_end(list(squared_distance(np.stack(layers))))
    egrad = network.end_to_end(layers) - np.eye(3)
    found = np.stack(network.lifted_gradient(layers, egrad))
    stacked, change = np.stack(layers), np.zeros((2, 3, 3))
    change[1, 0, 2] = 1e-6

    def loss(x):
        return squared_distance(network.end_to_end(list(x)))

    slope = (loss(stacked + change) - loss(stacked - change)) / 2e-6
    assert_allclose(found[1, 0, 2], slope, rtol=1e-6)


def test_12_5_energy_downstairs(rng):
    """Printed: ``L``, which takes layers, of a point downstairs.  Right: ``E`` of it."""
    W, beta = reference.dense_svd(reference.random_svd(3, 3, 3, rng)), 2.0

    with pytest.raises(ValueError, match="W_1 has shape"):
        network.lifted_gradient(W, W - np.eye(3))
    right = squared_distance(W) - thermodynamics.entropy(W, (3, 3, 3)) / beta
    assert_allclose(thermodynamics.free_energy(W, (3, 3, 3), squared_distance, beta), right)


@pytest.mark.parametrize("depth", DEPTHS)
def test_12_13_force_is_that_of_theorem_10(depth, rng):
    """Printed: by Theorem 14, an orthonormal frame.  Right: by Theorem 10, the volume of orbits."""
    W = reference.random_svd(3, 3, 3, rng)

    def theorem_10(s):
        lam = s ** (1 / depth)
        pairs = combinations(range(3), 2)
        ratios = [(s[k] ** 2 - s[j] ** 2) / (lam[k] ** 2 - lam[j] ** 2) for k, j in pairs]
        return np.sum(np.log(ratios)) / 2

    steps = 1e-5 * np.diag(W.s)
    slopes = [(theorem_10(W.s + x) - theorem_10(W.s - x)) / (2 * np.max(x)) for x in steps]
    weights = depth * W.s ** (2 - 2 / depth)
    printed = thermodynamics.entropy_gradient(W, (3,) * (depth + 1)).M
    assert_allclose(np.diag(printed), weights * slopes, rtol=1e-7)
