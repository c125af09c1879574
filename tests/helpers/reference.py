"""Literal, slow formulas in plain numpy, and random points, to test the library against."""

from itertools import pairwise

import numpy as np

from dlngeom import SVD, Frames, Tangent

INF = np.inf
QUADRATURE = np.polynomial.legendre.leggauss(100)


def orthonormal(rows, columns, rng, batch=()):
    """Random orthonormal columns."""
    return np.linalg.qr(rng.standard_normal((*batch, rows, columns)))[0]


def spectrum(rank, rng, *, tie=False, ratio=None, batch=()):
    """Descending positive singular values; all equal, or down to ``ratio``, if asked."""
    if tie:
        return np.full((*batch, rank), 1.3)
    if ratio is not None:
        return np.broadcast_to(1.7 * np.geomspace(1, ratio, rank), (*batch, rank)).copy()
    return np.sort(rng.uniform(0.5, 2, (*batch, rank)), axis=-1)[..., ::-1].copy()


def random_frames(widths, rank, rng, *, tie=False, ratio=None, batch=()):
    """Random balanced network of given widths and rank."""
    lam = spectrum(rank, rng, tie=tie, ratio=ratio, batch=batch)
    return Frames(lam, tuple(orthonormal(d, rank, rng, batch) for d in widths))


def random_svd(m, n, rank, rng, *, tie=False, ratio=None, batch=()):
    """Random matrix of given shape and rank."""
    s = spectrum(rank, rng, tie=tie, ratio=ratio, batch=batch)
    return SVD(
        orthonormal(m, rank, rng, batch), s, np.swapaxes(orthonormal(n, rank, rng, batch), -1, -2)
    )


def random_tangent(W, rng):
    """Random tangent vector of unit Frobenius norm at an SVD."""
    Z = rng.standard_normal((*W.u.shape[:-1], W.vt.shape[-1]))
    Up = Z @ W.vt.mT - W.u @ (W.u.mT @ Z @ W.vt.mT)
    Vp = Z.mT @ W.u - W.vt.mT @ (W.vt @ Z.mT @ W.u)
    size = np.linalg.norm(Z, axis=(-2, -1), keepdims=True)
    return Tangent(Up / size, W.u.mT @ Z @ W.vt.mT / size, Vp / size)


def random_layers(widths, rng, batch=()):
    """Gaussian layers: an ambient vector, or a network that is not balanced."""
    return tuple(rng.standard_normal((*batch, up, low)) for low, up in pairwise(widths))


def dense_svd(W):
    """Dense matrix of an SVD."""
    return W.u @ np.diag(W.s) @ W.vt


def dense_tangent(W, Z):
    """Dense matrix of a tangent vector."""
    return W.u @ Z.M @ W.vt + Z.Up @ W.vt + W.u @ Z.Vp.T


def weight(a, b, depth):
    """``w_N(a, b)`` as a sum over layers, or as an integral over the continuum of layers."""
    if depth == INF:
        node, share = QUADRATURE
        return np.sum(share / 2 * a ** (1 - node) * b ** (1 + node))
    return sum(
        a ** (2 * (depth - p) / depth) * b ** (2 * (p - 1) / depth) for p in range(1, depth + 1)
    )


def cometric(W, Z, depth):
    """``A_{N,W}(Z)`` with full singular bases and singular values padded by zeros."""
    U, s, Vt = np.linalg.svd(dense_svd(W))
    rows, columns = np.zeros(len(U)), np.zeros(len(Vt))
    rows[: len(W.s)] = columns[: len(W.s)] = s[: len(W.s)]
    w = np.array([[weight(a, b, depth) for b in columns] for a in rows])
    return U @ (w * (U.T @ Z @ Vt.T)) @ Vt


def power_sum(W, Z, depth):
    """``sum_k (W W^T)^((N-k)/N) Z (W^T W)^((k-1)/N)`` by symmetric matrix powers, full rank."""
    left, right = W @ W.T, W.T @ W
    terms = (
        power(left, (depth - k) / depth) @ Z @ power(right, (k - 1) / depth)
        for k in range(1, depth + 1)
    )
    return sum(terms)


def power(S, exponent):
    """Power of a symmetric matrix, ``0^0 = 1``; eigenvalues at rounding level are zero."""
    values, vectors = np.linalg.eigh(S)
    values = np.where(values > 1e-12 * values.max(), values, 0.0)
    return (vectors * values**exponent) @ vectors.T


