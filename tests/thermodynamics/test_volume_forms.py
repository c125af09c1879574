import math
from itertools import combinations, pairwise

import mpmath
import numpy as np
import pytest
from scipy import stats

from dlngeom import endtoend
from dlngeom._lib.stiefel import log_orthogonal_volume, log_sphere_volume, log_stiefel_volume
from dlngeom.thermodynamics import (
    entropy_of_singular_values,
    log_network_density,
    log_singular_value_density,
    log_svd_density,
)
from tests.helpers import reference as ref
from tests.helpers.namespaces import JAX_IS_SLOW, with_every_library

# A statistical test of a right formula fails once in 100,000 seeds.
LIMIT = stats.norm.isf(1e-5 / 2)

SHAPES = [
    *[((m, n), r) for m in (1, 2, 3) for n in (1, 2, 3) for r in range(1, min(m, n) + 1)],
    ((5, 4), 3),
]
METRICS = [(shape, r, depth) for shape, r in SHAPES for depth in (1, 2, 3, 5)] + [
    ((r, r), r, np.inf) for r in (1, 2, 3)
]


def turns(frame):
    """Velocities of a frame under unit generators of rotations, in the quotient metric."""
    size, rank = frame.shape
    full = np.linalg.qr(np.concatenate([frame, np.eye(size)], axis=1))[0][:, :size]
    for i, j in combinations(range(size), 2):
        if i < rank:
            A = np.outer(full[:, i], full[:, j]) / math.sqrt(2)
            yield (A - A.T) @ frame


def svd_coordinates(W, depth, coordinate):
    """Dense tangent vectors along the singular values and along unit turns of the frames."""
    u, s, vt = W
    speed = {"s": s**0, "log_s": s, "lam": depth * s ** (1 - 1 / depth)}[coordinate]
    out = [speed[k] * np.outer(u[:, k], vt[k]) for k in range(len(s))]
    out += [x @ np.diag(s) @ vt for x in turns(u)]
    return out + [u @ np.diag(s) @ x.T for x in turns(vt.T)]


def log_gram(W, vectors, depth):
    """Half the log determinant of ``g^N`` between dense vectors, by its literal operator."""
    A = ref.operator_matrix(lambda Z: ref.cometric(W, Z, depth), vectors[0].shape)
    J = np.stack([x.ravel() for x in vectors])
    return np.linalg.slogdet(J @ np.linalg.pinv(A, rcond=1e-9) @ J.T)[1] / 2


