"""Points, tangent vectors and cases that the tests downstairs share."""

import numpy as np

from dlngeom import Tangent, endtoend
from tests.helpers import reference as ref

# Shape, rank, depth, options of the spectrum.
CASES = [
    ((5, 4), 4, 1, {}),
    ((5, 4), 2, 1, {}),
    ((5, 4), 2, 2, {"tie": True}),
    ((3, 6), 3, 2, {}),
    ((4, 4), 4, 2, {"tie": True}),
    ((5, 4), 4, 3, {}),
    ((6, 5), 3, 5, {}),
    ((4, 4), 4, 3, {"ratio": 1e-3}),
    ((3, 4), 1, 4, {}),
    ((3, 3), 3, 40, {}),
    ((4, 4), 4, ref.INF, {}),
    ((3, 3), 3, ref.INF, {"tie": True}),
]
DENSE = [case for case in CASES if case[1] == min(case[0])]


def name(case):
    (m, n), rank, depth, options = case
    return f"{m}x{n} rank {rank} depth {depth}{' tie' if options.get('tie') else ''}"


def build(case, rng):
    (m, n), rank, depth, options = case
    return ref.random_svd(m, n, rank, rng, **options), depth


def shape(W):
    return W.u.shape[-2], W.vt.shape[-1]


def tangent(W, rng, depth):
    """Random tangent vector of unit length for ``g^N``."""
    Z = ref.random_tangent(W, rng)
    length = np.sqrt(endtoend.inner(W, Z, Z, depth))
    return times(1 / length, Z)


def times(t, Z):
    return Tangent(*(t * x for x in Z)) if isinstance(Z, Tangent) else t * Z


def close_tangent(W, actual, desired, tolerance=1e-12):
    ref.close(ref.dense_tangent(W, actual), ref.dense_tangent(W, desired), tolerance)


def project(W, Z):
    """Orthogonal projection of a dense matrix on the tangent space."""
    m, n = shape(W)
    return Z - (np.eye(m) - W.u @ W.u.T) @ Z @ (np.eye(n) - W.vt.T @ W.vt)