def operator_matrix(operator, shape):
    """Matrix of a linear operator on matrices of one shape."""
    basis = np.eye(int(np.prod(shape))).reshape(-1, *shape)
    return np.stack([operator(E).ravel() for E in basis], axis=1)


def product(factors):
    """``W_N ... W_1``."""
    W = np.eye(factors[0].shape[-1])
    for factor in factors:
        W = factor @ W
    return W


def dphi(factors, V):
    """Differential of the product of the layers."""
    return sum(product([*factors[:p], V[p], *factors[p + 1 :]]) for p in range(len(factors)))


def lifted_gradient(factors, G):
    """``(W_N ... W_{p+1})^T G (W_{p-1} ... W_1)^T``, each product from scratch."""
    out = []
    for p in range(len(factors)):
        above = product([np.eye(factors[p].shape[0]), *factors[p + 1 :]])
        below = product([np.eye(factors[0].shape[1]), *factors[:p]])
        out.append(above.T @ G @ below.T)
    return tuple(out)


def balanced_layers(point):
    """Layers ``Q_p Lam Q_{p-1}^T`` of frames."""
    return tuple((up * point.lam) @ low.T for low, up in pairwise(point.q))


def flatten(layers):
    """All entries of a tuple of layers in one vector."""
    return np.concatenate([np.ravel(x) for x in layers])


def unflatten(vector, widths):
    """Inverse of :func:`flatten`."""
    out = []
    for low, up in pairwise(widths):
        out.append(vector[: up * low].reshape(up, low))
        vector = vector[up * low :]
    return tuple(out)


def dot(x, y):
    """Frobenius inner product of tuples of layers."""
    return sum(np.sum(a * b) for a, b in zip(x, y, strict=True))


def linearised_balance(factors, V):
    """Derivative along ``V`` of ``W_p W_p^T - W_{p+1}^T W_{p+1}``, and of the rank condition."""
    changes = []
    for p in range(len(factors) - 1):
        lower = V[p] @ factors[p].T
        upper = V[p + 1].T @ factors[p + 1]
        changes.append(lower + lower.T - upper - upper.T)
    return changes


def across_the_frames(point, V):
    """Part of each layer that would raise the rank: from one complement to the next."""
    out = [np.eye(len(q)) - q @ q.T for q in point.q]
    return [up @ v @ low for low, v, up in zip(out[:-1], V, out[1:], strict=True)]


def tangent_basis(point):
    """Rows that span the tangent space: null space of all constraints, by a dense SVD."""
    widths = [len(q) for q in point.q]
    layers = balanced_layers(point)
    size = sum(up * low for low, up in pairwise(widths))
    columns = []
    for e in np.eye(size):
        V = unflatten(e, widths)
        columns.append(flatten([*linearised_balance(layers, V), *across_the_frames(point, V)]))
    _, values, Vt = np.linalg.svd(np.stack(columns, axis=1))
    return Vt[np.sum(values > 1e-8) :]


def vertical_basis(point):
    """Rows that span the tangent space of the gauge orbit: also in the kernel of ``dphi``."""
    layers = balanced_layers(point)
    widths = [len(q) for q in point.q]
    basis = tangent_basis(point)
    images = np.stack([np.ravel(dphi(layers, unflatten(e, widths))) for e in basis], axis=1)
    _, values, Vt = np.linalg.svd(images)
    return Vt[np.sum(values > 1e-8) :] @ basis


def slope(steps, errors):
    """Slope of a log-log fit."""
    return np.polyfit(np.log(steps), np.log(errors), 1)[0]


def close(actual, desired, tolerance=1e-12):
    """Assert agreement relative to the size of the desired array."""
    actual, desired = np.asarray(actual), np.asarray(desired)
    assert actual.shape == desired.shape, (actual.shape, desired.shape)
    gap = np.max(np.abs(actual - desired), initial=0.0)
    size = np.max(np.abs(desired), initial=0.0)
    assert gap <= tolerance * max(size, 1e-300), (gap, size)


def close_layers(actual, desired, tolerance=1e-12):
    """Assert agreement of two tuples of layers relative to their common size."""
    close(flatten(actual), flatten(desired), tolerance)
