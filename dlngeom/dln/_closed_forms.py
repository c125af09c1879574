r"""Logarithms of end-to-end matrices in closed form.

* One layer of full rank: straight lines.
* Two layers, symmetric positive definite matrices: twice the metric of Bures and Wasserstein.
* Rank one: a cone over the product of the spheres of left and right singular vectors.
"""

from __future__ import annotations

import math

import numpy as np

from dlngeom._lib.arrays import Array, inner, norm, to_numpy
from dlngeom.points import SVD, Tangent

__all__ = ["aligned_roots", "bures_wasserstein", "cone", "first_singular", "straight"]

# Entries of matrices that count as symmetric, relative to the largest.
_SYMMETRIC = 1e-14
# Smallest ratio of pivots with which a matrix is positive definite beyond doubt.
_DEFINITE = 1e-6
# Smallest singular value on a straight line, relative to that at its start, that is no zero.
_BOUNDARY = 1e-6
# Relative imaginary part of roots that are tried as times of lower rank.
_NEARLY_REAL = 0.05
# Smallest angle to the opposite vector of a sphere with which the way there is unique.
_OPPOSITE = 1e-7


def straight(A: np.ndarray, B: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which straight lines keep their rank, the logarithms, and their lengths."""
    Z = B - A
    crossing = np.zeros(len(A), bool)
    pairs, _ = _singular_times(A, Z, 1.0)
    crossing[pairs] = True
    return ~crossing, Z, np.linalg.norm(Z, axis=(-2, -1))


def first_singular(F: Array, dF: Array, time: float) -> float | None:
    """First time up to a given one, of any sign, at which a line ``F + t dF`` loses rank."""
    shape = F.shape[-2:]
    start, rate = (np.asarray(to_numpy(x), np.float64).reshape(-1, *shape) for x in (F, dF))
    times = _singular_times(start, rate, time)[1]
    return float(times[np.argmin(np.abs(times))]) if len(times) else None


def _singular_times(F: np.ndarray, dF: np.ndarray, time: float) -> tuple[np.ndarray, np.ndarray]:
    """Lines of a batch that lose rank between 0 and a time, and when."""
    if F.shape[-2] < F.shape[-1]:
        F, dF = F.mT, dF.mT
    q, r = np.linalg.qr(F)
    roots = np.linalg.eigvals(np.linalg.solve(r, q.mT @ dF))
    with np.errstate(divide="ignore", invalid="ignore"):
        times = -roots.real / np.abs(roots) ** 2
        near = np.abs(roots.imag) < _NEARLY_REAL * np.abs(roots)
        pair, root = np.nonzero(near & (times / time > 0) & (times / time <= 1 + _BOUNDARY))
    found = times[pair, root]
    ways = F[pair] + found[:, None, None] * dF[pair]
    smallest, first = (np.linalg.svd(x, compute_uv=False)[..., -1] for x in (ways, F[pair]))
    lost = smallest <= _BOUNDARY * first
    # Lines stop a little before, where the matrices still have their rank.
    return pair[lost], (1 - _BOUNDARY) * found[lost]


def bures_wasserstein(
    A: np.ndarray, B: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Which pairs are positive definite, logarithms, and lengths; None if no pair is."""
    found = _is_symmetric(A) & _is_symmetric(B)
    roots = aligned_roots(A[found], B[found]) if np.any(found) else None
    if np.any(found) and roots is None:
        # One matrix that is not positive definite spoils the factorisation of all.
        found[found] = [bool(np.all(np.linalg.eigvalsh(np.stack(x))[:, 0] > 0))
                        for x in zip(A[found], B[found], strict=True)]  # fmt: skip
        roots = aligned_roots(A[found], B[found])
    if roots is None or not np.any(found):
        return None
    Z, length, (root, change) = np.zeros_like(A), np.zeros(len(A)), roots
    half = change @ root.mT
    Z[found], length[found] = half + half.mT, math.sqrt(2) * np.linalg.norm(change, axis=(-2, -1))
    return found, Z, length


def _is_symmetric(W: np.ndarray) -> np.ndarray:
    gap, size = (np.max(np.abs(x), axis=(-2, -1), initial=0.0) for x in (W - W.mT, W))
    return np.asarray(gap <= _SYMMETRIC * size)


def aligned_roots(A: np.ndarray, B: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    r"""Root ``L`` of ``A = L L^T`` and the change ``D`` to the nearest root of ``B``.

    .. math:: \min_{Q \in O_d} |L - M Q|, \qquad B = M M^T, \qquad \log_A B = D L^T + L D^T

    None unless all matrices are positive definite beyond doubt.
    """
    try:
        roots = [np.linalg.cholesky(x) for x in (A, B)]
    except np.linalg.LinAlgError:
        return None
    for root in roots:
        pivots = np.diagonal(root, axis1=-2, axis2=-1)
        if not np.all(np.min(pivots, axis=-1) > _DEFINITE * np.max(pivots, axis=-1)):
            return None
    L, M = roots
    u, _, vt = np.linalg.svd(M.mT @ L)
    return L, M @ (u @ vt) - L


def cone(point: SVD, other: SVD, depth: float) -> tuple[np.ndarray, Tangent, np.ndarray]:
    r"""Which matrices of rank one are joined, logarithms in frames, and lengths.

    .. math:: d^2 = \ell_1^2 + \ell_2^2 - 2 \ell_1 \ell_2 \cos\theta, \qquad
              \ell = \sqrt{N} \lambda, \qquad \theta^2 = (\alpha^2 + \beta^2) / N

    with the angles ``alpha``, ``beta`` between left and right singular vectors, or their
    supplements.
    """
    (a, da), (b, db) = (
        _angles(x[..., 0], y[..., 0])
        for x, y in ((point.u, other.u), (point.vt.mT, other.vt.mT))
    )  # fmt: skip
    flip = np.hypot(a[1], b[1]) < np.hypot(a[0], b[0])
    alpha, beta, sign = np.where(flip, a[1], a[0]), np.where(flip, b[1], b[0]), 1 - 2 * flip
    theta = np.hypot(alpha, beta) / math.sqrt(depth)
    found = (theta < math.pi) & (np.maximum(alpha, beta) < math.pi - _OPPOSITE)
    theta, lam = np.where(found, theta, 0.0), point.s[..., 0] ** (1 / depth)
    ratio = (other.s[..., 0] / point.s[..., 0]) ** (1 / depth)
    radial = ratio - 1 - 2 * ratio * np.sin(theta / 2) ** 2
    turn = ratio * np.sinc(theta / math.pi) * sign
    s = point.s
    vector = Tangent(
        (s * (turn * alpha)[..., None] * da)[..., None],
        (depth * s * radial[..., None])[..., None],
        (s * (turn * beta)[..., None] * db)[..., None],
    )
    length = math.sqrt(depth) * lam * np.hypot(radial, ratio * np.sin(theta))
    return found, vector, length


def _angles(x: Array, y: Array) -> tuple[tuple[np.ndarray, np.ndarray], np.ndarray]:
    """Angles of a unit vector to ``y`` and to ``-y``, and the direction towards ``y``."""
    cosine = np.asarray(inner(x[..., None], y[..., None]))
    across = np.asarray(y - cosine[..., None] * x)
    for _ in range(2):  # Rounding errors of equal vectors have no direction across.
        across = across - np.asarray(inner(x[..., None], across[..., None]))[..., None] * x
    sine = np.asarray(norm(across[..., None]))
    angles = (np.arctan2(sine, cosine), np.arctan2(sine, -cosine))
    return angles, across / np.where(sine > 0, sine, 1.0)[..., None]