@pytest.mark.parametrize(("shape", "rank", "depth"), METRICS)
def test_density_is_the_gram_determinant(shape, rank, depth, rng):
    W = ref.random_svd(*shape, rank, rng)
    for coordinate in ("s", "log_s") if depth == np.inf else ("s", "log_s", "lam"):
        gram = log_gram(W, svd_coordinates(W, depth, coordinate), depth)
        density = log_svd_density(W.s, shape, depth, coordinate=coordinate)
        assert density == pytest.approx(gram, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize(("widths", "rank"), [((1, 1), 1), ((2, 3, 2), 2), ((3, 4, 2, 3), 2)])
@pytest.mark.parametrize("low", [0, 1])
def test_density_upstairs_is_the_gram_determinant(widths, rank, low, rng):
    rank = max(1, rank - low)
    point = ref.random_frames(widths, rank, rng)
    lam, q = point
    rows = [ref.flatten(ref.balanced_layers(point._replace(lam=e))) for e in np.eye(rank)]
    for p, frame in enumerate(q):
        for x in turns(frame):
            layers = [np.zeros((up, down)) for down, up in pairwise(widths)]
            if p > 0:
                layers[p - 1] = x @ np.diag(lam) @ q[p - 1].T
            if p < len(q) - 1:
                layers[p] = q[p + 1] @ np.diag(lam) @ x.T
            rows.append(ref.flatten(layers))
    J = np.stack(rows)
    gram = np.linalg.slogdet(J @ J.T)[1] / 2
    frames = sum(log_stiefel_volume(rank, d) for d in widths) - rank * math.log(2)
    density = log_network_density(lam ** (len(widths) - 1), widths, coordinate="lam")
    assert density == pytest.approx(gram + frames, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("inner", [1, 2, 5])
def test_networks_through_one_line(inner):
    """Balanced layers ``a`` and ``+-a``: two copies of a space, each length times root two."""
    s = np.array([[0.3], [1.7]])
    density = log_network_density(s, (1, inner, 1), coordinate="lam")
    shell = math.log(2) + inner / 2 * math.log(2) + log_sphere_volume(inner)
    ref.close(density, shell + (inner - 1) / 2 * np.log(s[:, 0]), 1e-13)


def ordered(rank, low, high, nodes=24):
    """Gauss-Legendre points and weights on ``high > s_1 > ... > s_r > low``."""
    x, w = np.polynomial.legendre.leggauss(nodes)
    s, weight = np.zeros((1, 0)), np.ones(1)
    for _ in range(rank):
        top = s[:, -1:] if s.shape[1] else np.full((1, 1), high)
        new = low + (top - low) * (x + 1) / 2
        weight = (weight[:, None] * (top - low) * w / 2).ravel()
        s = np.concatenate([np.repeat(s, nodes, axis=0), new.reshape(-1, 1)], axis=1)
    return s, weight


@pytest.mark.parametrize("shape", [(2, 2), (3, 2), (2, 5), (3, 3), (4, 3)])
def test_gaussian_integral(shape):
    """At depth one the volume is Lebesgue measure: its Gaussian integral is a power of 2 pi."""
    s, weight = ordered(min(shape), 0.0, 10.0, nodes=40)
    density = log_singular_value_density(s, shape, 1) - np.sum(s**2, axis=-1) / 2
    total = math.log(np.sum(weight * np.exp(density)))
    assert total == pytest.approx(shape[0] * shape[1] / 2 * math.log(2 * math.pi), abs=1e-10)


def sampled_volume(d, depth, low, high, rng, size):
    """Volume of matrices with singular values in a box, and its error, by Gaussian matrices."""
    scale = high / 2
    W = scale * rng.standard_normal((size, d, d))
    s = np.linalg.svd(W, compute_uv=False)
    inside = (s[:, -1] > low) & (s[:, 0] < high)
    W, s = W[inside], s[inside]
    (a, L), (b, R) = np.linalg.eigh(W @ W.mT), np.linalg.eigh(W.mT @ W)
    if depth == np.inf:
        node, share = np.polynomial.legendre.leggauss(16)
        layers, shares = (node + 1) / 2, share / 2
    else:
        layers, shares = np.arange(depth) / depth, np.ones(depth)
    A = 0.0
    for x, w in zip(layers, shares, strict=True):
        left = (L * a[:, None, :] ** (1 - 1 / depth - x)) @ L.mT
        right = (R * b[:, None, :] ** x) @ R.mT
        A = A + w * np.einsum("bij,bkl->bikjl", left, right).reshape(-1, d * d, d * d)
    log_density = -np.linalg.slogdet(A)[1] / 2
    assert log_density[:50] == pytest.approx(endtoend.log_volume_density(W[:50], depth), abs=1e-9)
    log_sampled = -np.sum(W**2, axis=(-2, -1)) / (2 * scale**2)
    log_sampled -= d * d / 2 * math.log(2 * math.pi * scale**2)
    values = np.zeros(size)
    values[inside] = np.exp(log_density - log_sampled)
    return np.mean(values), np.std(values) / math.sqrt(size)


@pytest.mark.parametrize(("d", "low", "size"), [(2, 0.2, 40_000), (3, 0.15, 60_000)])
@pytest.mark.parametrize("depth", [1, 2, 3, np.inf])
def test_volume_of_a_region_by_sampling(d, low, size, depth, rng):
    """(6.4): matrices sampled, against an integral over singular values, constant included."""
    mean, error = sampled_volume(d, depth, low, 0.8, rng, size)
    assert error < 0.03 * mean
    s, weight = ordered(d, low, 0.8)
    density = np.exp(log_singular_value_density(s, (d, d), depth))
    assert abs(mean - weight @ density) < LIMIT * error
    if depth > 1:
        # Printed: det(Sigma^2) to the power (N-1)/(2N), not minus that.
        printed = density * np.prod(s, axis=-1) ** (2 - 2 / depth)
        assert abs(mean - weight @ printed) > LIMIT * error
    # Metrics that are not quotients are shorter by root two for every rotation.
    assert abs(mean - weight @ density * 2 ** (d * (d - 1) / 2)) > LIMIT * error


@pytest.mark.parametrize(("rank", "size"), [(2, 2), (3, 3), (4, 4), (1, 3), (2, 3), (2, 4)])
def test_volumes_of_frames_by_sampling(rank, size, rng):
    """Gaussian matrices ``A = Q P``: the integral over all of them is one over ``Q`` and ``P``."""
    # P is drawn near the identity: the matrices that are not positive contribute nothing.
    center, scale, number = 1.3, 0.8, 100_000
    G = rng.standard_normal((number, rank, rank)) / math.sqrt(2)
    G = scale * (G + G.mT) / math.sqrt(2)
    P = center * np.eye(rank) + G
    p = np.linalg.eigvalsh(P)
    positive = np.where(p > 0, p, 1e-300)
    log_values = np.sum((size - rank) * np.log(positive), axis=-1)
    for k, j in combinations(range(rank), 2):
        log_values += np.log((positive[:, k] + positive[:, j]) / 2)
    log_values -= np.sum(P**2, axis=(-2, -1)) / 2
    log_values += np.sum(G**2, axis=(-2, -1)) / (2 * scale**2)
    log_values += rank * (rank + 1) / 4 * math.log(2 * math.pi * scale**2)
    # As a quotient, a turn out of the span has the length root two.
    log_values -= rank * (size - rank) / 2 * math.log(2)
    values = np.where(p[:, 0] > 0, np.exp(log_values), 0.0)
    volume = math.exp(log_stiefel_volume(rank, size))
    total = (2 * math.pi) ** (rank * size / 2)
    mean, error = np.mean(values), np.std(values) / math.sqrt(number)
    assert error < 0.02 * mean
    assert abs(mean - total / volume) < LIMIT * error
    if rank < size:
        embedded = volume * 2 ** (-rank * (size - rank) / 2)
        assert abs(mean - total / embedded) > LIMIT * error
    # The special orthogonal group is half of it.
    assert abs(mean - 2 * total / volume) > LIMIT * error


def test_volumes_of_four_dimensions():
    # SO_4 is two unit three-spheres up to a sign, S^3 x S^3 / {+-1}, each of radius two.
    special = (2 * math.pi**2) ** 2 * 2**6 / 2
    assert math.exp(log_orthogonal_volume(4)) == pytest.approx(2 * special)
    for d in range(1, 6):
        assert log_stiefel_volume(d, d) == log_orthogonal_volume(d)
        assert log_stiefel_volume(1, d) == pytest.approx(
            log_sphere_volume(d) + (d - 1) / 2 * math.log(2)
        )


def exact_density(s, shape, depth):
    """Logarithm of the density per unit of ``sigma`` in 60 digits."""
    (m, n), r = shape, len(s)
    with mpmath.workdps(60):
        s = [mpmath.mpf(float(x)) for x in s]
        total = -mpmath.mpf(r * (m + n - r - 1)) / 2 * mpmath.log(2)
        for a, b in combinations(s, 2):
            if depth == np.inf:
                total += mpmath.log(2 * abs(mpmath.log(a / b)))
            else:
                power = mpmath.mpf(2) / depth
                total += mpmath.log(abs(a**power - b**power))
        if depth == np.inf:
            return float(total - sum(mpmath.log(a) for a in s))
        single = mpmath.mpf(m + n - 2 * r + 1) / depth - 1
        total += single * sum(mpmath.log(a) for a in s)
        return float(total - mpmath.mpf(r) / 2 * mpmath.log(depth))


@pytest.mark.parametrize("depth", [1, 2, 7, np.inf])
@pytest.mark.parametrize("gap", [1e-16, 1e-12, 1e-8, 1e-4, 1.0])
@pytest.mark.parametrize("scale", [1.0, 1e-150])
def test_volume_forms_near_ties(depth, gap, scale):
    s = scale * np.array([1.7 * (1 + 3 * gap), 1.7, 0.4])
    density = log_svd_density(s, (3, 3), depth)
    ref.close(density, exact_density(s, (3, 3), depth), 1e-13)
    assert density == pytest.approx(log_svd_density(s[::-1], (3, 3), depth), rel=1e-15)


@pytest.mark.parametrize(("xp", "depth"), with_every_library([2, 1, 7, np.inf]), indirect=["xp"])
def test_the_density_vanishes_at_ties(depth, xp):
    s = xp.array([[1.0, 1.0, 0.3], [2.0, 1.0, 0.3]])
    for coordinate in ("s", "log_s"):
        density = xp.numpy(log_svd_density(s, (3, 3), depth, coordinate=coordinate))
        assert density[0] == -np.inf
        assert np.isfinite(density[1])


@pytest.mark.parametrize("xp", JAX_IS_SLOW, indirect=True)
def test_volume_forms_of_batches_in_every_library(xp, rng):
    s = ref.spectrum(2, rng, batch=(3, 2))
    for function, shape in (
        (lambda x: log_svd_density(x, (3, 2), 3), (3, 2)),
        (lambda x: log_singular_value_density(x, (3, 2), 3, coordinate="lam"), (3, 2)),
        (lambda x: log_network_density(x, (2, 3, 2)), (3, 2)),
    ):
        values = xp.numpy(function(xp.array(s)))
        assert values.shape == shape
        for index in np.ndindex(shape):
            ref.close(values[index], function(s[index]), 1e-14)
    single = log_svd_density(xp.array(s.astype(np.float32)), (3, 2), 3)
    assert xp.dtypes(single) == {"float32"}


def test_jax_traces_densities(rng):
    jax = pytest.importorskip("jax")
    s = ref.spectrum(2, rng)
    for function in (
        lambda x: log_singular_value_density(x, (2, 2), 3, check_finite=False),
        lambda x: log_network_density(x, (2, 3, 2), check_finite=False),
        lambda x: entropy_of_singular_values(x, (2, 3, 2), check_finite=False),
    ):
        ref.close(jax.jit(function)(jax.numpy.asarray(s)), function(s), 1e-6)


def test_volume_forms_refuse_bad_input():
    s = np.array([2.0, 1.0])
    errors = {
        r"shape=\(2,\): it must be \(m, n\)": lambda: log_svd_density(s, (2,), 2),
        "shape=3: it must be": lambda: log_svd_density(s, 3, 2),
        r"s has shape \(2,\): it must be \(..., r\), r from 1 to 1": lambda: log_svd_density(
            s, (1, 4), 2
        ),
        r"depth=inf: shape=\(3, 2\) with 2 values": lambda: log_svd_density(s, (3, 2), np.inf),
        "coordinate='lam' at depth=inf": lambda: log_svd_density(
            s, (2, 2), np.inf, coordinate="lam"
        ),
        "coordinate='sigma' at depth=2": lambda: log_svd_density(
            s, (2, 2), 2, coordinate="sigma"
        ),
        "depth=0: it must be an integer": lambda: log_svd_density(s, (2, 2), 0),
        r"s\[1\] is nan": lambda: log_svd_density(np.array([1.0, np.nan]), (2, 2), 2),
        "smallest singular value -1": lambda: log_svd_density(np.array([1.0, -1.0]), (2, 2), 2),
        "float16: it must be float32": lambda: log_svd_density(np.float16([2, 1]), (2, 2), 2),
    }  # fmt: skip
    for message, call in errors.items():
        with pytest.raises(ValueError, match=message):
            call()
